"""Three small kinds of task, so that these tests know nothing of the real ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from run.workflows.companion_files import read_companion
from run.workflows.kind_config import ConfigurableKind
from run.workflows.scope import Scope
from run.workflows.templates import NameType, template_problems

SETTINGS = {"landing_bucket": NameType.TEXT, "archive_bucket": NameType.TEXT, "project": NameType.TEXT}


class Column(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    size: int = 1


class LoadConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    mode: Literal["replace", "append"] = "replace"
    columns: list[Column] = Field(default_factory=list)


class Load:
    config = LoadConfig
    takes_file = True
    takes_many_files = True
    source_key = None
    makes_file = False
    timeout_seconds = None

    def problems(self, config: LoadConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        for reason in template_problems(config.table, scope.names):
            yield "table", reason
        if config.mode == "append" and scope.own_file and scope.own_file.on_new_generation == "rerun":
            yield "mode", "append would load a new generation twice; write on_new_generation: ignore"

    def awaits_completion(self, config: LoadConfig) -> bool:
        return False

    def reads_results(self, config: LoadConfig) -> Collection[str]:
        return ()


class QueryConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sql: str = ""
    sql_file: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_sql_file(cls, data: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        folder: Path | None = (info.context or {}).get("folder")
        if "sql_file" not in data:
            return data
        return {**data, "sql": read_companion(folder, data["sql_file"])}


class Query:
    config = QueryConfig
    takes_file = False
    takes_many_files = False
    source_key = None
    makes_file = False
    timeout_seconds = None

    def problems(self, config: QueryConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        if "archive" in config.sql and not scope.file_tasks_above:
            yield "sql", "no task above takes a file"

    def awaits_completion(self, config: QueryConfig) -> bool:
        return False

    def reads_results(self, config: QueryConfig) -> Collection[str]:
        return ()


class CallConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    wait: bool = True


class Call:
    """Hands work to somebody outside, who may take an hour, and waits for their word unless it is told not to."""

    config = CallConfig
    takes_file = False
    takes_many_files = False
    source_key = None
    makes_file = False
    timeout_seconds = 3600

    def problems(self, config: CallConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        return iter(())

    def awaits_completion(self, config: CallConfig) -> bool:
        return config.wait

    def reads_results(self, config: CallConfig) -> Collection[str]:
        return ()


KINDS: dict[str, ConfigurableKind] = {"load": Load(), "query": Query(), "call": Call()}
