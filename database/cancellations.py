"""Attempts that were taken away or have timed out, until it is confirmed that nothing of them runs outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.attempts import CLAIMED_NAMES, VERSION_COLUMNS, Claimed, claimed_of
from database.keys import TaskKey
from database.statuses import RELEASE, RESET

#: The first pause between two tries to end something outside, in seconds; doubled each time up to the longest.
FIRST_PAUSE_SECONDS = 5
LONGEST_PAUSE_SECONDS = 600

_REQUEST = text("""
    INSERT INTO cancellation (workflow_id, batch_id, task_id, element, attempt, version_id, item, handle, due_at)
    SELECT workflow_id, batch_id, task_id, element, :attempt, :version_id, item, COALESCE(:handle, handle),
           clock_timestamp()
      FROM batch_task
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element
        ON CONFLICT DO NOTHING
""").bindparams(bindparam("handle", type_=JSONB(none_as_null=True)))


def request_cancellation(
    tx: Connection, key: TaskKey, attempt: int, version_id: int, handle: Mapping[str, Any] | None
) -> None:
    """Have the sweep end what this attempt has begun outside, by its handle or else the one that its row keeps."""
    given = {"attempt": attempt, "version_id": version_id, "handle": None if handle is None else dict(handle)}
    tx.execute(_REQUEST, {**key.columns, **given})


_TAKE = text(f"""
    WITH due AS (
        SELECT workflow_id, batch_id, task_id, element, attempt FROM cancellation
         WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element
           AND attempt = :attempt AND due_at <= clock_timestamp()
           FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE cancellation c
           SET tries = c.tries + 1, due_at = clock_timestamp() + interval '1 second'
                   * LEAST({LONGEST_PAUSE_SECONDS}, {FIRST_PAUSE_SECONDS} * power(2, LEAST(c.tries, 20)))
          FROM due
         WHERE c.workflow_id = due.workflow_id AND c.batch_id = due.batch_id AND c.task_id = due.task_id
           AND c.element = due.element AND c.attempt = due.attempt
        RETURNING c.workflow_id, c.batch_id, c.task_id, c.element, c.item, c.attempt, c.handle, c.version_id, c.tries
    ), claimed AS (
        SELECT taken.workflow_id, taken.batch_id, taken.task_id, taken.element, taken.item, taken.attempt,
               0 AS takeovers, 0 AS retried, taken.handle, taken.tries AS polls, {VERSION_COLUMNS}, false AS timed_out
          FROM taken
          JOIN task_batch tb ON tb.workflow_id = taken.workflow_id AND tb.batch_id = taken.batch_id
         CROSS JOIN LATERAL (SELECT taken.version_id, tb.uid, tb.params) b
          JOIN task_version tv
            ON tv.version_id = b.version_id AND tv.task_id = taken.task_id AND tv.kind = ANY(:kinds)
    )
    {CLAIMED_NAMES}
""")


def take_cancellation(tx: Connection, key: TaskKey, attempt: int, kinds: Sequence[str]) -> Claimed | None:
    """The attempt whose outside work is to be ended now, without a token; the next try is due later than this one.

    Its `polls` say which try this is. None when it is not due any more, or its kind is none of `kinds`.
    """
    given = {**key.columns, "attempt": attempt, "kinds": list(kinds)}
    row = tx.execute(_TAKE, given).one_or_none()
    return None if row is None else claimed_of(row, key, token="")


_NOTE = text("""
    UPDATE cancellation SET problem = :problem
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element
       AND attempt = :attempt
""")


def note_problem(tx: Connection, key: TaskKey, attempt: int, problem: str) -> None:
    """Keep what the other side said instead of confirming the end."""
    tx.execute(_NOTE, {**key.columns, "attempt": attempt, "problem": problem})


_IS_CANCELLED = """
    EXISTS (
        SELECT FROM task_log l
         WHERE l.workflow_id = :workflow_id AND l.batch_id = :batch_id AND l.task_id = :task_id
           AND l.element = :element AND l.attempt = :attempt AND l.status = 'CANCELLED'
    )
"""

_HURRY = text("""
    UPDATE cancellation SET due_at = LEAST(due_at, clock_timestamp())
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element
       AND attempt = :attempt
""")

# The task first, as everywhere. What is about to start waits until the work that is known to run has ended.
_WAIT_FOR_LOST = text(f"""
    UPDATE batch_task
       SET ending = true, status = CASE WHEN status = '{RELEASE.target}' THEN '{RESET.target}' ELSE status END,
           publish_after = NULL, publishes = 0, changed_at = clock_timestamp()
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element
       AND attempt = :attempt AND status <> 'PROCESSING' AND {_IS_CANCELLED}
""")

_TELL_LOST = text(f"""
    INSERT INTO cancellation (workflow_id, batch_id, task_id, element, attempt, version_id, item, handle, due_at)
    SELECT workflow_id, batch_id, task_id, element, :attempt, :version_id, item, :handle, clock_timestamp()
      FROM batch_task
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element
       AND {_IS_CANCELLED}
        ON CONFLICT (workflow_id, batch_id, task_id, element, attempt) DO UPDATE
       SET handle = excluded.handle, version_id = excluded.version_id, tries = 0,
           due_at = LEAST(cancellation.due_at, excluded.due_at)
""").bindparams(bindparam("handle", type_=JSONB(none_as_null=True)))


def return_lost(tx: Connection, key: TaskKey, attempt: int, version_id: int, handle: Mapping[str, Any] | None) -> None:
    """The worker of an attempt that was taken away has come back: what it has begun outside is to be ended now.

    Nothing happens when the attempt is another worker's, who goes on with the same outside work.
    """
    given = {**key.columns, "attempt": attempt}
    if handle is None:
        tx.execute(_HURRY, given)
        return
    tx.execute(_WAIT_FOR_LOST, given)
    tx.execute(_TELL_LOST, {**given, "version_id": version_id, "handle": dict(handle)})


_POSTPONE = text("""
    UPDATE cancellation SET due_at = clock_timestamp() + :lease_seconds * interval '1 second'
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element
       AND attempt = :attempt AND tries = 0
""")


def postpone_cancellation(tx: Connection, key: TaskKey, attempt: int, lease_seconds: int) -> bool:
    """Whether this attempt was taken away from a worker that still works; it is ended after another lease at most."""
    given = {**key.columns, "attempt": attempt, "lease_seconds": lease_seconds}
    return bool(tx.execute(_POSTPONE, given).rowcount)


_CONFIRM = text("""
    DELETE FROM cancellation
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element
       AND attempt = :attempt AND tries = :tries
""")

# An attempt that was the last one leaves its handle for nobody; the next one's would be of work that goes on.
_NO_LONGER_ENDING = text("""
    UPDATE batch_task t
       SET ending = false, handle = CASE WHEN t.status = 'PROCESSING' THEN t.handle END, changed_at = clock_timestamp()
     WHERE t.workflow_id = :workflow_id AND t.batch_id = :batch_id AND t.task_id = :task_id
       AND t.element = :element AND t.ending
       AND NOT EXISTS (
           SELECT FROM cancellation c
            WHERE c.workflow_id = t.workflow_id AND c.batch_id = t.batch_id AND c.task_id = t.task_id
              AND c.element = t.element
       )
""")


def confirm_ended(tx: Connection, key: TaskKey, attempt: int, tries: int) -> None:
    """Nothing of this attempt ran any more at this try; the caller has locked the task and checks it next.

    What its worker has told since then is still to be ended.
    """
    tx.execute(_CONFIRM, {**key.columns, "attempt": attempt, "tries": tries})
    tx.execute(_NO_LONGER_ENDING, key.columns)
