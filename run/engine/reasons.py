"""Why a task that is not terminal stands where it does: typed reasons, each with what will end it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from database.facts import OpenTask
from database.statuses import Status
from run.workflows.definition import Until


class ReasonKind(StrEnum):
    """What a task waits for."""

    #: Parents that are open.
    PARENTS = "parents"
    #: Its file.
    FILE = "file"
    #: More files, of a task that takes many.
    FILES = "files"
    #: The moment of its next attempt.
    RETRY = "retry"
    #: The end of the outside work of an attempt that was taken away.
    ENDING = "ending"
    #: Its message, which is on the way and is sent again if it is lost.
    MESSAGE = "message"
    #: A revision of the service that knows its kind.
    UNKNOWN_KIND = "unknown_kind"
    #: The worker that has it.
    WORKER = "worker"
    #: Somebody to take over what a dead worker has left.
    DEAD_WORKER = "dead_worker"
    #: Work that goes on outside.
    JOB = "job"
    #: A completion message.
    COMPLETION = "completion"
    #: Its elements, which it is mapped over.
    ELEMENTS = "elements"
    #: Somebody to go on with an attempt that was handed back, because the other side does not answer.
    HANDED_BACK = "handed_back"


@dataclass(frozen=True)
class Reason:
    """One thing that a task waits for.

    `ids` names it: parents, a pattern, attempts, an outside job. `until` is when it ends by itself, or is looked at
    again; None when somebody else ends it. `ends_by` says in words what ends it.
    """

    kind: ReasonKind
    ids: tuple[str, ...]
    since: datetime
    until: datetime | None
    ends_by: str


def reasons_of(task: OpenTask, kinds: Collection[str] | None = None) -> tuple[Reason, ...]:
    """Everything that a task waits for; empty when nothing will ever move it, which must not be.

    `kinds` are those that this revision knows; None when that does not matter.
    """
    match task.status:
        case Status.WAITING:
            return tuple(_of_waiting(task))
        case Status.NEW:
            return (_of_new(task, kinds),)
        case Status.PROCESSING:
            return tuple(_of_processing(task))
        case _:
            return ()


def _of_waiting(task: OpenTask) -> Iterator[Reason]:
    if task.open_parents:
        yield Reason(ReasonKind.PARENTS, task.open_parents, task.changed_at, None, "the end of its parents")
    if task.until is not None:
        yield from _of_collecting(task, Until.model_validate(task.until))
    elif task.awaits_file:
        yield Reason(ReasonKind.FILE, (task.pattern or "",), task.changed_at, None, "the arrival of its file")
    if task.due_at is not None:
        ids = (f"attempt {task.attempt + 1}",)
        yield Reason(ReasonKind.RETRY, ids, task.changed_at, task.due_at, "the first sweep after it is due")
    if task.ending and task.ending_attempts:
        attempts = tuple(f"attempt {attempt}" for attempt in task.ending_attempts)
        ends_by = "the other side's word that it has ended"
        yield Reason(ReasonKind.ENDING, attempts, task.changed_at, None, ends_by)


def _of_collecting(task: OpenTask, until: Until) -> Iterator[Reason]:
    if not task.awaits_file or until.is_met(task.files, has_marker=task.has_marker):
        return
    since = task.changed_at
    if task.quiet_at is not None and until.quiet_seconds is not None:
        since = task.quiet_at - timedelta(seconds=until.quiet_seconds)
    so_far = f"{task.files:,} file{'s' * (task.files != 1)} so far"
    yield Reason(ReasonKind.FILES, (task.pattern or "", so_far), since, task.quiet_at, until.words)


def _of_new(task: OpenTask, kinds: Collection[str] | None) -> Reason:
    if kinds is not None and task.kind not in kinds:
        ends_by = "a revision of the service that knows this kind"
        return Reason(ReasonKind.UNKNOWN_KIND, (task.kind,), task.changed_at, task.publish_after, ends_by)
    ends_by = "the delivery of its message, which is sent again if it is lost"
    return Reason(ReasonKind.MESSAGE, (), task.changed_at, task.publish_after, ends_by)


def _of_processing(task: OpenTask) -> Iterator[Reason]:
    since = task.started_at or task.changed_at
    attempt = (f"attempt {task.attempt}",)
    if task.lease_until is not None and task.is_dead:
        yield Reason(ReasonKind.DEAD_WORKER, attempt, task.lease_until, None, "the first sweep: another worker goes on")
    elif task.lease_until is not None:
        yield Reason(ReasonKind.WORKER, attempt, since, task.lease_until, "its outcome, or the end of its lease")
    elif task.open_elements:
        words = f"{task.open_elements:,} of {task.elements or 0:,} elements"
        yield Reason(ReasonKind.ELEMENTS, (words,), since, None, "the end of its elements")
    elif task.awaits_completion:
        yield Reason(ReasonKind.COMPLETION, attempt, since, task.due_at, "a completion message, or its timeout")
    elif task.handle is not None:
        ids = tuple(f"{name} {value}" for name, value in task.handle.items() if isinstance(value, str | int))
        yield Reason(ReasonKind.JOB, ids, since, task.due_at, "its end, for which each sweep asks")
    elif task.due_at is not None:
        yield Reason(ReasonKind.HANDED_BACK, attempt, since, task.due_at, "the first sweep after it is due")
