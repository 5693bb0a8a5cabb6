"""The keys of a workflow and of a task, apart from those of a task's kind."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from run.workflows.batch_identity import DEFAULT_BATCH
from run.workflows.channels import Channel
from run.workflows.definition import OnMissedDeadline, TriggerRule
from run.workflows.durations import Duration, TimeLimit
from run.workflows.templates import NAME

_LONGEST_NAME = 63
#: What `until` must be.
UNTIL_IS = "write one of marker (the pattern of an object), count (of files) and quiet (for how long none has come)"


class WorkflowKeys(BaseModel):
    """The top of a workflow file; every field has a default so that the rest can be read when one is wrong."""

    model_config = ConfigDict(extra="forbid")

    workflow: str = ""
    description: str = ""
    batch: str = DEFAULT_BATCH
    params: dict[str, JsonValue] = Field(default_factory=dict)
    deadline: TimeLimit | None = None
    on_missed_deadline: OnMissedDeadline = "warn"
    notify: tuple[Channel, ...] = ()
    tasks: dict[str, JsonValue] = Field(default_factory=dict)


class UntilKeys(BaseModel):
    """When the files of a task with `files: many` are all there."""

    model_config = ConfigDict(extra="forbid")

    marker: str | None = None
    count: int | None = Field(default=None, ge=1, le=1_000_000)
    quiet: TimeLimit | None = None

    @model_validator(mode="after")
    def _one_of_the_three(self) -> Self:
        if len([value for value in (self.marker, self.count, self.quiet) if value is not None]) != 1:
            raise ValueError(UNTIL_IS)
        return self


class MapKeys(BaseModel):
    """The list that a task is mapped over: a parent, then the way into its result."""

    model_config = ConfigDict(extra="forbid")

    over: str
    #: A list is far shorter than this; the database counts with 64 bits.
    max_failures: int = Field(default=0, ge=0, le=1_000_000)

    @model_validator(mode="before")
    @classmethod
    def _over_alone(cls, value: object) -> object:
        return {"over": value} if isinstance(value, str) else value

    @field_validator("over")
    @classmethod
    def _of_a_task(cls, value: str) -> str:
        if not re.fullmatch(rf"{NAME}(\.[^\s.{{}}]+)*", value):
            raise ValueError("write the name of a task, or a way into its result, such as list_days.days")
        return value


class TaskKeys(BaseModel):
    """The keys that every task has; every field has a default so that the rest can be read when one is wrong."""

    model_config = ConfigDict(extra="forbid")

    kind: str = ""
    needs: tuple[str, ...] = ()
    rule: TriggerRule = TriggerRule.all_success
    when: str | None = None
    allow_failure: bool = False
    disabled: bool = False
    lease_seconds: int = Field(default=60, ge=10, le=3600)
    max_takeovers: int = Field(default=3, ge=1, le=100)
    retries: int = Field(default=0, ge=0, le=100)
    retry_delay: Duration = 30
    retry_max_delay: Duration = 900
    timeout: TimeLimit | None = None
    notify: tuple[Channel, ...] = ()
    map: MapKeys | None = None
    file: str | None = None
    parse: dict[str, str] = Field(default_factory=dict)
    on_new_generation: Literal["rerun", "ignore"] = "rerun"
    files: Literal["one", "many"] = "one"
    until: UntilKeys | None = None


#: The keys of a task whose kind takes a file.
FILE_KEYS = ("file", "parse", "on_new_generation", "files", "until")


def problem_of_name(name: str) -> str | None:
    """Why this cannot name a workflow, a task, a param or a group; None when it can."""
    if re.fullmatch(NAME, name) and len(name) <= _LONGEST_NAME:
        return None
    better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")[:_LONGEST_NAME]
    example = f", for example '{better}'" if better else ""
    return f"'{name}' is no name: write a lower-case letter, then letters, digits and '_', at most 63{example}"
