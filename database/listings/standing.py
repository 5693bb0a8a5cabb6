"""How much goes on, waits and was given up, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, TextClause, text

from database.statuses import OPEN, any_of


@dataclass(frozen=True)
class Count:
    """So many of one workflow have this status; `oldest_seconds` is how long the first of them has stood there."""

    workflow: str
    status: str
    count: int
    oldest_seconds: float


@dataclass(frozen=True)
class Standing:
    """Everything that is counted, as of one moment."""

    #: All batches, and the tasks and elements that are not terminal.
    batches: Sequence[Count]
    open_tasks: Sequence[Count]
    dead_workers: int
    notifications: Sequence[Count]
    #: Messages that wait for a person.
    rejected: int


_BATCHES = text("""
    SELECT w.name AS workflow, b.status, count(*) AS count,
           CAST(extract(epoch FROM clock_timestamp() - min(COALESCE(b.ended_at, b.created_at))) AS float8)
               AS oldest_seconds
      FROM task_batch b JOIN workflow w ON w.workflow_id = b.workflow_id
     GROUP BY w.name, b.status ORDER BY w.name, b.status
""")
_OPEN_TASKS = text(f"""
    SELECT w.name AS workflow, t.status, count(*) AS count,
           CAST(extract(epoch FROM clock_timestamp() - min(t.changed_at)) AS float8) AS oldest_seconds
      FROM batch_task t JOIN workflow w ON w.workflow_id = t.workflow_id
     WHERE t.status IN {any_of(OPEN)}
     GROUP BY w.name, t.status ORDER BY w.name, t.status
""")
_DEAD_WORKERS = text("SELECT count(*) FROM batch_task WHERE lease_until < clock_timestamp()")
_NOTIFICATIONS = text("""
    SELECT w.name AS workflow, n.status, count(*) AS count,
           CAST(extract(epoch FROM clock_timestamp() - min(n.happened_at)) AS float8) AS oldest_seconds
      FROM notification n JOIN workflow w ON w.workflow_id = n.workflow_id
     GROUP BY w.name, n.status ORDER BY w.name, n.status
""")
_REJECTED = text("SELECT count(*) FROM rejected_message WHERE replays = 0")


def standing(tx: Connection) -> Standing:
    """Count everything."""

    def counts(statement: TextClause) -> list[Count]:
        return [Count(**row._asdict()) for row in tx.execute(statement)]

    return Standing(
        batches=counts(_BATCHES),
        open_tasks=counts(_OPEN_TASKS),
        dead_workers=tx.execute(_DEAD_WORKERS).scalar_one(),
        notifications=counts(_NOTIFICATIONS),
        rejected=tx.execute(_REJECTED).scalar_one(),
    )
