"""The model's reasons: for every open task what it waits for, by which names, and when that ends by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from database.statuses import Status
from tests.model.model import Batch, Due, Model, Task, exactly


@dataclass(frozen=True)
class Reason:
    kind: str
    ids: tuple[str, ...] = ()
    until: Due | None = None


def reasons(model: Model, batch: Batch, task: Task) -> list[Reason]:
    """Everything that an open task waits for."""
    match task.status:
        case Status.WAITING:
            return list(_of_waiting(batch, task))
        case Status.NEW if task.plan.is_unknown:
            return [Reason("unknown_kind", ("of_tomorrow",), task.publish_after)]
        case Status.NEW:
            return [Reason("message", (), task.publish_after)]
        case Status.PROCESSING:
            return [_of_processing(model, task)]
        case _:
            return []


def _of_waiting(batch: Batch, task: Task) -> Iterator[Reason]:
    parents = tuple(parent.name for parent in batch.in_order if parent.is_open and parent.name in task.plan.parents)
    if parents:
        yield Reason("parents", parents)
    if task.lacks_file:
        yield Reason("file", (f"gs://landing/{task.name}/(?P<period>.+)",))
    if task.due is not None:
        yield Reason("retry", (f"attempt {task.attempt + 1}",), task.due)
    if task.ending:
        attempts = sorted(attempt for name, attempt in batch.cancellations if name == task.name)
        yield Reason("ending", tuple(f"attempt {attempt}" for attempt in attempts))


def _of_processing(model: Model, task: Task) -> Reason:
    attempt = (f"attempt {task.attempt}",)
    if task.worker is not None:
        is_dead = task.lease_until < model.now
        return Reason("dead_worker", attempt) if is_dead else Reason("worker", attempt, exactly(task.lease_until))
    if task.awaits_completion:
        return Reason("completion", attempt, task.due)
    if task.has_handle:
        return Reason("job", ("job 1",), task.due)
    return Reason("handed_back", attempt, task.due)
