"""What a dependency check reads: the rows that it locks, and then how their parents have ended.

Locks are taken in ascending `position`, in statements of their own: what such a statement waits for becomes visible
only to the statements after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from database.keys import BatchKey, TaskKey
from database.statuses import FAILURES, OPEN, SkipCause, Status, any_of


@dataclass(frozen=True)
class Locked:
    """A batch task whose row this transaction has locked."""

    task_id: int
    position: int
    status: Status
    rule: str
    awaits_file: bool
    disabled: bool
    version_id: int


_LOCKED_COLUMNS = "c.task_id, c.position, c.status, c.awaits_file, tv.rule, tv.disabled, b.version_id"

_LOCK_TASKS = text(f"""
    SELECT {_LOCKED_COLUMNS}
      FROM task_batch b
      JOIN batch_task c ON c.workflow_id = b.workflow_id AND c.batch_id = b.batch_id
      JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = c.task_id
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id AND c.task_id = ANY(:task_ids)
     ORDER BY c.position FOR NO KEY UPDATE OF c
""")

_LOCK_CHILDREN = text(f"""
    SELECT {_LOCKED_COLUMNS}
      FROM task_batch b
      JOIN task_dependency d ON d.version_id = b.version_id AND d.parent_id = :task_id
      JOIN batch_task c ON c.workflow_id = b.workflow_id AND c.batch_id = b.batch_id AND c.task_id = d.child_id
      JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = d.child_id
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id
     ORDER BY c.position FOR NO KEY UPDATE OF c
""")

_LOCK_DESCENDANTS = text(f"""
    WITH RECURSIVE below (task_id) AS (
        SELECT CAST(:task_id AS bigint)
        UNION
        SELECT d.child_id FROM below
          JOIN task_batch b ON b.workflow_id = :workflow_id AND b.batch_id = :batch_id
          JOIN task_dependency d ON d.version_id = b.version_id AND d.parent_id = below.task_id
    )
    SELECT {_LOCKED_COLUMNS}
      FROM task_batch b
      JOIN batch_task c ON c.workflow_id = b.workflow_id AND c.batch_id = b.batch_id
      JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = c.task_id
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id AND c.task_id IN (SELECT task_id FROM below)
     ORDER BY c.position FOR NO KEY UPDATE OF c
""")


def lock_tasks(tx: Connection, batch: BatchKey, task_ids: Sequence[int]) -> list[Locked]:
    """Lock these tasks of the batch, whatever their status, in ascending position."""
    return _locked(tx.execute(_LOCK_TASKS, {**batch.columns, "task_ids": list(task_ids)}).all())


def lock_children(tx: Connection, key: TaskKey) -> list[Locked]:
    """Lock the children of a task, whatever their status, in ascending position."""
    return _locked(tx.execute(_LOCK_CHILDREN, key.columns).all())


def lock_descendants(tx: Connection, key: TaskKey) -> list[Locked]:
    """Lock a task and everything below it, whatever their status, in ascending position; the task itself is first."""
    return _locked(tx.execute(_LOCK_DESCENDANTS, key.columns).all())


def _locked(rows: Iterable[Row[Any]]) -> list[Locked]:
    return [
        Locked(
            task_id=row.task_id,
            position=row.position,
            status=Status(row.status),
            rule=row.rule,
            awaits_file=row.awaits_file,
            disabled=row.disabled,
            version_id=row.version_id,
        )
        for row in rows
    ]


@dataclass
class ParentCounts:
    """How the parents of one task have ended so far; `failed` and `skipped` do not overlap."""

    all: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    finished: int = 0
    #: The failed task that is to blame: of several, the one with the smallest id.
    culprit: int | None = None


_FAILED = f"(p.status IN {any_of(FAILURES)} OR p.skip_cause = '{SkipCause.UPSTREAM_FAILED}')"

_PARENT_COUNTS = text(f"""
    SELECT d.child_id,
           count(*) AS "all",
           count(*) FILTER (WHERE p.status = 'SUCCESS') AS succeeded,
           count(*) FILTER (WHERE {_FAILED}) AS failed,
           count(*) FILTER (WHERE p.status = 'SKIPPED' AND NOT {_FAILED}) AS skipped,
           count(*) FILTER (WHERE p.status NOT IN {any_of(OPEN)}) AS finished,
           min(COALESCE(p.skipped_because_of, p.task_id)) FILTER (WHERE {_FAILED}) AS culprit
      FROM task_dependency d
      JOIN batch_task p ON p.workflow_id = :workflow_id AND p.batch_id = :batch_id AND p.task_id = d.parent_id
     WHERE d.version_id = :version_id AND d.child_id = ANY(:task_ids)
     GROUP BY d.child_id
""")


def count_parents(tx: Connection, batch: BatchKey, version_id: int, task_ids: Sequence[int]) -> dict[int, ParentCounts]:
    """The outcomes of the parents of each of these tasks, which the caller has locked in an earlier statement."""
    counts = {task_id: ParentCounts() for task_id in task_ids}
    given = {**batch.columns, "version_id": version_id, "task_ids": list(task_ids)}
    for row in tx.execute(_PARENT_COUNTS, given):
        child_id, *figures = row
        counts[child_id] = ParentCounts(*figures)
    return counts


_CHILDREN_OF = text("""
    SELECT parent_id, child_id FROM task_dependency
     WHERE version_id = :version_id AND parent_id = ANY(:task_ids)
""")


def children_of(tx: Connection, version_id: int, task_ids: Sequence[int]) -> dict[int, list[int]]:
    """The children of each of these tasks in one version."""
    children: dict[int, list[int]] = {}
    for parent_id, child_id in tx.execute(_CHILDREN_OF, {"version_id": version_id, "task_ids": list(task_ids)}):
        children.setdefault(parent_id, []).append(child_id)
    return children
