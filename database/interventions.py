"""What people do to tasks, and what becomes of the attempts that they take away. The caller has locked the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, TextClause, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.keys import THE_TASK, WHOLE, BatchKey, Span, TaskKey
from database.statuses import CANCEL, MARKS, RERUN, Move, SkipCause, Status, any_of

_TAKE_AWAY = text(f"""
    WITH open AS (
        SELECT t.workflow_id, t.batch_id, t.task_id, t.element, t.attempt, t.item, t.handle, t.lease_until,
               b.version_id, tv.map IS NOT NULL AND t.element = {WHOLE} AS works_by_elements
          FROM batch_task t
          JOIN task_batch b ON b.workflow_id = t.workflow_id AND b.batch_id = t.batch_id
          LEFT JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = t.task_id
         WHERE t.workflow_id = :workflow_id AND t.batch_id = :batch_id AND t.task_id = ANY(:task_ids)
           AND t.element BETWEEN :first AND :last AND t.status = 'PROCESSING'
    ), closed AS (
        UPDATE task_log l
           SET status = 'CANCELLED', ended_at = clock_timestamp(), details = :details
          FROM open
         WHERE l.workflow_id = open.workflow_id AND l.batch_id = open.batch_id AND l.task_id = open.task_id
           AND l.element = open.element AND l.attempt = open.attempt AND l.status = 'PROCESSING'
    )
    INSERT INTO cancellation (workflow_id, batch_id, task_id, element, attempt, version_id, item, handle, due_at)
    SELECT workflow_id, batch_id, task_id, element, attempt, version_id, item, handle,
           COALESCE(lease_until, clock_timestamp())
      FROM open WHERE NOT works_by_elements
""").bindparams(bindparam("details", type_=JSONB))


def take_attempts_away(
    tx: Connection, batch: BatchKey, task_ids: Sequence[int], details: Mapping[str, Any], span: Span = THE_TASK
) -> None:
    """Close the open attempts of these tasks as CANCELLED, and have the sweep make sure that their work ends outside.

    An attempt in somebody's hands is left until its lease would have run out; a worker that is alive puts that off
    with each renewal, until it comes back.
    """
    given = {"task_ids": list(task_ids), "details": dict(details), **span._asdict()}
    tx.execute(_TAKE_AWAY, {**batch.columns, **given})


# A mapped task has nothing outside itself, its elements have. Run again as a whole, it reads its list anew; and one
# that was to do so anyway has no elements that anybody could go on with.
def _statement(move: Move) -> TextClause:
    keeps_elements = "false" if move.target is Status.WAITING else "NOT reset"
    return text(f"""
        UPDATE batch_task t
           SET status = '{move.target}', skip_cause = :skip_cause, skipped_because_of = NULL,
               ending = ending OR (status = 'PROCESSING' AND EXISTS (
                   SELECT FROM cancellation c
                    WHERE c.workflow_id = t.workflow_id AND c.batch_id = t.batch_id AND c.task_id = t.task_id
                      AND c.element = t.element AND c.attempt = t.attempt
               )),
               token = NULL, lease_until = NULL, due_at = NULL, handle = NULL, awaits_completion = false,
               awaits_elements = false, elements = CASE WHEN {keeps_elements} THEN elements END,
               reset = false, retried = 0, waits_on = NULL, publish_after = NULL, publishes = 0,
               changed_at = clock_timestamp()
         WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = ANY(:task_ids)
           AND element BETWEEN :first AND :last AND status IN {any_of(move.sources)}
    """)


_MOVES = {move.name: _statement(move) for move in (RERUN, CANCEL, *MARKS.values())}


def move_tasks(
    tx: Connection,
    batch: BatchKey,
    task_ids: Sequence[int],
    move: Move,
    skip_cause: SkipCause | None = None,
    span: Span = THE_TASK,
) -> None:
    """Make a person's move with these tasks, or elements of them; their open attempts must have been taken away."""
    given = {"task_ids": list(task_ids), "skip_cause": skip_cause, **span._asdict()}
    tx.execute(_MOVES[move.name], {**batch.columns, **given})


_RETRY_NOW = text("""
    UPDATE batch_task SET due_at = NULL, changed_at = clock_timestamp()
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element
       AND status = 'WAITING'
""")


def retry_now(tx: Connection, key: TaskKey) -> None:
    """Let a task that waits for its retry wait no longer."""
    tx.execute(_RETRY_NOW, key.columns)
