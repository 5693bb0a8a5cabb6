"""The model's outer world: files that arrive, and what outside systems say about work that was handed over."""

from __future__ import annotations

from database.statuses import BatchStatus, FileDecision, Status
from tests.model.attempts import end_as_said
from tests.model.judging import open_batch, reopen, settle
from tests.model.model import Batch, Model, Refused, Said


def complete(model: Model, batch: Batch, name: str, attempt: int | None, said: Said) -> None:
    """An outside system says that an attempt is done; raises Refused when that cannot be, and nothing changes."""
    task = batch.tasks.get(name)
    if task is None or not task.plan.is_external:
        raise Refused("nobody outside has this task")
    last = task.attempt
    if attempt is None:
        if last > 1:
            raise Refused("there has been more than one attempt; the message must say which it means")
        attempt = 1
    before = batch.said.get((name, attempt))
    if before is not None:
        if before != said:
            raise Refused("something else was said about this attempt before")
        return
    is_last_and_open = attempt == last and task.status is Status.PROCESSING
    is_next_and_awaited = attempt == last + 1 and task.status in (Status.WAITING, Status.NEW)
    if not is_last_and_open and not is_next_and_awaited:
        raise Refused("this attempt has ended, or is not due")
    batch.said[name, attempt] = said
    if task.awaits_completion:
        end_as_said(model, batch, task, said)


def land(model: Model, batch_name: str, name: str, generation: int, decided: set[int]) -> FileDecision | None:
    """A file arrives for a task of the newest version; None when this generation was decided about before."""
    if generation in decided:
        return None
    open_batch(model, batch_name)
    batch = model.batches[batch_name]
    decision = _decide(batch, name, generation)
    if decision is FileDecision.TAKEN:
        _take(model, batch, name, generation)
    if decision is not FileDecision.REJECTED:
        decided.add(generation)
    return decision


def _decide(batch: Batch, name: str, generation: int) -> FileDecision:
    if batch.status is BatchStatus.CANCELLED:
        return FileDecision.IGNORED
    if not any(plan.name == name and plan.wants_file for plan in batch.plans):
        return FileDecision.REJECTED
    if generation < batch.files.get(name, 0):
        return FileDecision.SUPERSEDED
    return FileDecision.TAKEN


def _take(model: Model, batch: Batch, name: str, generation: int) -> None:
    own = batch.tasks[name]
    # A person may have said how a task has ended before its file came; that is decided anew with the file.
    is_news = name in batch.files or own.status in (Status.SUCCESS, Status.ERROR)
    batch.files[name] = generation
    own.lacks_file = False
    if not is_news:
        settle(model, batch)
        return
    # What the task reads has changed: it and all below it have another attempt, apart from what has not begun.
    for task in batch.below([name]):
        if task.status is Status.PROCESSING:
            task.reset = True
        elif task.waits_for_retry or not task.is_open or (task.status is Status.NEW and task is not own):
            task.move(Status.WAITING)
            task.retried = 0
    reopen(model, batch)
