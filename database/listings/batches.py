"""Batches, their tasks and the history of those, to look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from database.errors import Missing
from database.facts import OpenTask, open_tasks
from database.keys import WHOLE, BatchKey
from database.listings.elements import ListedElement, elements_that_tell
from database.listings.errors import GIST
from database.listings.workflows import newest_version
from database.statuses import OPEN, any_of

#: As many tasks or attempts of one batch as anybody reads.
MOST_OF_A_BATCH = 10_000
#: As many elements as are shown beside the tasks; there is a listing of their own for all of them.
MOST_ELEMENTS_OF_A_BATCH = 100


@dataclass(frozen=True)
class ListedBatch:
    """A batch; `tasks` counts its tasks by status."""

    workflow: str
    batch: str
    status: str
    version: int
    params: Mapping[str, Any]
    created_at: datetime
    ended_at: datetime | None
    #: When it should have ended, and when it was seen that it had not.
    deadline_at: datetime | None
    deadline_missed_at: datetime | None
    tasks: Mapping[str, int]
    #: The database's clock, beside which the times of the batch can be read.
    read_at: datetime


_BATCH_COLUMNS = """
    SELECT w.name AS workflow, b.batch_id AS batch, b.status, v.version, b.params, b.created_at, b.ended_at,
           b.deadline_at, b.deadline_missed_at,
           (SELECT COALESCE(jsonb_object_agg(c.status, c.tasks), '{}')
              FROM (SELECT t.status, count(*) AS tasks FROM batch_task t
                     WHERE t.workflow_id = b.workflow_id AND t.batch_id = b.batch_id AND t.element = -1
                     GROUP BY t.status) c) AS tasks,
           clock_timestamp() AS read_at
"""
_BATCH_NAMES = """
      JOIN workflow w ON w.workflow_id = b.workflow_id
      JOIN workflow_version v ON v.version_id = b.version_id
"""

_BATCHES = text(f"""
    {_BATCH_COLUMNS}
      FROM (SELECT tb.* FROM task_batch tb JOIN workflow tw ON tw.workflow_id = tb.workflow_id
             WHERE CAST(:workflow AS text) IS NULL OR tw.name = :workflow
             ORDER BY tb.created_at DESC, tb.batch_id DESC LIMIT :most) b
    {_BATCH_NAMES}
     ORDER BY b.created_at DESC, b.batch_id DESC
""")
_BATCH = text(f"{_BATCH_COLUMNS} FROM task_batch b {_BATCH_NAMES} WHERE w.name = :workflow AND b.batch_id = :batch")


def list_batches(tx: Connection, workflow: str | None = None, *, most: int) -> list[ListedBatch]:
    """The newest batches, of one workflow if it is named; raises Missing when there is no such workflow."""
    if workflow is not None:
        newest_version(tx, workflow)
    return [ListedBatch(**row._asdict()) for row in tx.execute(_BATCHES, {"workflow": workflow, "most": most})]


def find_batch(tx: Connection, workflow: str, batch: str) -> ListedBatch:
    """The batch of these names; raises Missing."""
    row = tx.execute(_BATCH, {"workflow": workflow, "batch": batch}).one_or_none()
    if row is None:
        newest_version(tx, workflow)
        raise Missing(f"workflow {workflow} has no batch {batch!r}")
    return ListedBatch(**row._asdict())


@dataclass(frozen=True)
class ListedCancellation:
    """An attempt that was taken away, until it is confirmed that nothing of it runs outside."""

    attempt: int
    requested_at: datetime
    #: When it is tried next.
    due_at: datetime
    tries: int
    #: What the other side last said instead of confirming it.
    problem: str | None


@dataclass(frozen=True)
class ListedTask:
    """A task of a batch: where it stands, its last attempt, its file, and what it waits for."""

    task: str
    kind: str
    status: str
    attempt: int
    takeovers: int
    #: How many of its retries it has used.
    retried: int
    retries: int
    timeout_seconds: int | None
    rule: str
    allow_failure: bool
    #: Whether the batch has moved to a version that does not have it.
    removed: bool
    reset: bool
    skip_cause: str | None
    skipped_because_of: str | None
    #: What its last attempt has said about having nothing to do.
    skip_reason: str | None
    started_at: datetime | None
    ended_at: datetime | None
    #: The gist of the last attempt's error; None once the task has ended otherwise, as when a person marks it.
    error: str | None
    file: str | None
    generation: int | None
    #: Where the file is now, when a task has moved it.
    place: str | None
    #: How many files a task that takes many has, and how many of those that came are set aside; 0 for other tasks.
    collected: int
    set_aside: int
    awaits_file: bool
    pattern: str | None
    open_parents: tuple[str, ...]
    #: How many elements of a mapped task, whose list was read, have which status; None of other tasks.
    elements: Mapping[str, int] | None
    cancellations: tuple[ListedCancellation, ...]


@dataclass(frozen=True)
class ShownBatch:
    """A batch and its tasks in order; `open_tasks` tells what those wait for that are not terminal."""

    batch: ListedBatch
    tasks: tuple[ListedTask, ...]
    open_tasks: tuple[OpenTask, ...]
    #: The elements that have failed, and then those that somebody has begun; not all, where they are very many.
    elements: tuple[ListedElement, ...]


# A task that the batch's version no longer has is shown as the last version before it had it.
_TASKS = text(f"""
    SELECT t.name AS task, tv.kind, bt.status, bt.attempt, bt.takeovers, bt.retried, tv.retries, tv.timeout_seconds,
           tv.rule, tv.allow_failure, own.version_id IS NULL AS removed, bt.reset,
           bt.skip_cause, s.name AS skipped_because_of,
           CASE WHEN bt.status = l.status THEN left(l.details ->> 'skipped', 1000) END AS skip_reason,
           l.started_at, l.ended_at,
           CASE WHEN bt.status NOT IN ('SUCCESS', 'SKIPPED') THEN {GIST} END AS error,
           'gs://' || f.bucket || '/' || f.object AS file, f.generation,
           'gs://' || f.place_bucket || '/' || f.place_object AS place,
           has.collected, has.set_aside, bt.awaits_file, tv.file ->> 'pattern' AS pattern,
           CASE WHEN bt.status = 'WAITING' THEN ARRAY(
               SELECT pt.name FROM task_dependency d
                 JOIN batch_task p ON p.workflow_id = bt.workflow_id AND p.batch_id = bt.batch_id
                                  AND p.task_id = d.parent_id AND p.element = {WHOLE}
                 JOIN task pt ON pt.task_id = d.parent_id
                WHERE d.version_id = b.version_id AND d.child_id = bt.task_id AND p.status IN {any_of(OPEN)}
                ORDER BY p.position
           ) ELSE '{{}}' END AS open_parents,
           CASE WHEN bt.elements IS NOT NULL THEN (
               SELECT COALESCE(jsonb_object_agg(c.status, c.elements), '{{}}')
                 FROM (SELECT e.status, count(*) AS elements FROM batch_task e
                        WHERE e.workflow_id = bt.workflow_id AND e.batch_id = bt.batch_id AND e.task_id = bt.task_id
                          AND e.element >= 0 AND e.element < bt.elements GROUP BY e.status) c
           ) END AS elements
      FROM task_batch b
      JOIN workflow w ON w.workflow_id = b.workflow_id
      JOIN workflow_version v ON v.version_id = b.version_id
      JOIN batch_task bt ON bt.workflow_id = b.workflow_id AND bt.batch_id = b.batch_id
                        AND bt.element = {WHOLE}
      JOIN task t ON t.task_id = bt.task_id
      LEFT JOIN task_version own ON own.version_id = b.version_id AND own.task_id = bt.task_id
      LEFT JOIN LATERAL (
          SELECT o.version_id FROM workflow_version ov
            JOIN task_version o ON o.version_id = ov.version_id AND o.task_id = bt.task_id
           WHERE own.version_id IS NULL AND ov.workflow_id = b.workflow_id AND ov.version < v.version
           ORDER BY ov.version DESC LIMIT 1
      ) older ON true
      JOIN task_version tv ON tv.version_id = COALESCE(own.version_id, older.version_id) AND tv.task_id = bt.task_id
      LEFT JOIN task s ON s.task_id = bt.skipped_because_of
      LEFT JOIN task_log l ON l.workflow_id = bt.workflow_id AND l.batch_id = bt.batch_id
                          AND l.task_id = bt.task_id AND l.element = {WHOLE} AND l.attempt = bt.attempt
      LEFT JOIN file_log f ON f.workflow_id = bt.workflow_id AND f.batch_id = bt.batch_id
                          AND f.task_id = bt.task_id AND f.decision = 'TAKEN'
     CROSS JOIN LATERAL (
          SELECT count(*) FILTER (WHERE m.decision = 'COLLECTED') AS collected,
                 count(*) FILTER (WHERE m.decision = 'SET_ASIDE') AS set_aside
            FROM file_log m
           WHERE tv.file -> 'until' IS NOT NULL AND m.workflow_id = bt.workflow_id AND m.batch_id = bt.batch_id
             AND m.task_id = bt.task_id AND m.decision IN ('COLLECTED', 'SET_ASIDE', 'MARKER')
      ) has
     WHERE w.name = :workflow AND b.batch_id = :batch
     ORDER BY removed, bt.position, t.name LIMIT {MOST_OF_A_BATCH}
""")

_CANCELLATIONS = text(f"""
    SELECT t.name AS task, c.attempt, c.requested_at, c.due_at, c.tries, left(c.problem, 1000) AS problem
      FROM workflow w
      JOIN cancellation c ON c.workflow_id = w.workflow_id AND c.element = {WHOLE}
      JOIN task t ON t.task_id = c.task_id
     WHERE w.name = :workflow AND c.batch_id = :batch
     ORDER BY c.task_id, c.attempt LIMIT {MOST_OF_A_BATCH}
""")


_WORKFLOW_ID = text("SELECT workflow_id FROM workflow WHERE name = :workflow")

_ONE_MOMENT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def look_at_batch(tx: Connection, workflow: str, batch: str) -> ShownBatch:
    """A batch and its tasks, all as of one moment; so is what its transaction reads next. Raises Missing.

    It must come first in its transaction.
    """
    tx.execute(_ONE_MOMENT)
    return show_batch(tx, workflow, batch)


def show_batch(tx: Connection, workflow: str, batch: str) -> ShownBatch:
    """A batch and its tasks; raises Missing."""
    found = find_batch(tx, workflow, batch)
    named = {"workflow": workflow, "batch": batch}
    ending: defaultdict[str, list[ListedCancellation]] = defaultdict(list)
    for row in tx.execute(_CANCELLATIONS, named):
        task, *cancellation = row
        ending[task].append(ListedCancellation(*cancellation))
    tasks = tuple(_task(row, ending) for row in tx.execute(_TASKS, named))
    key = BatchKey(tx.execute(_WORKFLOW_ID, named).scalar_one(), batch)
    elements: Sequence[ListedElement] = ()
    if any(task.elements for task in tasks):
        elements = elements_that_tell(tx, workflow, batch, most=MOST_ELEMENTS_OF_A_BATCH)
    return ShownBatch(found, tasks, tuple(open_tasks(tx, key)), tuple(elements))


def _task(row: Row[Any], ending: Mapping[str, Sequence[ListedCancellation]]) -> ListedTask:
    lists = {"open_parents": tuple(row.open_parents), "cancellations": tuple(ending.get(row.task, ()))}
    return ListedTask(**{**row._asdict(), **lists})


@dataclass(frozen=True)
class ListedAttempt:
    """One attempt of a task, or of an element, with its whole error and what the other side has told."""

    task: str
    element: int | None
    attempt: int
    status: str
    started_at: datetime
    ended_at: datetime | None
    error: str | None
    details: Mapping[str, Any]


_ATTEMPTS = text(f"""
    SELECT t.name AS task, NULLIF(l.element, -1) AS element, l.attempt, l.status, l.started_at, l.ended_at, l.error,
           l.details
      FROM workflow w
      JOIN task_log l ON l.workflow_id = w.workflow_id
      JOIN batch_task bt ON bt.workflow_id = l.workflow_id AND bt.batch_id = l.batch_id AND bt.task_id = l.task_id
                        AND bt.element = l.element
      JOIN task t ON t.task_id = l.task_id
     WHERE w.name = :workflow AND l.batch_id = :batch
     ORDER BY l.element >= 0, bt.position, t.name, l.element, l.attempt LIMIT {MOST_OF_A_BATCH}
""")


def list_attempts(tx: Connection, workflow: str, batch: str) -> list[ListedAttempt]:
    """The history of a batch: the attempts of each task in order, and then those of elements."""
    rows = tx.execute(_ATTEMPTS, {"workflow": workflow, "batch": batch})
    return [ListedAttempt(**row._asdict()) for row in rows]
