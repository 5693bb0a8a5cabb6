"""People's moves: run again, mark, cancel. Each is one transaction, through the same check as every other change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from database.audit import write_audit
from database.dependencies import (
    Locked,
    children_of,
    lock_batch_tasks,
    lock_descendants,
    lock_descendants_with_elements,
)
from database.interventions import move_tasks, retry_now, take_attempts_away
from database.keys import BatchKey, TaskKey
from database.sessions import Database, Transaction
from database.statuses import CANCEL, MARKS, OPEN, RERUN, Move, SkipCause, Status
from database.transitions import bring_back, reopen_batch
from run.engine.dependency_checker import (
    Checked,
    check_task,
    check_with_descendants,
    judge_and_settle,
    together,
)
from run.engine.element_moves import mark_element, rerun_element, rerun_failed
from run.engine.elements import end_if_all_have, take_elements_away
from run.engine.life import TaskLife
from run.engine.moved import Moved, MoveResult, TaskOfBatch, Who, batch_of, refuse_if_it_starts_anyway
from run.engine.newest_version import move_to_newest_version
from run.errors import Refused

logger = logging.getLogger(__name__)


class Moves:
    """Every method raises Missing when there is no such workflow, batch or task, and Refused when it makes no sense."""

    def __init__(self, database: Database, life: TaskLife) -> None:
        self._database = database
        self._life = life

    def rerun_task(self, address: TaskOfBatch, who: Who, *, downstream: bool = False) -> MoveResult:
        """Let a task, or an element, have a new attempt; `downstream` lets everything below it have one too."""

        def rerun(tx: Transaction) -> Moved:
            key = address.find(tx)
            if key.is_element:
                moved = _rerun_element(tx, key, address, who, downstream=downstream)
            elif downstream:
                moved = _rerun_downstream(tx, key, address.task, who)
            else:
                moved = _rerun_only(tx, key, address.task, who)
            details = {"downstream": downstream}
            write_audit(tx, who.actor, "rerun", address.subject, reason=who.reason, details=details)
            return moved

        return self._make(rerun)

    def mark_task(self, address: TaskOfBatch, who: Who, status: Status) -> MoveResult:
        """Say how a task, or an element, has ended, whatever it has done; `status` is SUCCESS, ERROR or SKIPPED."""

        def mark(tx: Transaction) -> Moved:
            key = address.find(tx)
            if key.is_element:
                before, moved = _mark_element(tx, key, address, status, who)
            else:
                before, moved = _mark(tx, key, address.task, status, who)
            details = {"status": status, "was": before}
            write_audit(tx, who.actor, "mark", address.subject, reason=who.reason, details=details)
            return moved

        return self._make(mark)

    def rerun_batch(
        self, workflow: str, batch_id: str, who: Who, *, failed: bool = True, latest: bool = False
    ) -> MoveResult:
        """Let what has failed, and what was skipped because of it, have new attempts.

        `latest` moves the batch to the workflow's newest version, in which only what has changed, what is new and what
        is below those has to run again.
        """

        def rerun(tx: Transaction) -> Moved:
            batch = batch_of(tx, workflow, batch_id)
            lock_batch_tasks(tx, batch)
            details: dict[str, Any] = {"failed": failed, "latest": latest}
            newer = move_to_newest_version(tx, batch, who.as_details) if latest else None
            if newer is not None:
                details |= {"from_version": newer.before, "to_version": newer.after}
            moved = _rerun_of_batch(tx, batch, who, failed=failed, moved_already=newer.stale if newer else set())
            if not moved.changed and newer is None:
                raise Refused(_why_no_rerun(workflow, batch_id, failed=failed))
            write_audit(tx, who.actor, "rerun", f"batch {workflow} {batch_id}", reason=who.reason, details=details)
            return moved

        return self._make(rerun)

    def cancel_batch(self, workflow: str, batch_id: str, who: Who) -> MoveResult:
        """End a batch now: no task of it begins any more, and what goes on outside is ended."""
        return self._make(lambda tx: cancel_batch(tx, batch_of(tx, workflow, batch_id), workflow, who))

    def _make(self, move: Callable[[Transaction], Moved]) -> MoveResult:
        def make(tx: Transaction) -> tuple[Moved, MoveResult]:
            moved = move(tx)
            return moved, moved.told(tx)

        moved, result = self._database.transact(make)
        self._life.publish(moved.batch.batch_id, moved.checked.released, moved.checked.elements)
        return result


def cancel_batch(tx: Transaction, batch: BatchKey, workflow: str, who: Who) -> Moved:
    """Cancel every open task and so the batch; raises Refused when the batch has ended."""
    # Twice: the first may wait for a move to another version, and only the second sees the tasks that it has added.
    lock_batch_tasks(tx, batch)
    locked = lock_batch_tasks(tx, batch)
    open_tasks = [task.task_id for task in locked if task.status in OPEN]
    if not open_tasks:
        raise Refused(f"batch {batch.batch_id} has ended; there is nothing to cancel")
    _move(tx, batch, open_tasks, CANCEL, who)
    checked = judge_and_settle(tx, batch, lock_batch_tasks(tx, batch))
    subject = f"batch {workflow} {batch.batch_id}"
    write_audit(tx, who.actor, "cancel", subject, reason=who.reason, details={"tasks": len(open_tasks)})
    return Moved(batch, open_tasks, checked)


def _rerun_only(tx: Transaction, key: TaskKey, name: str, who: Who) -> Moved:
    # All that is below it too: should the task be skipped again, so is that, and the batch's row is locked by then.
    own = lock_descendants(tx, key)[0]
    if own.disabled:
        raise Refused(_would_be_skipped(name))
    refuse_if_it_starts_anyway(own, f"task {name}")
    if own.status is Status.WAITING:
        retry_now(tx, key)
    else:
        _move(tx, key.batch, [key.task_id], RERUN, who)
    reopen_batch(tx, key.batch)
    checked = check_task(tx, key)
    if checked.skipped:
        raise Refused(_would_be_skipped(name))
    return Moved(key.batch, [key.task_id], checked)


def _rerun_downstream(tx: Transaction, key: TaskKey, name: str, who: Who) -> Moved:
    # Its own row is locked already: whoever moves the batch to another version holds it until the end, and the edges
    # are read afterwards.
    below = lock_descendants_with_elements(tx, key)
    stale = _stale(below)
    if not stale:
        raise Refused(f"task {name} and all that is below it wait already; they start as soon as they may")
    _move(tx, key.batch, stale, RERUN, who)
    reopen_batch(tx, key.batch)
    checked = check_with_descendants(tx, key)
    if key.task_id in checked.skipped:
        raise Refused(_would_be_skipped(name))
    return Moved(key.batch, stale, checked)


def _stale(tasks: Sequence[Locked]) -> list[int]:
    return [task.task_id for task in tasks if task.status is not Status.WAITING or not task.is_due]


def _rerun_element(tx: Transaction, key: TaskKey, address: TaskOfBatch, who: Who, *, downstream: bool) -> Moved:
    stale = _stale(lock_descendants_with_elements(tx, key.whole)[1:]) if downstream else []
    checked = rerun_element(tx, key, address.task, who.as_details)
    _move(tx, key.batch, stale, RERUN, who)
    reopen_batch(tx, key.batch)
    return Moved(key.batch, [key.task_id, *stale], checked, {key.task_id: address.name})


def _would_be_skipped(name: str) -> str:
    return (
        f"task {name} would be skipped again: with how its parents have ended its rule cannot be met, or it is "
        "disabled; run those again, or mark them"
    )


def _mark_element(
    tx: Transaction, key: TaskKey, address: TaskOfBatch, status: Status, who: Who
) -> tuple[Status, Moved]:
    below = [task.task_id for task in lock_descendants(tx, key.whole)][1:]
    before = mark_element(tx, key, address.task, status, who.as_details)
    bring_back(tx, key.batch, below)
    reopen_batch(tx, key.batch)
    checked = end_if_all_have(tx, key.whole)
    return before, Moved(key.batch, [key.task_id], checked, {key.task_id: address.name})


def _mark(tx: Transaction, key: TaskKey, name: str, status: Status, who: Who) -> tuple[Status, Moved]:
    own, *others = lock_descendants(tx, key)
    if own.status is status:
        raise Refused(f"task {name} is {status} already")
    below = [task.task_id for task in others]
    cause = SkipCause.MARKED if status is Status.SKIPPED else None
    _move(tx, key.batch, [key.task_id], MARKS[status], who, cause)
    bring_back(tx, key.batch, below)
    # Even when no task is open: the outcome of a batch that has ended may be another now.
    reopen_batch(tx, key.batch)
    checked = check_with_descendants(tx, key)
    return own.status, Moved(key.batch, [key.task_id], checked)


def _rerun_of_batch(tx: Transaction, batch: BatchKey, who: Who, *, failed: bool, moved_already: set[int]) -> Moved:
    locked = lock_batch_tasks(tx, batch)
    ended_badly = [task for task in locked if failed and task.status in (Status.ERROR, Status.CANCELLED)]
    by_elements = [task for task in ended_badly if task.elements is not None]
    _move(tx, batch, [task.task_id for task in ended_badly if task.elements is None], RERUN, who)
    stale = moved_already.union(task.task_id for task in ended_badly)
    bring_back(tx, batch, _below(tx, locked, stale))
    released = rerun_failed(tx, batch, by_elements)
    reopen_batch(tx, batch)
    checked = Checked(elements=released)
    for task in by_elements:
        # None of its elements need have failed, if a person has marked it.
        ended = end_if_all_have(tx, TaskKey(batch.workflow_id, batch.batch_id, task.task_id))
        checked = together(checked, ended)
    checked = together(checked, judge_and_settle(tx, batch, lock_batch_tasks(tx, batch)))
    return Moved(batch, [task.task_id for task in locked if task.task_id in stale], checked)


def _why_no_rerun(workflow: str, batch_id: str, *, failed: bool) -> str:
    if failed:
        return f"no task of batch {batch_id} has failed or was cancelled"
    return f"batch {batch_id} has the newest version of workflow {workflow} already"


def _below(tx: Transaction, locked: Sequence[Locked], above: Iterable[int]) -> list[int]:
    """Everything below these tasks; `locked` is the whole batch in order."""
    if not locked:
        return []
    children = children_of(tx, locked[0].version_id, [task.task_id for task in locked])
    found: set[int] = set()
    for task in locked:
        if task.task_id in found or task.task_id in above:
            found.update(children.get(task.task_id, ()))
    return sorted(found)


def _move(
    tx: Transaction, batch: BatchKey, task_ids: Sequence[int], move: Move, who: Who, cause: SkipCause | None = None
) -> None:
    if not task_ids:
        return
    take_elements_away(tx, batch, task_ids, who.as_details)
    take_attempts_away(tx, batch, task_ids, who.as_details)
    move_tasks(tx, batch, task_ids, move, cause)
