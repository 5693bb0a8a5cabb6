"""What the sweep looks for: messages that may have been lost, and workers that may have died."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from database.transitions import FIRST_REPUBLISH_SECONDS

#: The longest time between two publications of the same message, in seconds.
LONGEST_REPUBLISH_SECONDS = 1800
#: A backlog is published in portions, so that it does not feed itself.
MOST_AT_ONCE = 1000


@dataclass(frozen=True)
class ToPublish:
    """A task message that shall be published again."""

    task_id: int
    batch_id: str


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
    RETURNING t.task_id, t.batch_id
""")

_DEAD = text(f"""
    SELECT task_id, batch_id FROM batch_task
     WHERE status = 'PROCESSING' AND lease_until < clock_timestamp()
     ORDER BY lease_until LIMIT {MOST_AT_ONCE}
""")


def due_messages(tx: Connection) -> list[ToPublish]:
    """NEW tasks whose message is overdue, oldest first; each waits twice as long before it is due again."""
    return [ToPublish(row.task_id, row.batch_id) for row in tx.execute(_DUE)]


def dead_attempts(tx: Connection) -> list[ToPublish]:
    """Attempts whose lease has run out; the worker that gets the message takes them over."""
    return [ToPublish(row.task_id, row.batch_id) for row in tx.execute(_DEAD)]
