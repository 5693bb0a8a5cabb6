"""What the sweep looks for: messages that may have been lost, and workers that may have died."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from database.keys import BatchKey
from database.transitions import FIRST_REPUBLISH_SECONDS

#: The longest time between two publications of the same message, in seconds.
LONGEST_REPUBLISH_SECONDS = 1800
#: A backlog is published in portions, so that it does not feed itself.
MOST_AT_ONCE = 1000


@dataclass(frozen=True)
class ToPublish:
    """A task message that shall be published again."""

    batch: BatchKey
    task_id: int


_DUE = text(f"""
    WITH due AS (
        SELECT workflow_id, batch_id, task_id FROM batch_task
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
       AND t.status = 'NEW'
    RETURNING t.workflow_id, t.batch_id, t.task_id
""")

_NOT_PUBLISHED = text(f"""
    WITH unpublished AS (
        SELECT t.workflow_id, t.batch_id, t.task_id
          FROM unnest(CAST(:workflow_ids AS bigint[]), CAST(:batch_ids AS text[]), CAST(:task_ids AS bigint[]))
               AS v (workflow_id, batch_id, task_id)
          JOIN batch_task t
            ON t.workflow_id = v.workflow_id AND t.batch_id = v.batch_id AND t.task_id = v.task_id AND t.status = 'NEW'
           FOR NO KEY UPDATE OF t SKIP LOCKED
    )
    UPDATE batch_task t
       SET publishes = GREATEST(t.publishes - 1, 0),
           publish_after = clock_timestamp() + {FIRST_REPUBLISH_SECONDS} * interval '1 second'
      FROM unpublished u
     WHERE t.workflow_id = u.workflow_id AND t.batch_id = u.batch_id AND t.task_id = u.task_id AND t.status = 'NEW'
""")

_DEAD = text(f"""
    SELECT bt.workflow_id, bt.batch_id, bt.task_id
      FROM batch_task bt
      JOIN task_batch b ON b.workflow_id = bt.workflow_id AND b.batch_id = bt.batch_id
      JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = bt.task_id AND tv.kind = ANY(:kinds)
     WHERE bt.status = 'PROCESSING' AND bt.lease_until < clock_timestamp()
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
    }
    tx.execute(_NOT_PUBLISHED, given)


def dead_attempts(tx: Connection, kinds: Sequence[str]) -> list[ToPublish]:
    """Attempts of these kinds whose lease has run out; the worker that gets the message takes them over."""
    return _to_publish(tx.execute(_DEAD, {"kinds": list(kinds)}))


def _to_publish(rows: Iterable[Row[Any]]) -> list[ToPublish]:
    return [ToPublish(BatchKey(row.workflow_id, row.batch_id), row.task_id) for row in rows]
