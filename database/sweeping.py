"""What the sweep looks for: messages that may be lost, workers that may be dead, and everything that is due."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, text

from database.keys import WHOLE, BatchKey, TaskKey
from database.transitions import FIRST_REPUBLISH_SECONDS

#: The longest time between two publications of the same message, in seconds.
LONGEST_REPUBLISH_SECONDS = 1800
#: A backlog is published in portions, so that it does not feed itself.
MOST_AT_ONCE = 1000
#: A mail server that does not answer must not keep a sweep from everything else.
MOST_NOTIFICATIONS_AT_ONCE = 20


@dataclass(frozen=True)
class ToPublish:
    """A task message that shall be published again."""

    batch: BatchKey
    task_id: int
    element: int


_DUE = text(f"""
    WITH due AS (
        SELECT workflow_id, batch_id, task_id, element FROM batch_task
         WHERE status = 'NEW' AND publish_after <= clock_timestamp()
         ORDER BY publish_after LIMIT {MOST_AT_ONCE}
         FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE batch_task t
       SET publishes = t.publishes + 1,
           publish_after = clock_timestamp() + interval '1 second'
               * LEAST({LONGEST_REPUBLISH_SECONDS}, {FIRST_REPUBLISH_SECONDS} * power(2, LEAST(t.publishes + 1, 20)))
      FROM due
     WHERE t.workflow_id = due.workflow_id AND t.batch_id = due.batch_id AND t.task_id = due.task_id
       AND t.element = due.element AND t.status = 'NEW'
    RETURNING t.workflow_id, t.batch_id, t.task_id, t.element
""")

_NOT_PUBLISHED = text(f"""
    WITH unpublished AS (
        SELECT t.workflow_id, t.batch_id, t.task_id, t.element
          FROM unnest(CAST(:workflow_ids AS bigint[]), CAST(:batch_ids AS text[]), CAST(:task_ids AS bigint[]),
                      CAST(:elements AS bigint[])) AS v (workflow_id, batch_id, task_id, element)
          JOIN batch_task t
            ON t.workflow_id = v.workflow_id AND t.batch_id = v.batch_id AND t.task_id = v.task_id
           AND t.element = v.element AND t.status = 'NEW'
           FOR NO KEY UPDATE OF t SKIP LOCKED
    )
    UPDATE batch_task t
       SET publishes = GREATEST(t.publishes - 1, 0),
           publish_after = clock_timestamp() + {FIRST_REPUBLISH_SECONDS} * interval '1 second'
      FROM unpublished u
     WHERE t.workflow_id = u.workflow_id AND t.batch_id = u.batch_id AND t.task_id = u.task_id AND t.element = u.element
       AND t.status = 'NEW'
""")

_DEAD = text(f"""
    SELECT bt.workflow_id, bt.batch_id, bt.task_id, bt.element
      FROM batch_task bt
      JOIN task_batch b ON b.workflow_id = bt.workflow_id AND b.batch_id = bt.batch_id
      JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = bt.task_id AND tv.kind = ANY(:kinds)
     WHERE bt.lease_until < clock_timestamp()
     ORDER BY bt.lease_until LIMIT {MOST_AT_ONCE}
""")


def due_messages(tx: Connection) -> list[ToPublish]:
    """NEW tasks whose message is overdue, oldest first; each waits twice as long before it is due again."""
    return _to_publish(tx.execute(_DUE))


def not_published(tx: Connection, messages: Sequence[ToPublish]) -> None:
    """Put messages that could not be published back to the first wait; the outage was not their fault."""
    given = {
        "workflow_ids": [message.batch.workflow_id for message in messages],
        "batch_ids": [message.batch.batch_id for message in messages],
        "task_ids": [message.task_id for message in messages],
        "elements": [message.element for message in messages],
    }
    tx.execute(_NOT_PUBLISHED, given)


def dead_attempts(tx: Connection, kinds: Sequence[str]) -> list[ToPublish]:
    """Attempts of these kinds whose lease has run out; the worker that gets the message takes them over."""
    return _to_publish(tx.execute(_DEAD, {"kinds": list(kinds)}))


class DueKind(StrEnum):
    """What there is to do about something that is due."""

    #: A failed task is to have its next attempt.
    RETRY = "retry"
    #: Work that goes on outside is to be asked for.
    POLL = "poll"
    #: An attempt that its worker gave back is to go on.
    HANDED_BACK = "handed_back"
    #: A completion message has not come in time.
    COMPLETION = "completion"
    #: The outside work of an attempt that was taken away is to be ended.
    CANCELLATION = "cancellation"
    #: A batch has not ended in time.
    DEADLINE = "deadline"
    #: No more files have come for a task that takes many.
    QUIET = "quiet"
    #: People are to be told something.
    NOTIFICATION = "notification"


@dataclass(frozen=True)
class Due:
    """Something to do, now or soon; `task_id` and `attempt` are 0 for a batch and for a notification."""

    what: DueKind
    workflow_id: int
    batch_id: str
    task_id: int
    element: int
    attempt: int
    due_at: datetime
    #: In how many seconds; not above 0 when it is due now.
    seconds: float
    notification_id: int | None = None

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.workflow_id, self.batch_id, self.task_id, self.element)


_DUE_WORK = text(f"""
    SELECT what, workflow_id, batch_id, task_id, element, attempt, due_at,
           CAST(extract(epoch FROM due_at - clock_timestamp()) AS float8) AS seconds, notification_id
      FROM (
        (SELECT CASE WHEN status = 'WAITING' THEN '{DueKind.RETRY}'
                     WHEN awaits_completion THEN '{DueKind.COMPLETION}'
                     WHEN handle IS NULL THEN '{DueKind.HANDED_BACK}'
                     ELSE '{DueKind.POLL}' END AS what,
                workflow_id, batch_id, task_id, element, attempt, due_at, CAST(NULL AS bigint) AS notification_id
           FROM batch_task
          WHERE due_at <= clock_timestamp() + CAST(:soon AS float8) * interval '1 second'
            AND status IN ('WAITING', 'PROCESSING')
          ORDER BY due_at LIMIT {MOST_AT_ONCE})
        UNION ALL
        (SELECT '{DueKind.CANCELLATION}', workflow_id, batch_id, task_id, element, attempt, due_at, NULL
           FROM cancellation
          WHERE due_at <= clock_timestamp() + CAST(:soon AS float8) * interval '1 second'
          ORDER BY due_at LIMIT {MOST_AT_ONCE})
        UNION ALL
        (SELECT '{DueKind.DEADLINE}', workflow_id, batch_id, 0, {WHOLE}, 0, deadline_at, NULL
           FROM task_batch
          WHERE status = 'PROCESSING' AND deadline_missed_at IS NULL AND deadline_at IS NOT NULL
            AND deadline_at <= clock_timestamp() + CAST(:soon AS float8) * interval '1 second'
          ORDER BY deadline_at LIMIT {MOST_AT_ONCE})
        UNION ALL
        (SELECT '{DueKind.QUIET}', workflow_id, batch_id, task_id, element, attempt, quiet_at, NULL
           FROM batch_task
          WHERE quiet_at <= clock_timestamp() + CAST(:soon AS float8) * interval '1 second'
            AND status NOT IN ('SKIPPED', 'CANCELLED')
          ORDER BY quiet_at LIMIT {MOST_AT_ONCE})
        UNION ALL
        (SELECT '{DueKind.NOTIFICATION}', workflow_id, batch_id, 0, {WHOLE}, 0, due_at, notification_id
           FROM notification
          WHERE status = 'DUE' AND due_at <= clock_timestamp() + CAST(:soon AS float8) * interval '1 second'
          ORDER BY due_at LIMIT {MOST_NOTIFICATIONS_AT_ONCE})
      ) due
     ORDER BY due_at
""")

_PUT_OFF = text("""
    UPDATE batch_task SET due_at = clock_timestamp() + CAST(:seconds AS float8) * interval '1 second'
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element
       AND attempt = :attempt AND due_at <= clock_timestamp()
""")


def due_work(tx: Connection, soon: float) -> list[Due]:
    """What is due now, or will be within `soon` seconds, oldest first."""
    return [Due(**{**row._mapping, "what": DueKind(row.what)}) for row in tx.execute(_DUE_WORK, {"soon": soon})]  # noqa: SLF001


def put_off(tx: Connection, due: Due, seconds: float) -> bool:
    """Whether a due task of these was still due; it is due again later."""
    given = {**due.key.columns, "attempt": due.attempt, "seconds": seconds}
    return bool(tx.execute(_PUT_OFF, given).rowcount)


_MISS_DEADLINE = text("""
    UPDATE task_batch b SET deadline_missed_at = clock_timestamp()
      FROM workflow_version v
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id AND v.version_id = b.version_id
       AND b.status = 'PROCESSING' AND b.deadline_missed_at IS NULL AND b.deadline_at <= clock_timestamp()
    RETURNING v.on_missed_deadline, v.notify IS NOT NULL AS tells,
              (SELECT w.name FROM workflow w WHERE w.workflow_id = b.workflow_id) AS workflow
""")


@dataclass(frozen=True)
class MissedDeadline:
    """A batch of this workflow has not ended in time; it is to be cancelled then, or only to be spoken of."""

    workflow: str
    cancels: bool
    #: Whether people are told of its batches.
    tells: bool


def miss_deadline(tx: Connection, batch: BatchKey) -> MissedDeadline | None:
    """Write down that the batch has not ended in time; None when it has, or that is known. Locks the batch."""
    row = tx.execute(_MISS_DEADLINE, batch.columns).one_or_none()
    if row is None:
        return None
    return MissedDeadline(row.workflow, cancels=row.on_missed_deadline == "cancel", tells=row.tells)


_TAKE_CHORES = text("""
    WITH due AS (
        SELECT name FROM chore WHERE due_at <= clock_timestamp() FOR UPDATE SKIP LOCKED
    )
    UPDATE chore c SET due_at = clock_timestamp() + interval '2 minutes' FROM due WHERE c.name = due.name
    RETURNING c.name
""")

_FINISH_CHORE = text("""
    UPDATE chore SET due_at = clock_timestamp() + CAST(:seconds AS float8) * interval '1 second' WHERE name = :name
""")


def take_chores(tx: Connection) -> set[str]:
    """The chores that are due; somebody else gets them in two minutes, unless they are finished."""
    return set(tx.execute(_TAKE_CHORES).scalars())


def finish_chore(tx: Connection, name: str, seconds: float) -> None:
    """Let the chore be due again in so many seconds."""
    tx.execute(_FINISH_CHORE, {"name": name, "seconds": seconds})


def _to_publish(rows: Iterable[Row[Any]]) -> list[ToPublish]:
    return [ToPublish(BatchKey(row.workflow_id, row.batch_id), row.task_id, row.element) for row in rows]
