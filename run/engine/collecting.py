"""Tasks that take many files: which belong to them, when they are all there, and what one does that comes later.

Whether they are all there follows from the rows of the file log alone, and from the database's clock where quiet says
it. Who asks has locked the task's row in a statement before, so that of two who bring the last files at once the second
one sees both, and the collection is closed once.
"""

from __future__ import annotations

from dataclasses import dataclass

from database.collecting import (
    Collection,
    await_more_files,
    look_at_collection,
    stop_if_quiet,
    tasks_awaiting_more,
)
from database.dependencies import Locked, lock_descendants_with_elements, lock_tasks
from database.files import Arrival
from database.keys import BatchKey, TaskKey
from database.sessions import Transaction
from database.statuses import FileDecision, Status
from database.transitions import reopen_batch, stop_awaiting_file
from run.engine.dependency_checker import (
    Checked,
    check_task,
    check_with_descendants,
    reset_tasks,
    reset_with_descendants,
)
from run.workflows.definition import FileTrigger, Until


@dataclass(frozen=True)
class Fate:
    """What becomes of a file for its task, before it is written down."""

    decision: FileDecision
    reason: str | None = None
    #: The tasks that may start now.
    released: tuple[int, ...] = ()
    #: The row of the file log whose place it takes.
    replaces: int | None = None


def collect(
    tx: Transaction, arrival: Arrival, key: TaskKey, trigger: FileTrigger, until: Until, where: str, *, is_marker: bool
) -> Fate:
    """Take a file, or the marker, into the collection of the locked task; the last one lets the task start."""
    own = lock_tasks(tx, key.batch, [key.task_id])[0]
    found = look_at_collection(tx, key, arrival.bucket, arrival.object)
    refused = _why_not(arrival, found, own, trigger, until, where, is_marker=is_marker)
    if refused is not None:
        return refused
    if is_marker:
        released = _go_on(tx, key, own, until, found.files, has_marker=True) if own.awaits_file else ()
        return Fate(FileDecision.MARKER, None, released, found.file_log_id)
    released = _go_on(tx, key, own, until, found.files + 1, has_marker=found.has_marker)
    return Fate(FileDecision.COLLECTED, None, released, found.file_log_id)


def _why_not(
    arrival: Arrival,
    found: Collection,
    own: Locked,
    trigger: FileTrigger,
    until: Until,
    where: str,
    *,
    is_marker: bool,
) -> Fate | None:
    if found.generation is not None and arrival.generation < found.generation:
        return Fate(FileDecision.SUPERSEDED, f"{where} has generation {found.generation}, which is newer")
    if is_marker:
        unwanted = f"{where} has a version in which no marker is waited for"
        return Fate(FileDecision.IGNORED, unwanted) if until.marker is None else None
    if not own.awaits_file and trigger.on_new_generation == "ignore":
        return Fate(
            FileDecision.IGNORED, f"it came too late: {_closed_with(where, found)}: on_new_generation is ignore"
        )
    return None


def _closed_with(where: str, found: Collection) -> str:
    """That a collection is closed, and what is in it."""
    files = found.files + (found.file_log_id is not None)
    return f"{where} had all of its files ({files:,})"


def _go_on(
    tx: Transaction, key: TaskKey, own: Locked, until: Until, files: int, *, has_marker: bool
) -> tuple[int, ...]:
    if until.is_met(files, has_marker=has_marker):
        return _close(tx, key, own).released
    if not own.awaits_file:
        return _open_again(tx, key, until)
    if until.quiet_seconds is not None:
        await_more_files(tx, key, until.quiet_seconds)
    return ()


def _close(tx: Transaction, key: TaskKey, own: Locked) -> Checked:
    stop_awaiting_file(tx, key)
    return _start(tx, key, own)


def _start(tx: Transaction, key: TaskKey, own: Locked) -> Checked:
    # With another set of files, what was built on the former one is built anew; so is what a person has marked before.
    if not own.awaits_file or own.status in (Status.SUCCESS, Status.ERROR):
        return reset_with_descendants(tx, key)
    return check_task(tx, key)


def _open_again(tx: Transaction, key: TaskKey, until: Until) -> tuple[int, ...]:
    # Even when it is about to start: whoever claimed it now would not have what is still to come.
    reset_tasks(tx, key.batch, lock_descendants_with_elements(tx, key))
    await_more_files(tx, key, until.quiet_seconds)
    reopen_batch(tx, key.batch)
    return check_with_descendants(tx, key).released


def close_if_quiet(tx: Transaction, key: TaskKey) -> Checked:
    """Let the task start if no file has come for as long as its version says."""
    locked = lock_tasks(tx, key.batch, [key.task_id])
    if not stop_if_quiet(tx, key) or not locked:
        return Checked()
    return _start(tx, key, locked[0])


def close_if_whole(tx: Transaction, key: TaskKey) -> Checked:
    """Let the task start if its files are all there and nobody has seen to it."""
    locked = lock_tasks(tx, key.batch, [key.task_id])
    awaiting = [one for one in tasks_awaiting_more(tx, key.batch) if one.task_id == key.task_id]
    if not locked or not awaiting:
        return Checked()
    if stop_if_quiet(tx, key) or _has_all(tx, key, Until.model_validate(awaiting[0].until)):
        return _close(tx, key, locked[0])
    return Checked()


def fit_collections(tx: Transaction, batch: BatchKey) -> None:
    """Let the tasks of a batch that has moved to another version wait for what that says; the caller judges them."""
    for one in tasks_awaiting_more(tx, batch):
        key = TaskKey(batch.workflow_id, batch.batch_id, one.task_id)
        until = Until.model_validate(one.until)
        if _has_all(tx, key, until):
            stop_awaiting_file(tx, key)
        elif until.quiet_seconds is not None and one.has_files and one.quiet_at is None:
            await_more_files(tx, key, until.quiet_seconds)


def _has_all(tx: Transaction, key: TaskKey, until: Until) -> bool:
    found = look_at_collection(tx, key)
    return until.is_met(found.files, has_marker=found.has_marker)
