"""What the end of an attempt decides; and what the end of an element decides for its mapped task.

A mapped task awaits its elements and has the outcome that they make together. It remembers one that is open, and only
the end of that one makes anybody look whether another one is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from database.dependencies import lock_one
from database.elements import (
    FailedElements,
    Mapped,
    drop_elements,
    failed_elements,
    lock_mapped,
    release_elements,
    watch_open_element,
)
from database.endings import Ended, finish_mapped
from database.interventions import move_tasks, take_attempts_away
from database.keys import ALL_ELEMENTS, BatchKey, TaskKey
from database.notifications import note_task_outcome
from database.sessions import Transaction
from database.statuses import CANCEL, Status
from run.engine.dependency_checker import (
    READ_ANEW,
    Checked,
    Elements,
    check_and_trigger_children,
    check_task,
    check_with_descendants,
)
from run.engine.outcomes import EndTerms


def check_what_follows(tx: Transaction, key: TaskKey, status: Status, terms: EndTerms) -> Checked:
    """Judge everything that the end of an attempt decides, and note what is to be told of the task itself.

    `status` is the task's, or the element's, from now on.
    """
    if key.is_element:
        return _after_element(tx, key, status)
    if status is Status.WAITING:
        return check_with_descendants(tx, key)
    succeeded = status is Status.SUCCESS
    checked = check_and_trigger_children(tx, key, succeeded=succeeded, may_skip=terms.success_may_skip)
    if terms.tells:
        note_task_outcome(tx, key)
    return checked


def check_alone(tx: Transaction, key: TaskKey) -> Checked:
    """Judge a task, or an element, which no longer lacks something: its retry's moment, the end of its last attempt."""
    if not key.is_element:
        return check_task(tx, key)
    lock_one(tx, key)
    return _release(tx, key)


def take_elements_away(
    tx: Transaction, batch: BatchKey, task_ids: Sequence[int], cancelled_by: Mapping[str, Any]
) -> None:
    """Cancel every open element of these tasks, which a person moves, and have the sweep end what they do outside."""
    take_attempts_away(tx, batch, task_ids, cancelled_by, ALL_ELEMENTS)
    move_tasks(tx, batch, task_ids, CANCEL, span=ALL_ELEMENTS)


def end_if_all_have(tx: Transaction, key: TaskKey) -> Checked:
    """End a mapped task that awaits its elements if none of them is open."""
    mapped = lock_mapped(tx, key)
    return Checked() if mapped is None or not mapped.awaits_elements else _look(tx, key, mapped)


def _after_element(tx: Transaction, key: TaskKey, status: Status) -> Checked:
    mapped = lock_mapped(tx, key)
    if mapped is None or not mapped.awaits_elements:
        return Checked()
    if status is Status.WAITING and not mapped.reset:
        return _release(tx, key)
    if status is Status.WAITING:
        drop_elements(tx, key.batch, [key.task_id], key.span)
    if mapped.waits_on not in (None, key.element):
        return Checked()
    return _look(tx, key.whole, mapped)


def _release(tx: Transaction, key: TaskKey) -> Checked:
    released = release_elements(tx, key, [key.element])
    return Checked(elements=(Elements(key.task_id, released),)) if released else Checked()


def _look(tx: Transaction, key: TaskKey, mapped: Mapped) -> Checked:
    """Let the locked task, which awaits its elements, remember one that is open, or end."""
    if watch_open_element(tx, key):
        return Checked()
    status = finish_mapped(tx, key, mapped.attempt, READ_ANEW if mapped.reset else _outcome(tx, key, mapped))
    if status is None:
        return Checked()
    return check_what_follows(tx, key, status, mapped)


def _outcome(tx: Transaction, key: TaskKey, mapped: Mapped) -> Ended:
    elements = mapped.elements or 0
    failed = failed_elements(tx, key, elements)
    details = {"elements": elements, "failed": failed.count}
    if failed.count <= mapped.max_failures:
        return Ended(Status.SUCCESS, details=details)
    return Ended(Status.ERROR, _words(failed, elements), details)


def _words(failed: FailedElements, elements: int) -> str:
    first = ", ".join(map(str, failed.first))
    more = f" and {failed.count - len(failed.first):,} more" if failed.count > len(failed.first) else ""
    # What people are told of the task is all that most of them read.
    why = "" if failed.error is None else f"\nelement {failed.element}: {failed.error}"
    return f"{failed.count:,} of {elements:,} elements failed: {first}{more}{why}"
