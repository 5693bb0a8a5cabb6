"""A workflow as checked: what the database stores and the engine works from."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class TriggerRule(StrEnum):
    """When a task may start, said of its parents' outcomes."""

    all_success = "all_success"
    all_done = "all_done"
    one_success = "one_success"
    one_failed = "one_failed"
    none_failed = "none_failed"
    none_failed_min_one_success = "none_failed_min_one_success"
    all_failed = "all_failed"


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileTrigger(_Definition):
    """The file that a task waits for."""

    #: A template and regular expression of the whole `gs://bucket/object`.
    pattern: str
    #: strptime formats of the groups that are dates.
    parse: dict[str, str] = Field(default_factory=dict)
    on_new_generation: Literal["rerun", "ignore"] = "rerun"


class TaskDefinition(_Definition):
    """One task; `config` holds the keys of its kind as JSON values, defaults filled in."""

    name: str
    kind: str
    needs: tuple[str, ...] = ()
    rule: TriggerRule = TriggerRule.all_success
    allow_failure: bool = False
    disabled: bool = False
    lease_seconds: int = Field(default=60, ge=10, le=3600)
    file: FileTrigger | None = None
    config: dict[str, Any] = Field(default_factory=dict)


class WorkflowDefinition(_Definition):
    """A whole workflow; `tasks` is in topological order, in the order of declaration among equals."""

    name: str
    description: str = ""
    batch: str
    params: dict[str, Any] = Field(default_factory=dict)
    tasks: tuple[TaskDefinition, ...]

    @property
    def digest(self) -> str:
        """SHA-256 in hex of the meaning: the order in which tasks, needs and keys were written does not count."""
        meaning = self.model_dump(mode="json")
        meaning["tasks"].sort(key=lambda task: task["name"])
        for task in meaning["tasks"]:
            task["needs"].sort()
        canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()
