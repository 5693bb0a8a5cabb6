"""The model's people: what they may do to tasks and batches, and when it makes no sense."""

from __future__ import annotations

from collections.abc import Iterable

from database.statuses import BatchStatus, SkipCause, Status
from tests.model.judging import reopen, settle, verdict
from tests.model.model import Batch, Cancellation, Model, Plans, Refused, Task, exactly


def rerun(model: Model, batch: Batch, name: str) -> None:
    """Run only this task again."""
    task = _find(batch, name)
    if task.status is Status.NEW or _waits_already(model, task):
        raise Refused("it is about to start, or waits already")
    if task.plan.disabled:
        raise Refused("it is disabled")
    if task.waits_for_retry:
        task.due = None
        settle(model, batch)
        return
    _refuse_what_is_skipped_again(batch, task)
    _start_over(model, batch, [task])
    reopen(model, batch)


def rerun_downstream(model: Model, batch: Batch, name: str) -> None:
    """Run this task and everything below it again."""
    _refuse_what_is_skipped_again(batch, _find(batch, name))
    below = [task for task in batch.below([name]) if not _waits_already(model, task)]
    if not below:
        raise Refused("they wait already")
    _start_over(model, batch, below)
    reopen(model, batch)


def _waits_already(model: Model, task: Task) -> bool:
    """Whether a task waits, and not only for the moment of its retry."""
    return task.status is Status.WAITING and (task.due is None or task.due.has_come(model.now))


def _refuse_what_is_skipped_again(batch: Batch, task: Task) -> None:
    says = verdict(task.plan.rule, batch.parents(task))
    if says is False or (says and task.plan.disabled):
        raise Refused("it would be skipped again")


def mark(model: Model, batch: Batch, name: str, status: Status) -> None:
    """Say how a task has ended; what was skipped below it because of how things had ended is judged anew."""
    task = _find(batch, name)
    if task.status is status:
        raise Refused("it has this status already")
    _take_away(model, batch, task)
    task.move(status, SkipCause.MARKED if status is Status.SKIPPED else None)
    task.retried = 0
    for below in batch.below([name]):
        if below is not task and below.cause in (SkipCause.UPSTREAM_FAILED, SkipCause.RULE):
            below.move(Status.WAITING)
            below.retried = 0
    reopen(model, batch)


def cancel(model: Model, batch: Batch) -> None:
    """End everything that is open."""
    if batch.status is not BatchStatus.PROCESSING:
        raise Refused("it has ended")
    for task in batch.tasks.values():
        if task.is_open:
            _take_away(model, batch, task)
            task.move(Status.CANCELLED)
            task.retried = 0
    settle(model, batch)


def rerun_batch(model: Model, batch: Batch, *, failed: bool, latest: bool) -> None:
    """Run what has failed again, with all that was skipped because of it; perhaps with the newest version."""
    is_newer = latest and batch.version < len(model.versions)
    if not is_newer and not (failed and _failed_and_skipped_below(batch)):
        raise Refused("nothing in it has failed, and there is no newer version")
    to_reset = _move_to(model, batch, len(model.versions)) if is_newer else set()
    if failed:
        to_reset |= _failed_and_skipped_below(batch)
    _start_over(model, batch, [task for task in batch.in_order if task.name in to_reset])
    reopen(model, batch)


def _failed_and_skipped_below(batch: Batch) -> set[str]:
    failed = [task.name for task in batch.in_order if task.status in (Status.ERROR, Status.CANCELLED)]
    skipped = {task.name for task in batch.below(failed) if task.cause in (SkipCause.UPSTREAM_FAILED, SkipCause.RULE)}
    return {*failed, *skipped}


def _move_to(model: Model, batch: Batch, version: int) -> set[str]:
    """Give the batch this version; returns the tasks that must have another attempt, and all below them."""
    plans: Plans = model.versions[version - 1]
    before = {plan.name: plan.work for plan in batch.plans}
    changed = {plan.name for plan in plans if before.get(plan.name) != plan.work}
    for name in before.keys() - {plan.name for plan in plans}:
        gone = batch.tasks[name]
        if gone.is_open:
            _take_away(model, batch, gone)
            gone.move(Status.CANCELLED)
    batch.version, batch.plans = version, plans
    for plan in plans:
        task = batch.tasks.setdefault(plan.name, Task(plan))
        task.plan = plan
        task.lacks_file = plan.wants_file and plan.name not in batch.files
    return {task.name for task in batch.below(changed)}


def _start_over(model: Model, batch: Batch, tasks: Iterable[Task]) -> None:
    for task in tasks:
        _take_away(model, batch, task)
        task.move(Status.WAITING)
        task.retried = 0


def _take_away(model: Model, batch: Batch, task: Task) -> None:
    """Whoever has an open attempt has it no more; what it began must be confirmed to have ended before the next one.

    A worker that may be alive is left alone until its lease would have run out.
    """
    if task.status is Status.PROCESSING:
        due = model.now if task.worker is None else task.lease_until
        batch.cancellations[task.name, task.attempt] = Cancellation(exactly(due))
        task.log[-1] = Status.CANCELLED
        task.ending = True


def _find(batch: Batch, name: str) -> Task:
    if name not in batch.tasks:
        raise Refused("there is no such task")
    return batch.tasks[name]
