"""A batch moves to the newest version of its workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from database.collecting import fit_files
from database.dependencies import children_of, lock_batch_tasks
from database.interventions import move_tasks, take_attempts_away
from database.keys import BatchKey
from database.sessions import Transaction
from database.statuses import CANCEL, OPEN, RERUN
from database.versions import Difference, differences, fit_tasks, newest_of_batch, set_version
from run.engine.collecting import fit_collections
from run.engine.elements import take_elements_away

_TO_RUN_AGAIN = (Difference.CHANGED, Difference.ADDED)


@dataclass(frozen=True)
class MovedVersion:
    """The versions before and after, and the tasks that run again: changed, new, and all below those."""

    before: int
    after: int
    stale: set[int]


def move_to_newest_version(tx: Transaction, batch: BatchKey, cancelled_by: Mapping[str, Any]) -> MovedVersion | None:
    """Give the batch, whose tasks are locked, the newest version; None when it has that already.

    Tasks that are the same in both versions keep their outcome unless something above them runs again; what the newest
    version no longer has is cancelled.
    """
    newest = newest_of_batch(tx, batch)
    if newest.version_id == newest.newest_id:
        return None
    changes = differences(tx, newest.version_id, newest.newest_id)
    removed = {task_id for task_id, difference in changes.items() if difference is Difference.REMOVED}
    gone = [task.task_id for task in lock_batch_tasks(tx, batch) if task.task_id in removed and task.status in OPEN]
    fresh = {task_id for task_id, difference in changes.items() if difference in _TO_RUN_AGAIN}
    stale = _with_all_below(tx, newest.newest_id, fresh)
    # While the batch has the version that the attempts were begun with: their outside work is ended as that says.
    take_elements_away(tx, batch, [*gone, *sorted(stale)], cancelled_by)
    take_attempts_away(tx, batch, [*gone, *sorted(stale)], cancelled_by)
    move_tasks(tx, batch, gone, CANCEL)
    set_version(tx, batch, newest.newest_id)
    move_tasks(tx, batch, sorted(stale), RERUN)
    fit_files(tx, batch, newest.newest_id)
    fit_tasks(tx, batch, newest.newest_id)
    fit_collections(tx, batch)
    return MovedVersion(newest.version, newest.newest, stale)


def _with_all_below(tx: Transaction, version_id: int, task_ids: set[int]) -> set[int]:
    found, frontier = set(task_ids), sorted(task_ids)
    while frontier:
        children = children_of(tx, version_id, frontier)
        frontier = sorted({child for group in children.values() for child in group} - found)
        found.update(frontier)
    return found
