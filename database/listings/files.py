"""Files and what became of them, to look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from database.keys import WHOLE
from database.listings.batches import find_batch
from database.listings.errors import GIST


@dataclass(frozen=True)
class ListedFile:
    """What became of one generation of one object, for one task or for nobody."""

    file: str
    generation: int
    decision: str
    reason: str | None
    workflow: str | None
    batch: str | None
    task: str | None
    #: Of the task that has the file; None when the file was not taken.
    task_status: str | None
    error: str | None
    place: str | None
    size: int | None
    event_type: str
    message_id: str | None
    received_at: datetime


_FILES = f"""
    SELECT 'gs://' || f.bucket || '/' || f.object AS file, f.generation, f.decision, f.reason, w.name AS workflow,
           f.batch_id AS batch, t.name AS task, bt.status AS task_status, {GIST} AS error,
           'gs://' || f.place_bucket || '/' || f.place_object AS place, f.size, f.event_type, f.message_id,
           f.received_at
      FROM (SELECT * FROM file_log {{where}} ORDER BY received_at DESC, file_log_id DESC LIMIT :most) f
      LEFT JOIN task t ON t.task_id = f.task_id
      LEFT JOIN workflow w ON w.workflow_id = t.workflow_id
      LEFT JOIN batch_task bt ON bt.workflow_id = f.workflow_id AND bt.batch_id = f.batch_id
                             AND bt.task_id = f.task_id AND bt.element = {WHOLE}
                             AND f.decision IN ('TAKEN', 'COLLECTED')
      LEFT JOIN task_log l ON l.workflow_id = bt.workflow_id AND l.batch_id = bt.batch_id
                          AND l.task_id = bt.task_id AND l.element = {WHOLE} AND l.attempt = bt.attempt
     ORDER BY f.received_at DESC, f.file_log_id DESC
"""
_OF_A_DECISION = "(CAST(:decision AS text) IS NULL OR decision = :decision)"
_ALL_FILES = text(_FILES.format(where=f"WHERE {_OF_A_DECISION}"))
_FILES_OF_BATCH = text(
    _FILES.format(
        where=f"WHERE {_OF_A_DECISION} AND batch_id = :batch "
        "AND workflow_id = (SELECT workflow_id FROM workflow WHERE name = :workflow)"
    )
)
# Two conditions with an index each, and never one over both columns' concatenation.
_FILES_AT = text(
    _FILES.format(
        where="WHERE (bucket = :bucket AND object = :object) OR (place_bucket = :bucket AND place_object = :object)"
    )
)


def list_files(
    tx: Connection, *, decision: str | None = None, batch: tuple[str, str] | None = None, most: int
) -> list[ListedFile]:
    """The newest files, those of one decision or of one batch (workflow, batch id) only; raises Missing."""
    given: dict[str, Any] = {"decision": decision, "most": most}
    if batch is None:
        return [ListedFile(**row._asdict()) for row in tx.execute(_ALL_FILES, given)]
    workflow, batch_id = batch
    find_batch(tx, workflow, batch_id)
    rows = tx.execute(_FILES_OF_BATCH, {**given, "workflow": workflow, "batch": batch_id})
    return [ListedFile(**row._asdict()) for row in rows]


def files_at(tx: Connection, bucket: str, name: str, *, most: int) -> list[ListedFile]:
    """Every generation of an object that was announced, and every file that has been moved to this address."""
    rows = tx.execute(_FILES_AT, {"bucket": bucket, "object": name, "most": most})
    return [ListedFile(**row._asdict()) for row in rows]
