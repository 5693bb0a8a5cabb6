"""What people were told, or are yet to be told, to look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from database.listings.batches import MOST_OF_A_BATCH


@dataclass(frozen=True)
class ListedNotification:
    """One outcome told by one channel; `by` says which sort of channel that is, and for mail to whom."""

    notification_id: int
    workflow: str
    batch: str
    #: The task whose own channel it is; None when it is the batch's.
    task: str | None
    event: str
    outcome: int
    by: str
    status: str
    happened_at: datetime
    tries: int
    #: When it is tried next; when it was accepted.
    due_at: datetime | None
    sent_at: datetime | None
    #: What was last said instead of accepting it, or besides.
    problem: str | None


_SELECT = """
    SELECT n.notification_id, w.name AS workflow, n.batch_id AS batch, t.name AS task, n.event, n.outcome,
           CASE WHEN c.channel -> 'webhook' <> 'null' THEN 'webhook' WHEN c.channel -> 'slack' <> 'null' THEN 'slack'
                ELSE 'email ' || (SELECT string_agg(a, ', ') FROM jsonb_array_elements_text(c.channel -> 'email') a)
           END AS by,
           n.status, n.happened_at, n.tries, n.due_at, n.sent_at, left(n.problem, 1000) AS problem
      FROM notification n
      JOIN workflow w ON w.workflow_id = n.workflow_id
      JOIN workflow_version v ON v.version_id = n.version_id
      LEFT JOIN task t ON t.task_id = n.task_id
      LEFT JOIN task_version tv ON tv.version_id = n.version_id AND tv.task_id = n.task_id
     CROSS JOIN LATERAL (
         SELECT CASE WHEN n.task_id IS NULL THEN v.notify ELSE tv.notify END -> CAST(n.channel AS int) AS channel
     ) c
"""

_NOTIFICATIONS = text(f"{_SELECT} ORDER BY n.happened_at DESC, n.notification_id DESC LIMIT :most")
_OF_BATCH = text(f"""
    {_SELECT} WHERE w.name = :workflow AND n.batch_id = :batch
     ORDER BY n.happened_at, n.notification_id LIMIT {MOST_OF_A_BATCH}
""")


def list_notifications(tx: Connection, *, most: int) -> list[ListedNotification]:
    """The newest notifications."""
    return [ListedNotification(**row._asdict()) for row in tx.execute(_NOTIFICATIONS, {"most": most})]


def notifications_of_batch(tx: Connection, workflow: str, batch: str) -> list[ListedNotification]:
    """What people were told of a batch, the first first."""
    rows = tx.execute(_OF_BATCH, {"workflow": workflow, "batch": batch})
    return [ListedNotification(**row._asdict()) for row in rows]
