"""How attempts end: their outcome is written by whoever holds them, or says so in time, and locks the task's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.keys import WHOLE, TaskKey
from database.prepared import Prepared, one_or_none
from database.statuses import FAIL, RESET_AFTER_ATTEMPT, RETRY, SKIP_ITSELF, SUCCEED, SkipCause, Status, any_of

_OWN = "workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element"


@dataclass(frozen=True)
class Ended:
    """How an attempt has ended, as its rows keep it."""

    status: Status
    error: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    #: In how many seconds another attempt is due; None when there is to be none.
    retry_after: float | None = None
    #: Whether the next attempt must wait until this one's outside work is confirmed to have ended.
    ending: bool = False
    #: Why the task is SKIPPED, if it is.
    skip_cause: SkipCause | None = None
    #: What it has returned, as JSON text, or the object that holds it; neither where the details are the result.
    result: str | None = None
    result_place: Mapping[str, Any] | None = None


def _finish(whose: str, before: str = "") -> str:
    return f"""
    WITH {before} own AS (
        UPDATE batch_task
           SET status = CASE WHEN reset THEN '{RESET_AFTER_ATTEMPT.target}'
                             WHEN CAST(:retry_after AS float8) IS NOT NULL THEN '{RETRY.target}'
                             ELSE :status END,
               due_at = CASE WHEN NOT reset
                             THEN clock_timestamp() + CAST(:retry_after AS float8) * interval '1 second' END,
               retried = CASE WHEN reset THEN 0 WHEN CAST(:retry_after AS float8) IS NULL THEN retried
                              ELSE retried + 1 END,
               skip_cause = CASE WHEN NOT reset THEN CAST(:skip_cause AS text) END,
               reset = false, token = NULL, lease_until = NULL, handle = CASE WHEN :ending THEN handle END,
               awaits_completion = false, awaits_elements = false, waits_on = NULL,
               elements = CASE WHEN NOT reset THEN elements END,
               ending = ending OR :ending, changed_at = clock_timestamp()
         WHERE {_OWN} AND status IN {any_of(SUCCEED.sources)} AND status IN {any_of(FAIL.sources)}
           AND status IN {any_of(SKIP_ITSELF.sources)} AND {whose}
        RETURNING workflow_id, batch_id, task_id, element, attempt, status
    ), closed AS (
        UPDATE task_log l
           SET status = :status, ended_at = clock_timestamp(), error = :error, details = :details,
               result = CAST(:result AS jsonb), result_place = CAST(:result_place AS jsonb)
          FROM own
         WHERE l.workflow_id = own.workflow_id AND l.batch_id = own.batch_id AND l.task_id = own.task_id
           AND l.element = own.element AND l.attempt = own.attempt AND l.status = 'PROCESSING'
    )
    SELECT status FROM own
    """


_HELD = "token = CAST(:token AS uuid)"
_FINISH = Prepared("finish", _finish(_HELD))
_FINISH_AWAITING = text(_finish("awaits_completion AND attempt = :attempt")).bindparams(
    bindparam("details", type_=JSONB), bindparam("result_place", type_=JSONB(none_as_null=True))
)
_FINISH_MAPPED = text(_finish("awaits_elements AND attempt = :attempt")).bindparams(
    bindparam("details", type_=JSONB), bindparam("result_place", type_=JSONB(none_as_null=True))
)


# Of a row that it locks, a single statement gets what the lock has waited for, as it would of no other row. Shared
# locks would do, but those that come later pass whoever waits for an exclusive one: docs/decisions has the figures.
def _finish_unwatched(mine: str, watchers: str) -> str:
    return _finish(
        f"{_HELD} AND EXISTS (SELECT FROM unwatched)",
        f"""
        mine AS ({mine}), watchers AS ({watchers}),
        unwatched AS (SELECT FROM watchers HAVING bool_and(waits_for_another)),
        """,
    )


_FINISH_UNWATCHED_ELEMENT = Prepared(
    "finish_unwatched_element",
    _finish_unwatched(
        f"SELECT FROM batch_task WHERE {_OWN} AND {_HELD} AND NOT reset FOR NO KEY UPDATE",
        f"""
        SELECT t.waits_on <> :element AS waits_for_another
          FROM mine, batch_task t
         WHERE t.workflow_id = :workflow_id AND t.batch_id = :batch_id AND t.task_id = :task_id AND t.element = {WHOLE}
           FOR NO KEY UPDATE OF t
        """,
    ),
)

# A row that was waited for while its batch moved to another version has other children than this statement sees. Each
# child is looked up by its whole key, in the order of locks, also by a plan that was made when the tables were small.
_FINISH_UNWATCHED = Prepared(
    "finish_unwatched",
    _finish_unwatched(
        f"""
        SELECT b.version_id
          FROM task_batch b
          JOIN batch_task t ON t.workflow_id = b.workflow_id AND t.batch_id = b.batch_id
         WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id AND t.task_id = :task_id
           AND t.element = :element AND t.{_HELD} AND NOT t.reset
           AND (t.version_id IS NULL OR t.version_id = b.version_id)
           FOR NO KEY UPDATE OF t
        """,
        f"""
        SELECT child.waits_for_another
          FROM (
              SELECT d.child_id FROM mine
                JOIN task_dependency d ON d.version_id = mine.version_id AND d.parent_id = :task_id
               ORDER BY d.child_position
          ) below
         CROSS JOIN LATERAL (
              SELECT (c.status = '{Status.WAITING}' AND c.waits_on <> :task_id) IS TRUE AS waits_for_another
                FROM batch_task c
               WHERE c.workflow_id = :workflow_id AND c.batch_id = :batch_id AND c.task_id = below.child_id
                 AND c.element = {WHOLE}
                 FOR NO KEY UPDATE
          ) child
        """,
    ),
)


def finish(tx: Connection, key: TaskKey, token: str, ended: Ended) -> Status | None:
    """Write the outcome of the attempt that `token` owns, and lock its row.

    Returns the task's status from now on: WAITING when it is to have another attempt. None, and nothing has changed,
    when the attempt is not this token's any more.
    """
    return _status(one_or_none(_FINISH.execute(tx, {**key.columns, **vars(ended), "token": token})))


def finish_unwatched(tx: Connection, key: TaskKey, token: str, ended: Ended) -> bool:
    """Write the outcome of an attempt while all that could follow from it wait for somebody else.

    Those are the children of a task whose success decides nothing then, and the mapped task of an element. False, and
    nothing has changed, when one of them waits for this one, or when the attempt is not this token's any more.
    """
    statement = _FINISH_UNWATCHED_ELEMENT if key.is_element else _FINISH_UNWATCHED
    return bool(statement.execute(tx, {**key.columns, **vars(ended), "token": token}))


def finish_awaiting(tx: Connection, key: TaskKey, attempt: int, ended: Ended) -> Status | None:
    """The same for an attempt that awaits its completion message; None when this attempt does not."""
    return _status(tx.execute(_FINISH_AWAITING, {**key.columns, **vars(ended), "attempt": attempt}).one_or_none())


def finish_mapped(tx: Connection, key: TaskKey, attempt: int, ended: Ended) -> Status | None:
    """The same for a mapped task that awaits its elements; None when this attempt of it does not."""
    return _status(tx.execute(_FINISH_MAPPED, {**key.columns, **vars(ended), "attempt": attempt}).one_or_none())


def _status(row: Any) -> Status | None:
    return None if row is None else Status(row.status)
