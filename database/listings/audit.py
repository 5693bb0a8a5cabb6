"""What people did to a batch and its tasks, to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from database.listings.batches import MOST_OF_A_BATCH


@dataclass(frozen=True)
class ListedMove:
    """One thing that somebody did: to one task, or to the batch when `task` is None."""

    at: datetime
    actor: str
    action: str
    task: str | None
    reason: str | None
    details: Mapping[str, Any]


# The name of a task has no space, so that what follows tells the batch "a" from one that is called "a b". Nobody can
# have done anything before the batch was there; only the index by time knows where to begin.
_MOVES = text(f"""
    SELECT a.at, a.actor, a.action, own.task, a.reason, a.details
      FROM workflow w
      JOIN task_batch b ON b.workflow_id = w.workflow_id
      JOIN audit a ON a.at >= b.created_at - interval '1 minute'
     CROSS JOIN LATERAL (SELECT 'task ' || w.name || ' ' || b.batch_id || ' ' AS named) begin
     CROSS JOIN LATERAL (
         SELECT CASE WHEN starts_with(a.subject, begin.named)
                     THEN substr(a.subject, length(begin.named) + 1) END AS task
     ) own
     WHERE w.name = :workflow AND b.batch_id = :batch
       AND (a.subject = 'batch ' || w.name || ' ' || b.batch_id OR position(' ' IN own.task) = 0)
     ORDER BY a.at, a.audit_id LIMIT {MOST_OF_A_BATCH}
""")


def list_moves(tx: Connection, workflow: str, batch: str) -> list[ListedMove]:
    """What was done to a batch by hand, the first first."""
    rows = tx.execute(_MOVES, {"workflow": workflow, "batch": batch})
    return [ListedMove(**row._asdict()) for row in rows]
