"""People's moves with elements of mapped tasks. The task keeps its other elements, and awaits them all once more.

The caller has locked the task with its elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from database.dependencies import Locked, count_parents, lock_one
from database.elements import Mapped, await_elements_again, lock_mapped, release_elements, rerun_failed_elements
from database.interventions import move_tasks, retry_now, take_attempts_away
from database.keys import BatchKey, TaskKey
from database.sessions import Transaction
from database.statuses import MARKS, RERUN, Move, SkipCause, Status
from run.engine.dependency_checker import Checked, Elements
from run.engine.moved import refuse_if_it_starts_anyway
from run.errors import Refused


def rerun_element(tx: Transaction, key: TaskKey, name: str, cancelled_by: Mapping[str, Any]) -> Checked:
    """Let one element have a new attempt; raises Refused when it has none, or one is coming anyway."""
    mapped, own = _find(tx, key, name)
    refuse_if_it_starts_anyway(own, f"element {key.element} of task {name}")
    if own.status is Status.WAITING:
        retry_now(tx, key)
    else:
        _move(tx, key, RERUN, cancelled_by)
    released = release_elements(tx, key, [key.element])
    _await(tx, key, mapped)
    return Checked(elements=(Elements(key.task_id, released),))


def mark_element(tx: Transaction, key: TaskKey, name: str, status: Status, cancelled_by: Mapping[str, Any]) -> Status:
    """Say how one element has ended; what it was. Whoever calls this ends the task if no element is open any more."""
    mapped, own = _find(tx, key, name)
    if own.status is status:
        raise Refused(f"element {key.element} of task {name} is {status} already")
    _move(tx, key, MARKS[status], cancelled_by, SkipCause.MARKED if status is Status.SKIPPED else None)
    _await(tx, key, mapped)
    return own.status


def rerun_failed(tx: Transaction, batch: BatchKey, tasks: Sequence[Locked]) -> tuple[Elements, ...]:
    """Let those elements of these tasks have new attempts that have failed; the elements that may start now.

    A task that stands below one that runs again too waits for that, and reads its list anew: so the tasks are in order.
    """
    released = []
    for task in tasks:
        key = TaskKey(batch.workflow_id, batch.batch_id, task.task_id)
        parents = count_parents(tx, batch, task.version_id, [task.task_id])[task.task_id]
        if parents.finished < parents.all:
            move_tasks(tx, batch, [task.task_id], RERUN)
            continue
        failed = rerun_failed_elements(tx, key, task.elements or 0)
        released.append(Elements(task.task_id, release_elements(tx, key, failed)))
        await_elements_again(tx, key)
    return tuple(released)


def _find(tx: Transaction, key: TaskKey, name: str) -> tuple[Mapped, Locked]:
    mapped = lock_mapped(tx, key)
    if mapped is None:
        raise Refused(f"task {name} is not mapped; it has no elements")
    if mapped.elements is None or mapped.reset:
        raise Refused(f"task {name} is to read its list first; it has no elements now")
    own = lock_one(tx, key) if key.element < mapped.elements else None
    if own is None:
        raise Refused(f"task {name} has {mapped.elements:,} elements, which count from 0; there is no {key.element}")
    return mapped, own


def _move(
    tx: Transaction, key: TaskKey, move: Move, cancelled_by: Mapping[str, Any], cause: SkipCause | None = None
) -> None:
    take_attempts_away(tx, key.batch, [key.task_id], cancelled_by, key.span)
    move_tasks(tx, key.batch, [key.task_id], move, cause, key.span)


def _await(tx: Transaction, key: TaskKey, mapped: Mapped) -> None:
    if not mapped.awaits_elements:
        await_elements_again(tx, key)
