"""What people do to tasks, and what becomes of the attempts that they take away. The caller has locked the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, TextClause, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.keys import BatchKey, TaskKey
from database.statuses import CANCEL, MARKS, RERUN, Move, SkipCause, any_of

_TAKE_AWAY = text("""
    WITH open AS (
        SELECT t.workflow_id, t.batch_id, t.task_id, t.attempt, t.handle, t.lease_until, b.version_id
          FROM batch_task t JOIN task_batch b ON b.workflow_id = t.workflow_id AND b.batch_id = t.batch_id
         WHERE t.workflow_id = :workflow_id AND t.batch_id = :batch_id AND t.task_id = ANY(:task_ids)
           AND t.status = 'PROCESSING'
    ), closed AS (
        UPDATE task_log l
           SET status = 'CANCELLED', ended_at = clock_timestamp(), details = :details
          FROM open
         WHERE l.workflow_id = open.workflow_id AND l.batch_id = open.batch_id AND l.task_id = open.task_id
           AND l.attempt = open.attempt AND l.status = 'PROCESSING'
    )
    INSERT INTO cancellation (workflow_id, batch_id, task_id, attempt, version_id, handle, due_at)
    SELECT workflow_id, batch_id, task_id, attempt, version_id, handle, COALESCE(lease_until, clock_timestamp())
      FROM open
""").bindparams(bindparam("details", type_=JSONB))


def take_attempts_away(tx: Connection, batch: BatchKey, task_ids: Sequence[int], details: Mapping[str, Any]) -> None:
    """Close the open attempts of these tasks as CANCELLED, and have the sweep make sure that their work ends outside.

    An attempt in somebody's hands is left until its lease would have run out; a worker that is alive puts that off
    with each renewal, until it comes back.
    """
    tx.execute(_TAKE_AWAY, {**batch.columns, "task_ids": list(task_ids), "details": dict(details)})


def _statement(move: Move) -> TextClause:
    return text(f"""
        UPDATE batch_task
           SET status = '{move.target}', skip_cause = :skip_cause, skipped_because_of = NULL,
               ending = ending OR status = 'PROCESSING',
               token = NULL, lease_until = NULL, due_at = NULL, handle = NULL, awaits_completion = false,
               reset = false, retried = 0, waits_on = NULL, publish_after = NULL, publishes = 0,
               changed_at = clock_timestamp()
         WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = ANY(:task_ids)
           AND status IN {any_of(move.sources)}
    """)


_MOVES = {move.name: _statement(move) for move in (RERUN, CANCEL, *MARKS.values())}


def move_tasks(
    tx: Connection, batch: BatchKey, task_ids: Sequence[int], move: Move, skip_cause: SkipCause | None = None
) -> None:
    """Make a person's move with these tasks; their open attempts must have been taken away."""
    given = {"task_ids": list(task_ids), "skip_cause": skip_cause}
    tx.execute(_MOVES[move.name], {**batch.columns, **given})


_RETRY_NOW = text("""
    UPDATE batch_task SET due_at = NULL, changed_at = clock_timestamp()
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND status = 'WAITING'
""")


def retry_now(tx: Connection, key: TaskKey) -> None:
    """Let a task that waits for its retry wait no longer."""
    tx.execute(_RETRY_NOW, key.columns)
