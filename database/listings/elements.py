"""The elements of mapped tasks, to look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from database.keys import WHOLE
from database.listings.errors import GIST
from database.statuses import FAILURES, any_of


@dataclass(frozen=True)
class ListedElement:
    """An element of a mapped task: its item of the list, where it stands, and its last attempt."""

    task: str
    element: int
    item: Any
    status: str
    attempt: int
    retried: int
    takeovers: int
    #: Whether what an attempt that was taken away has begun outside is being ended.
    ending: bool
    started_at: datetime | None
    ended_at: datetime | None
    #: The gist of the last attempt's error; None once the element has ended otherwise.
    error: str | None


_ELEMENTS = text(f"""
    SELECT t.name AS task, e.element, e.item, e.status, e.attempt, e.retried, e.takeovers, e.ending, l.started_at,
           l.ended_at, CASE WHEN e.status NOT IN ('SUCCESS', 'SKIPPED') THEN {GIST} END AS error
      FROM workflow w
      JOIN batch_task m ON m.workflow_id = w.workflow_id AND m.batch_id = :batch AND m.element = {WHOLE}
      JOIN task t ON t.task_id = m.task_id
      JOIN batch_task e ON e.workflow_id = m.workflow_id AND e.batch_id = m.batch_id AND e.task_id = m.task_id
                       AND e.element >= 0 AND e.element < m.elements
      LEFT JOIN task_log l ON l.workflow_id = e.workflow_id AND l.batch_id = e.batch_id AND l.task_id = e.task_id
                          AND l.element = e.element AND l.attempt = e.attempt
     WHERE w.name = :workflow AND (CAST(:task AS text) IS NULL OR t.name = :task)
       AND (CAST(:status AS text) IS NULL OR e.status = :status)
       AND (NOT :that_tell OR e.status IN {any_of(FAILURES)} OR (e.status <> 'SUCCESS' AND e.attempt > 0))
     ORDER BY m.position, :that_tell AND e.status NOT IN {any_of(FAILURES)}, e.element LIMIT :most
""")


def list_elements(
    tx: Connection, workflow: str, batch: str, task: str, *, status: str | None = None, most: int
) -> list[ListedElement]:
    """The elements of a task in order, those of one status only if it is given."""
    return _list(tx, workflow, batch, task=task, status=status, that_tell=False, most=most)


def elements_that_tell(tx: Connection, workflow: str, batch: str, *, most: int) -> list[ListedElement]:
    """The elements of all tasks of a batch that have failed, and then those that somebody has begun."""
    return _list(tx, workflow, batch, task=None, status=None, that_tell=True, most=most)


def _list(tx: Connection, workflow: str, batch: str, **chosen: Any) -> list[ListedElement]:
    rows = tx.execute(_ELEMENTS, {"workflow": workflow, "batch": batch, **chosen})
    return [ListedElement(**row._asdict()) for row in rows]
