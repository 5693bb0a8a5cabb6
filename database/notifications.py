"""What people are told: written with the outcome, in its transaction, and sent later, each by a claim of its own.

Nothing here costs a workflow anything that notifies nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.keys import WHOLE, BatchKey, TaskKey
from database.statuses import (
    FAILURES,
    GIVE_UP,
    PUT_OFF,
    SEND,
    SEND_AGAIN,
    NotificationEvent,
    SkipCause,
    Status,
    any_of,
)

#: How long one try may take, in seconds: whoever has not said by then how it went is dead.
TRY_SECONDS = 300
#: The first and the longest pause after a try that has failed, in seconds; doubled each time.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 60, 1800
#: As many tasks as one message names.
MOST_TASKS = 1000

_FAILED = f"t.status IN {any_of(FAILURES)}"
_SKIPPED = f"t.skip_cause = '{SkipCause.UPSTREAM_FAILED}'"
_OF_FAILURE = f"({_FAILED} OR {_SKIPPED})"
_OF_TASK = f"(t.task_id = own.task_id OR (own.status = '{Status.ERROR}' AND {_SKIPPED}))"


def _facts(status: str, which: str) -> str:
    """How the tasks of the batch `b` stand that a message is about, those that have failed first."""
    return f"""
        SELECT jsonb_build_object(
                   'status', {status},
                   'tasks', COALESCE(jsonb_agg(
                       jsonb_build_object('task_id', t.task_id, 'status', t.status, 'attempt', t.attempt)
                       ORDER BY t.has_failed DESC, t.position
                   ) FILTER (WHERE t.nth <= {MOST_TASKS}), '[]'),
                   'count', count(*)
               ) AS facts
          FROM (
            SELECT t.*, {_FAILED} AS has_failed, row_number() OVER (ORDER BY ({_FAILED}) DESC, t.position) AS nth
              FROM batch_task t
              JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = t.task_id
             WHERE t.workflow_id = b.workflow_id AND t.batch_id = b.batch_id AND t.element = {WHOLE} AND {which}
          ) t
    """


_NEW = """
    INSERT INTO notification
        (workflow_id, batch_id, task_id, event, outcome, channel, version_id, facts, happened_at, due_at)
"""

_BATCH_OUTCOME = text(f"""
    {_NEW}
    SELECT b.workflow_id, b.batch_id, NULL, e.event, b.outcomes, c.place - 1, b.version_id, f.facts, b.ended_at,
           clock_timestamp()
      FROM task_batch b
      JOIN workflow_version v ON v.version_id = b.version_id
     CROSS JOIN LATERAL (
         SELECT CASE WHEN b.status = 'SUCCESS' THEN '{NotificationEvent.SUCCESS}'
                     ELSE '{NotificationEvent.FAILURE}' END AS event
     ) e
      JOIN jsonb_array_elements(v.notify) WITH ORDINALITY AS c (channel, place) ON c.channel -> 'on' ? e.event
     CROSS JOIN LATERAL ({_facts("b.status", f"(e.event = '{NotificationEvent.SUCCESS}' OR {_OF_FAILURE})")}) f
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id
    ON CONFLICT DO NOTHING
""")


def note_batch_outcome(tx: Connection, batch: BatchKey) -> None:
    """Have people told how the batch has ended, which this transaction has written."""
    tx.execute(_BATCH_OUTCOME, batch.columns)


_TASK_OUTCOME = text(f"""
    {_NEW}
    SELECT own.workflow_id, own.batch_id, own.task_id, e.event, own.attempt, c.place - 1, b.version_id, f.facts,
           own.changed_at, clock_timestamp()
      FROM batch_task own
      JOIN task_batch b ON b.workflow_id = own.workflow_id AND b.batch_id = own.batch_id
      JOIN task_version ov ON ov.version_id = b.version_id AND ov.task_id = own.task_id
     CROSS JOIN LATERAL (
         SELECT CASE own.status WHEN '{Status.SUCCESS}' THEN '{NotificationEvent.SUCCESS}'
                                WHEN '{Status.ERROR}' THEN '{NotificationEvent.FAILURE}' END AS event
     ) e
      JOIN jsonb_array_elements(ov.notify) WITH ORDINALITY AS c (channel, place) ON c.channel -> 'on' ? e.event
     CROSS JOIN LATERAL ({_facts("own.status", _OF_TASK)}) f
     WHERE own.workflow_id = :workflow_id AND own.batch_id = :batch_id AND own.task_id = :task_id
       AND own.element = {WHOLE}
    ON CONFLICT DO NOTHING
""")


def note_task_outcome(tx: Connection, key: TaskKey) -> None:
    """Have people told how the task has ended, if it has; what is skipped because of it must be so already."""
    tx.execute(_TASK_OUTCOME, key.columns)


_MISSED_DEADLINE = text(f"""
    {_NEW}
    SELECT b.workflow_id, b.batch_id, NULL, '{NotificationEvent.MISSED_DEADLINE}', b.outcomes, c.place - 1,
           b.version_id, :facts, b.deadline_missed_at, clock_timestamp()
      FROM task_batch b
      JOIN workflow_version v ON v.version_id = b.version_id
      JOIN jsonb_array_elements(v.notify) WITH ORDINALITY AS c (channel, place)
        ON c.channel -> 'on' ? '{NotificationEvent.MISSED_DEADLINE}'
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id
    ON CONFLICT DO NOTHING
""").bindparams(bindparam("facts", type_=JSONB))


def note_missed_deadline(tx: Connection, batch: BatchKey, facts: Mapping[str, Any]) -> None:
    """Have people told that the batch has not ended in time, which this transaction has written, and these facts."""
    tx.execute(_MISSED_DEADLINE, {**batch.columns, "facts": dict(facts)})


@dataclass(frozen=True)
class ClaimedNotification:
    """A notification that is ours to send, for TRY_SECONDS."""

    notification_id: int
    batch: BatchKey
    batch_uid: str
    workflow: str
    #: The task whose own outcome it tells; None when it is the batch's.
    task_id: int | None
    task: str | None
    event: NotificationEvent
    outcome: int
    #: The channel's place, and what the workflow says of it.
    place: int
    channel: Mapping[str, Any]
    version_id: int
    facts: Mapping[str, Any]
    happened_at: datetime
    #: Which try this is, from 1.
    tries: int


_CLAIM = text(f"""
    WITH claimed AS (
        UPDATE notification n
           SET tries = n.tries + 1, due_at = clock_timestamp() + {TRY_SECONDS} * interval '1 second'
         WHERE n.notification_id = :notification_id AND n.status IN {any_of(SEND.sources)}
           AND n.due_at <= clock_timestamp()
        RETURNING n.*
    )
    SELECT n.notification_id, n.workflow_id, n.batch_id, b.uid AS batch_uid, w.name AS workflow, n.task_id,
           t.name AS task, n.event, n.outcome, n.channel AS place,
           CASE WHEN n.task_id IS NULL THEN v.notify ELSE tv.notify END -> CAST(n.channel AS int) AS channel,
           n.version_id, n.facts, n.happened_at, n.tries
      FROM claimed n
      JOIN task_batch b ON b.workflow_id = n.workflow_id AND b.batch_id = n.batch_id
      JOIN workflow w ON w.workflow_id = n.workflow_id
      JOIN workflow_version v ON v.version_id = n.version_id
      LEFT JOIN task t ON t.task_id = n.task_id
      LEFT JOIN task_version tv ON tv.version_id = n.version_id AND tv.task_id = n.task_id
""")


def claim_notification(tx: Connection, notification_id: int) -> ClaimedNotification | None:
    """Take one to send it; None when it is not due any more. Who dies of it leaves it to the sweep, later."""
    row = tx.execute(_CLAIM, {"notification_id": notification_id}).one_or_none()
    if row is None:
        return None
    columns = row._asdict()
    batch = BatchKey(columns.pop("workflow_id"), columns.pop("batch_id"))
    changed = {"batch_uid": str(row.batch_uid), "event": NotificationEvent(row.event)}
    return ClaimedNotification(**{**columns, **changed, "batch": batch})


# Whoever it was that sent it, it is sent.
_SENT = text(f"""
    UPDATE notification SET status = '{SEND.target}', due_at = NULL, sent_at = clock_timestamp(), problem = :problem
     WHERE notification_id = :notification_id AND status IN {any_of(SEND.sources)}
""")


def note_sent(tx: Connection, notification_id: int, problem: str | None) -> None:
    """The other side has accepted it; `problem` is what it said besides."""
    tx.execute(_SENT, {"notification_id": notification_id, "problem": problem})


_NOT_SENT = text(f"""
    UPDATE notification
       SET problem = :problem, due_at = clock_timestamp() + interval '1 second'
               * LEAST({LONGEST_PAUSE_SECONDS}, {FIRST_PAUSE_SECONDS} * power(2, LEAST(tries - 1, 20)))
     WHERE notification_id = :notification_id AND tries = :tries AND status IN {any_of(PUT_OFF.sources)}
""")


def note_not_sent(tx: Connection, notification_id: int, tries: int, problem: str) -> None:
    """This try has failed; the next one is due after a pause that doubles."""
    tx.execute(_NOT_SENT, {"notification_id": notification_id, "tries": tries, "problem": problem})


_GIVE_UP = text(f"""
    UPDATE notification SET status = '{GIVE_UP.target}', due_at = NULL, problem = COALESCE(:problem, problem)
     WHERE notification_id = :notification_id AND tries = :tries AND status IN {any_of(GIVE_UP.sources)}
""")


def give_up(tx: Connection, notification_id: int, tries: int, problem: str | None) -> None:
    """This try was the last; without a `problem` the one before it stays."""
    tx.execute(_GIVE_UP, {"notification_id": notification_id, "tries": tries, "problem": problem})


_SEND_AGAIN = text(f"""
    UPDATE notification n
       SET status = '{SEND_AGAIN.target}', due_at = clock_timestamp(), sent_at = NULL, tries = 0
     WHERE n.notification_id = :notification_id AND n.status IN {any_of(SEND_AGAIN.sources)}
    RETURNING n.batch_id, (SELECT w.name FROM workflow w WHERE w.workflow_id = n.workflow_id) AS workflow
""")


def send_again(tx: Connection, notification_id: int) -> tuple[str, str] | None:
    """Have it sent now, whatever has become of it; the workflow and the batch that it is about, None without one."""
    row = tx.execute(_SEND_AGAIN, {"notification_id": notification_id}).one_or_none()
    return None if row is None else (row.workflow, row.batch_id)
