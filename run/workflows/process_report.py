"""What came of a run of a Process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from run.errors import PassingFailure
from run.redaction import redacted
from run.workflows.python_tasks import Task
from run.workflows.trigger_rules import SUCCESS_MAY_SKIP

#: As in the service: a failure above, the task's own rule, its condition, or the function itself.
SkipCause = Literal["upstream_failed", "rule", "branch", "raised"]


@dataclass(frozen=True)
class Success:
    """A task that ended well; `result` is a copy of what its function returned, as JSON values."""

    result: Any
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class Failure:
    """A task that failed; the traceback begins at its function."""

    exception: BaseException
    traceback: str
    started_at: datetime
    ended_at: datetime

    def __str__(self) -> str:
        return f"{type(self.exception).__name__}: {self.message}" if self.message else type(self.exception).__name__

    @property
    def message(self) -> str:
        """What the exception says."""
        try:
            return str(self.exception)
        except Exception:  # noqa: BLE001 - an exception that cannot be shown is still an error.
            return "(its message cannot be shown)"


@dataclass(frozen=True)
class Skipped:
    """A task that did not run, or said that it has nothing to do.

    `because_of` names the tasks to blame: those that failed, at whatever distance, or the parents that its rule did not
    want to end as they did.
    """

    cause: SkipCause
    because_of: tuple[str, ...] = ()
    reason: str = ""


Outcome = Success | Failure | Skipped


class ProcessFailed(PassingFailure):
    """At least one task of a process failed; `details` has the report as JSON values."""


@dataclass(frozen=True)
class ProcessReport:
    """Every task in one of three mappings, parents before children."""

    successes: Mapping[str, Success]
    errors: Mapping[str, Failure]
    skipped: Mapping[str, Skipped]
    started_at: datetime
    ended_at: datetime

    @property
    def ok(self) -> bool:
        """Whether no task failed."""
        return not self.errors

    @property
    def results(self) -> dict[str, Any]:
        """The results of the tasks that succeeded."""
        return {name: success.result for name, success in self.successes.items()}

    def raise_if_failed(self) -> None:
        """Raise ProcessFailed, from the first exception, when a task failed."""
        if self.ok:
            return
        told = ", ".join(f"{name} ({failure})" for name, failure in self.errors.items())
        left = f"; not executed: {', '.join(self.skipped)}" if self.skipped else ""
        first = next(iter(self.errors.values()))
        raise ProcessFailed(f"failed: {told}{left}", self.to_dict()) from first.exception

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values, without what is secret."""
        report = {
            "ok": self.ok,
            "started_at": self.started_at.isoformat(),
            "ended_at": self.ended_at.isoformat(),
            "successes": {name: {"result": one.result, **_times(one)} for name, one in self.successes.items()},
            "errors": {
                name: {
                    "type": type(one.exception).__name__,
                    "message": one.message,
                    "traceback": one.traceback,
                    **_times(one),
                }
                for name, one in self.errors.items()
            },
            "skipped": {
                name: {"cause": one.cause, "because_of": list(one.because_of), "reason": one.reason}
                for name, one in self.skipped.items()
            },
        }
        cleaned: dict[str, Any] = redacted(report)
        return cleaned

    def to_json(self, indent: int | None = None) -> str:
        """The same as a JSON text."""
        return json.dumps(self.to_dict(), indent=indent)


def report_of(
    tasks: Mapping[str, Task], outcomes: Mapping[str, Outcome], started_at: datetime, ended_at: datetime
) -> ProcessReport:
    """The report of tasks in topological order, with those to blame for each skip."""
    successes: dict[str, Success] = {}
    errors: dict[str, Failure] = {}
    skipped: dict[str, Skipped] = {}
    for name, task in tasks.items():
        match outcomes[name]:
            case Success() as success:
                successes[name] = success
            case Failure() as failure:
                errors[name] = failure
            case Skipped(cause="upstream_failed"):
                blamed = {one for parent in task.needs for one in _failed_above(parent, errors, skipped)}
                because_of = tuple(one for one in errors if one in blamed)
                skipped[name] = Skipped("upstream_failed", because_of, f"{', '.join(because_of)} failed")
            case Skipped(cause="rule"):
                unwanted = tuple(parent for parent in task.needs if _is_unwanted(parent, task, errors, skipped))
                skipped[name] = Skipped("rule", unwanted, f"its rule {task.rule} can no longer be met")
            case Skipped() as by_itself:
                skipped[name] = by_itself
    return ProcessReport(successes, errors, skipped, started_at, ended_at)


def _failed_above(parent: str, errors: Mapping[str, Failure], skipped: Mapping[str, Skipped]) -> tuple[str, ...]:
    if parent in errors:
        return (parent,)
    is_passed_on = parent in skipped and skipped[parent].cause == "upstream_failed"
    return skipped[parent].because_of if is_passed_on else ()


def _is_unwanted(parent: str, task: Task, errors: Mapping[str, Failure], skipped: Mapping[str, Skipped]) -> bool:
    if task.rule in SUCCESS_MAY_SKIP:
        return not _failed_above(parent, errors, skipped)
    return parent in skipped


def _times(one: Success | Failure) -> dict[str, str]:
    return {"started_at": one.started_at.isoformat(), "ended_at": one.ended_at.isoformat()}
