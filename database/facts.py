"""What is known of the tasks that are not terminal: everything that the reasons of their waiting are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from database.keys import WHOLE, BatchKey
from database.statuses import OPEN, Status, any_of


@dataclass(frozen=True)
class OpenTask:
    """A task that is not terminal, with all that may keep it so. Times are the database's."""

    workflow_id: int
    workflow: str
    batch_id: str
    task_id: int
    task: str
    kind: str
    status: Status
    attempt: int
    changed_at: datetime
    open_parents: tuple[str, ...]
    awaits_file: bool
    #: Whether the newest version of its workflow, whose patterns are what files are compared with, has it take a file.
    is_looked_for: bool
    pattern: str | None
    #: When the files of a task that takes many are all there, as its version says; None of other tasks.
    until: Mapping[str, Any] | None
    #: How many files such a task that waits for more has, and whether their marker has come.
    files: int
    has_marker: bool
    quiet_at: datetime | None
    due_at: datetime | None
    publish_after: datetime | None
    publishes: int
    lease_until: datetime | None
    #: Whether the lease has run out.
    is_dead: bool
    takeovers: int
    handle: Mapping[str, Any] | None
    awaits_completion: bool
    ending: bool
    #: The attempts whose outside work is not confirmed to have ended.
    ending_attempts: tuple[int, ...]
    started_at: datetime | None
    #: Which element of a mapped task it is; WHOLE of tasks.
    element: int
    #: How many elements a mapped task has that awaits them, and how many of those are open.
    elements: int | None
    open_elements: int


_IS_LOOKED_FOR = """
    EXISTS (
        SELECT FROM workflow_version nv
          JOIN task_version nt ON nt.version_id = nv.version_id AND nt.task_id = bt.task_id AND nt.file IS NOT NULL
         WHERE nv.workflow_id = bt.workflow_id AND nv.version = w.version
    )
"""

_SELECT = f"""
    SELECT bt.workflow_id, w.name AS workflow, bt.batch_id, bt.task_id, t.name AS task, COALESCE(tv.kind, '') AS kind,
           bt.status, bt.attempt, bt.changed_at,
           ARRAY(
               SELECT pt.name FROM task_dependency d
                 JOIN batch_task p ON p.workflow_id = bt.workflow_id AND p.batch_id = bt.batch_id
                                  AND p.task_id = d.parent_id AND p.element = {WHOLE}
                 JOIN task pt ON pt.task_id = d.parent_id
                WHERE bt.status = 'WAITING' AND bt.element = {WHOLE}
                  AND d.version_id = b.version_id AND d.child_id = bt.task_id AND p.status IN {any_of(OPEN)}
                ORDER BY p.position LIMIT 100
           ) AS open_parents,
           bt.awaits_file, {_IS_LOOKED_FOR} AS is_looked_for, tv.file ->> 'pattern' AS pattern,
           tv.file -> 'until' AS until,
           COALESCE(has.files, 0) AS files, COALESCE(has.has_marker, false) AS has_marker, bt.quiet_at,
           bt.due_at, bt.publish_after, bt.publishes, bt.lease_until,
           COALESCE(bt.lease_until < clock_timestamp(), false) AS is_dead, bt.takeovers, bt.handle,
           bt.awaits_completion, bt.ending,
           ARRAY(
               SELECT c.attempt FROM cancellation c
                WHERE c.workflow_id = bt.workflow_id AND c.batch_id = bt.batch_id AND c.task_id = bt.task_id
                  AND c.element = bt.element
                ORDER BY c.attempt
           ) AS ending_attempts,
           (SELECT l.started_at FROM task_log l
             WHERE l.workflow_id = bt.workflow_id AND l.batch_id = bt.batch_id AND l.task_id = bt.task_id
               AND l.element = bt.element AND l.attempt = bt.attempt AND l.status = 'PROCESSING') AS started_at,
           bt.element, bt.elements,
           (SELECT count(*) FROM batch_task e
             WHERE bt.awaits_elements AND e.workflow_id = bt.workflow_id AND e.batch_id = bt.batch_id
               AND e.task_id = bt.task_id AND e.element >= 0 AND e.status IN {any_of(OPEN)}) AS open_elements
"""

_SOURCE = """
      JOIN task_batch b ON b.workflow_id = bt.workflow_id AND b.batch_id = bt.batch_id
      JOIN workflow w ON w.workflow_id = bt.workflow_id
      JOIN task t ON t.task_id = bt.task_id
      LEFT JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = bt.task_id
      LEFT JOIN LATERAL (
          SELECT count(*) FILTER (WHERE f.decision <> 'MARKER') AS files,
                 bool_or(f.decision = 'MARKER') AS has_marker
            FROM file_log f
           WHERE bt.awaits_file AND tv.file -> 'until' IS NOT NULL
             AND f.workflow_id = bt.workflow_id AND f.batch_id = bt.batch_id AND f.task_id = bt.task_id
             AND f.decision IN ('COLLECTED', 'SET_ASIDE', 'MARKER')
      ) has ON true
"""

_OF_BATCH = text(f"""
    {_SELECT} FROM batch_task bt {_SOURCE}
     WHERE bt.workflow_id = :workflow_id AND bt.batch_id = :batch_id AND bt.status IN {any_of(OPEN)}
       AND bt.element = {WHOLE}
     ORDER BY bt.position
""")


_LONG_AGO = "clock_timestamp() - CAST(:seconds AS float8) * interval '1 second'"

# A superset of those that have no reason to wait: what is meant to move them is over, or long overdue.
_STUCK = text(f"""
    {_SELECT} FROM batch_task bt {_SOURCE}
     WHERE bt.status IN {any_of(OPEN)} AND bt.changed_at < {_LONG_AGO}
       AND (
           (bt.status = 'WAITING' AND NOT bt.awaits_file
            AND COALESCE(bt.due_at < {_LONG_AGO}, true)
            AND NOT EXISTS (
               SELECT FROM task_dependency d
                 JOIN batch_task p ON p.workflow_id = bt.workflow_id AND p.batch_id = bt.batch_id
                                  AND p.task_id = d.parent_id AND p.element = {WHOLE}
                WHERE bt.element = {WHOLE} AND d.version_id = b.version_id AND d.child_id = bt.task_id
                  AND p.status IN {any_of(OPEN)}
           ) AND NOT EXISTS (
               SELECT FROM cancellation c
                WHERE bt.ending
                  AND c.workflow_id = bt.workflow_id AND c.batch_id = bt.batch_id AND c.task_id = bt.task_id
                  AND c.element = bt.element
           ))
           OR (bt.status = 'WAITING' AND bt.awaits_file AND NOT {_IS_LOOKED_FOR})
           OR bt.quiet_at < {_LONG_AGO}
           OR (bt.status = 'WAITING' AND bt.awaits_file AND has.files > 0
               AND (has.has_marker OR has.files >= CAST(tv.file -> 'until' ->> 'count' AS bigint)))
           OR (bt.status = 'NEW' AND bt.publish_after < {_LONG_AGO})
           OR (bt.awaits_elements AND NOT EXISTS (
               SELECT FROM batch_task e
                WHERE e.workflow_id = bt.workflow_id AND e.batch_id = bt.batch_id AND e.task_id = bt.task_id
                  AND e.element >= 0 AND e.status IN {any_of(OPEN)}
           ))
           OR (bt.status = 'PROCESSING'
               AND COALESCE(bt.lease_until, bt.due_at)
                   < {_LONG_AGO})
       )
     ORDER BY bt.changed_at, bt.workflow_id, bt.batch_id, bt.position, bt.element LIMIT 1000
""")


def open_tasks(tx: Connection, batch: BatchKey) -> list[OpenTask]:
    """The tasks of a batch that are not terminal, in order."""
    return [_read(row) for row in tx.execute(_OF_BATCH, batch.columns)]


def stuck_tasks(tx: Connection, seconds: float) -> list[OpenTask]:
    """Tasks of all batches that have stood still for so long although what should move them is over or not there."""
    return [_read(row) for row in tx.execute(_STUCK, {"seconds": seconds})]


def _read(row: Any) -> OpenTask:
    return OpenTask(
        **{
            **row._mapping,  # noqa: SLF001 - the public way to read a row as a mapping
            "status": Status(row.status),
            "open_parents": tuple(row.open_parents),
            "ending_attempts": tuple(row.ending_attempts),
        }
    )
