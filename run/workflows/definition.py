"""A workflow as checked: what the database stores and the engine works from."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from run.workflows.channels import Channel
from run.workflows.durations import written


class TriggerRule(StrEnum):
    """When a task may start, said of its parents' outcomes."""

    all_success = "all_success"
    all_done = "all_done"
    one_success = "one_success"
    one_failed = "one_failed"
    none_failed = "none_failed"
    none_failed_min_one_success = "none_failed_min_one_success"
    all_failed = "all_failed"


OnMissedDeadline = Literal["warn", "cancel"]


#: Keys that came after workflows had been applied. Their defaults are no part of the meaning: a file that nobody has
#: changed is no new version.
_LATER_KEYS = {
    "deadline_seconds",
    "on_missed_deadline",
    "max_takeovers",
    "retries",
    "retry_delay_seconds",
    "retry_max_delay_seconds",
    "timeout_seconds",
    "awaits_completion",
    "reads_results",
    "until",
    "marker",
    "count",
    "quiet_seconds",
    "when",
    "notify",
    "map",
}


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def meaning(self) -> dict[str, Any]:
        """What makes it another definition, as JSON values."""
        fields = type(self).model_fields
        unsaid = {key for key in _LATER_KEYS & fields.keys() if getattr(self, key) == fields[key].default}
        below = {key: value.meaning() for key in fields if isinstance(value := getattr(self, key), _Definition)}
        return {**self.model_dump(mode="json", exclude=unsaid), **below}


class Until(_Definition):
    """When the files of a task that takes many are all there: one of the three is said."""

    #: When an object that fits this pattern has landed, and a file has.
    marker: str | None = None
    #: When there are so many files.
    count: int | None = None
    #: When no file has come for so long.
    quiet_seconds: int | None = None

    def is_met(self, files: int, *, has_marker: bool) -> bool:
        """Whether so many files are all; none are never all, and that it has been quiet only a clock can tell."""
        if files == 0:
            return False
        return has_marker if self.marker is not None else self.count is not None and files >= self.count

    @property
    def words(self) -> str:
        """When it is, as what comes after "until"."""
        if self.marker is not None:
            return f"{self.marker} has come"
        if self.count is not None:
            return f"there are {self.count:,}"
        return f"none has come for {written(self.quiet_seconds or 0)}"


class FileTrigger(_Definition):
    """The file that a task waits for, or the files."""

    #: A template and regular expression of the whole `gs://bucket/object`.
    pattern: str
    #: strptime formats of the groups that are dates.
    parse: dict[str, str] = Field(default_factory=dict)
    on_new_generation: Literal["rerun", "ignore"] = "rerun"
    #: Said of a task that takes many files, and of no other.
    until: Until | None = None


class MapDefinition(_Definition):
    """The list whose items are the elements of a task, and how many of those may fail."""

    #: A parent, then the way into its result: `list_days` or `list_days.days`.
    over: str
    max_failures: int = 0


class TaskDefinition(_Definition):
    """One task; `config` holds the keys of its kind as JSON values, defaults filled in."""

    name: str
    kind: str
    needs: tuple[str, ...] = ()
    rule: TriggerRule = TriggerRule.all_success
    #: The condition, asked when an attempt begins; false skips the task.
    when: str | None = None
    allow_failure: bool = False
    disabled: bool = False
    lease_seconds: int = Field(default=60, ge=10, le=3600)
    max_takeovers: int = 3
    retries: int = 0
    retry_delay_seconds: int = 30
    retry_max_delay_seconds: int = 900
    #: How long an attempt may last, said by the task or by its kind; None is without end.
    timeout_seconds: int | None = None
    #: Whether a completion message from outside may end its attempts, said by its kind.
    awaits_completion: bool = False
    #: The parents whose results its work needs, said by its kind, its templates and its condition.
    reads_results: tuple[str, ...] = ()
    #: Who is told how this task itself ends.
    notify: tuple[Channel, ...] = ()
    map: MapDefinition | None = None
    file: FileTrigger | None = None
    config: dict[str, Any] = Field(default_factory=dict)


class WorkflowDefinition(_Definition):
    """A whole workflow; `tasks` is in topological order, in the order of declaration among equals."""

    name: str
    description: str = ""
    batch: str
    params: dict[str, Any] = Field(default_factory=dict)
    deadline_seconds: int | None = None
    on_missed_deadline: OnMissedDeadline = "warn"
    #: Who is told how its batches end.
    notify: tuple[Channel, ...] = ()
    tasks: tuple[TaskDefinition, ...]

    @property
    def digest(self) -> str:
        """SHA-256 in hex of the meaning: the order in which tasks, needs and keys were written does not count."""
        tasks = [task.meaning() for task in sorted(self.tasks, key=lambda task: task.name)]
        for task in tasks:
            task["needs"].sort()
        meaning = {**self.meaning(), "tasks": tasks}
        canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()
