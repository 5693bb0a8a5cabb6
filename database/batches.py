"""Batches: opened once, with all their task rows, in the transaction of whatever opened them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.keys import WHOLE, BatchKey, TaskKey
from database.prepared import Prepared, one_or_none
from database.statistics import analyze_if_outgrown
from database.statuses import BatchStatus, Status
from database.transitions import FIRST_REPUBLISH_SECONDS


@dataclass(frozen=True)
class Batch:
    """A batch as it is stored."""

    key: BatchKey
    status: BatchStatus
    version_id: int
    params: Mapping[str, Any]


_FIND = text("""
    SELECT status, version_id, params FROM task_batch WHERE workflow_id = :workflow_id AND batch_id = :batch_id
""")


def find_batch(tx: Connection, key: BatchKey) -> Batch | None:
    """The batch of this key."""
    row = tx.execute(_FIND, key.columns).one_or_none()
    return None if row is None else Batch(key, BatchStatus(row.status), row.version_id, row.params)


_CREATE = text("""
    INSERT INTO task_batch (workflow_id, batch_id, version_id, params, trigger_key, deadline_at)
    SELECT :workflow_id, :batch_id, v.version_id, :params, :trigger_key,
           clock_timestamp() + v.deadline_seconds * interval '1 second'
      FROM workflow_version v WHERE v.version_id = :version_id
    ON CONFLICT DO NOTHING
""").bindparams(bindparam("params", type_=JSONB))


def create_batch(
    tx: Connection, key: BatchKey, version_id: int, params: Mapping[str, Any], trigger_key: str | None
) -> bool:
    """Whether this transaction has created the batch; if another one is creating it, wait until that has ended."""
    given = {**key.columns, "version_id": version_id, "params": dict(params), "trigger_key": trigger_key}
    return bool(tx.execute(_CREATE, given).rowcount)


_CREATE_TASKS = text(f"""
    WITH created AS (
        INSERT INTO batch_task
            (workflow_id, batch_id, task_id, position, version_id, awaits_file, status, publish_after)
        SELECT :workflow_id, :batch_id, v.task_id, v.position, v.version_id, v.file IS NOT NULL, s.status,
               CASE WHEN s.status = 'NEW' THEN clock_timestamp() + {FIRST_REPUBLISH_SECONDS} * interval '1 second' END
          FROM task_version v
          CROSS JOIN LATERAL (
              SELECT CASE WHEN v.file IS NULL AND NOT v.disabled AND NOT EXISTS (
                  SELECT FROM task_dependency d WHERE d.version_id = v.version_id AND d.child_id = v.task_id
              ) THEN 'NEW' ELSE 'WAITING' END AS status
          ) s
         WHERE v.version_id = :version_id
        RETURNING task_id, position, status
    )
    SELECT COALESCE(array_agg(task_id ORDER BY position) FILTER (WHERE status = 'NEW'), '{{}}') AS released,
           count(*) AS tasks
      FROM created
""")

_DISABLED_ROOTS = text("""
    SELECT v.task_id FROM task_version v
     WHERE v.version_id = :version_id AND v.disabled AND NOT EXISTS (
         SELECT FROM task_dependency d WHERE d.version_id = v.version_id AND d.child_id = v.task_id
     )
     ORDER BY v.position
""")


def create_tasks(tx: Connection, key: BatchKey, version_id: int) -> list[int]:
    """Write every task row of a batch that this transaction has created; returns the tasks that are NEW at once."""
    created = tx.execute(_CREATE_TASKS, {**key.columns, "version_id": version_id}).one()
    analyze_if_outgrown(tx, ["batch_task"], created.tasks)
    return list(created.released)


def disabled_roots(tx: Connection, version_id: int) -> list[int]:
    """The disabled tasks without parents: nothing that finishes would ever judge them."""
    return list(tx.execute(_DISABLED_ROOTS, {"version_id": version_id}).scalars())


_TODAY = text("SELECT CAST(clock_timestamp() AT TIME ZONE 'UTC' AS date)")

_START_NUMBERS = text("""
    INSERT INTO batch_number (workflow_id, stem, last) VALUES (:workflow_id, :stem, 0) ON CONFLICT DO NOTHING
""")
_LOCK_NUMBER = text("SELECT last FROM batch_number WHERE workflow_id = :workflow_id AND stem = :stem FOR UPDATE")
_COUNT_UP = text("UPDATE batch_number SET last = last + 1 WHERE workflow_id = :workflow_id AND stem = :stem")
_FIND_BY_TRIGGER = text("""
    SELECT batch_id FROM task_batch WHERE workflow_id = :workflow_id AND trigger_key = :trigger_key
""")


def today(tx: Connection) -> date:
    """The UTC day of the database's clock."""
    day: date = tx.execute(_TODAY).scalar_one()
    return day


def next_number(tx: Connection, workflow_id: int, stem: str, trigger_key: str) -> int | str:
    """The next number of the batches that begin with `stem`, or the id of the batch that `trigger_key` has opened.

    The number's row stays locked until the end of the transaction, so that numbers have no gaps and one trigger
    that comes twice at once opens one batch.
    """
    tx.execute(_START_NUMBERS, {"workflow_id": workflow_id, "stem": stem})
    last: int = tx.execute(_LOCK_NUMBER, {"workflow_id": workflow_id, "stem": stem}).scalar_one()
    batch_id = find_batch_by_trigger(tx, workflow_id, trigger_key)
    if batch_id is not None:
        return batch_id
    tx.execute(_COUNT_UP, {"workflow_id": workflow_id, "stem": stem})
    return last + 1


def find_batch_by_trigger(tx: Connection, workflow_id: int, trigger_key: str) -> str | None:
    """The id of the batch that this trigger has opened."""
    given = {"workflow_id": workflow_id, "trigger_key": trigger_key}
    batch_id: str | None = tx.execute(_FIND_BY_TRIGGER, given).scalar_one_or_none()
    return batch_id


_OVERDUE_CHILDREN = Prepared(
    "overdue_children",
    f"""
    SELECT c.task_id
      FROM task_batch b
      JOIN task_dependency d ON d.version_id = b.version_id AND d.parent_id = :task_id
      JOIN batch_task c ON c.workflow_id = b.workflow_id AND c.batch_id = b.batch_id AND c.task_id = d.child_id
                       AND c.element = {WHOLE}
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id AND c.status = 'NEW' AND c.publishes = 0
       AND c.changed_at < clock_timestamp() - interval '5 seconds'
     ORDER BY c.position
""",
)


def overdue_children(tx: Connection, key: TaskKey) -> list[int]:
    """Children of this task that nobody has claimed for some seconds: their message may never have been sent."""
    return [row.task_id for row in _OVERDUE_CHILDREN.execute(tx, key.columns)]


@dataclass(frozen=True)
class TaskState:
    """Where a batch task stands, for the answer to a message that found nothing to do."""

    workflow: str
    task: str
    status: Status
    attempt: int
    #: None when the version of its batch no longer has the task.
    kind: str | None
    awaits_file: bool
    awaits_elements: bool
    open_parents: tuple[str, ...]


_TASK_STATE = Prepared(
    "task_state",
    f"""
    SELECT w.name AS workflow, own.name AS task, bt.status, bt.attempt, tv.kind, bt.awaits_file, bt.awaits_elements,
           ARRAY(SELECT t.name FROM task_dependency d
                   JOIN task t ON t.task_id = d.parent_id
                   JOIN batch_task p ON p.workflow_id = b.workflow_id AND p.batch_id = b.batch_id
                                    AND p.task_id = d.parent_id AND p.element = {WHOLE}
                  WHERE d.version_id = b.version_id AND d.child_id = bt.task_id
                    AND p.status IN ('WAITING', 'NEW', 'PROCESSING')
                  ORDER BY p.position) AS open_parents
      FROM batch_task bt
      JOIN workflow w ON w.workflow_id = bt.workflow_id
      JOIN task own ON own.task_id = bt.task_id
      JOIN task_batch b ON b.workflow_id = bt.workflow_id AND b.batch_id = bt.batch_id
      LEFT JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = bt.task_id
     WHERE bt.workflow_id = :workflow_id AND bt.batch_id = :batch_id AND bt.task_id = :task_id
       AND bt.element = :element
""",
)


def task_state(tx: Connection, key: TaskKey) -> TaskState | None:
    """Where this task of this batch stands; None when there is no such batch task."""
    row = one_or_none(_TASK_STATE.execute(tx, key.columns))
    if row is None:
        return None
    return TaskState(
        workflow=row.workflow,
        task=row.task,
        status=Status(row.status),
        attempt=row.attempt,
        kind=row.kind,
        awaits_file=row.awaits_file,
        awaits_elements=row.awaits_elements,
        open_parents=tuple(row.open_parents),
    )
