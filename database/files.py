"""The file log: which files came, what became of them, and where they are now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.keys import WHOLE, BatchKey, TaskKey
from database.statuses import LIVE_IN_COLLECTION, BatchStatus, FileDecision, any_of


@dataclass(frozen=True)
class Arrival:
    """One generation of one object, as a notification announced it."""

    bucket: str
    object: str
    generation: int
    event_type: str
    size: int | None
    message_id: str | None

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.object}"


@dataclass(frozen=True)
class LoggedFile:
    """The file that a batch task has: where it landed, and where it is now."""

    file_log_id: int
    task: str
    bucket: str
    object: str
    generation: int
    place_bucket: str
    place_object: str
    place_generation: int
    groups: Mapping[str, Any]
    #: Other tasks that took the same generation and may be reading it now, e.g. "copies.load 2024-03".
    read_by: tuple[str, ...] = ()
    #: Whether the task takes many files, of which this is one.
    is_one_of_many: bool = False

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.object}"


#: How the reason ends of a file that was ignored because its batch was cancelled when it came.
BATCH_IS_CANCELLED = "is cancelled"


def is_open_again(row: str) -> str:
    """The SQL condition under which a `row` of the file log is decided anew: it says no more how its batch stands.

    A rejection can be mended; and a batch that was cancelled when its file came may have been run again.
    """
    return f"""(
        {row}.decision = 'REJECTED'
        OR ({row}.decision = 'IGNORED' AND {row}.reason LIKE '%{BATCH_IS_CANCELLED}' AND EXISTS (
               SELECT FROM task_batch again
                WHERE again.workflow_id = {row}.workflow_id AND again.batch_id = {row}.batch_id
                  AND again.status <> 'CANCELLED'
           ))
    )"""


_RECORD = text(f"""
    INSERT INTO file_log (bucket, object, generation, event_type, size, message_id, decision, reason,
                          workflow_id, batch_id, task_id, groups)
    VALUES (:bucket, :object, :generation, :event_type, :size, :message_id, :decision, :reason,
            :workflow_id, :batch_id, :task_id, :groups)
    ON CONFLICT (bucket, object, generation, task_id, event_type) DO UPDATE
       SET decision = excluded.decision, reason = excluded.reason, workflow_id = excluded.workflow_id,
           batch_id = excluded.batch_id, groups = excluded.groups
     WHERE {is_open_again("file_log")}
""").bindparams(bindparam("groups", type_=JSONB))


@dataclass(frozen=True)
class WantedBy:
    """The task that wants a file, and the batch it belongs to, as far as that is known."""

    workflow_id: int | None = None
    batch_id: str | None = None
    task_id: int | None = None
    groups: Mapping[str, Any] = field(default_factory=dict)


NOBODY = WantedBy()


def record_file(
    tx: Connection, arrival: Arrival, decision: FileDecision, reason: str | None, wanted: WantedBy = NOBODY
) -> None:
    """Write what became of a file for one task, or for nobody; only what `is_open_again` is decided anew."""
    given = {
        **vars(arrival),
        **vars(wanted),
        "decision": decision,
        "reason": reason,
        "groups": dict(wanted.groups),
    }
    tx.execute(_RECORD, given)


_IS_DECIDED = text(f"""
    SELECT EXISTS (
        SELECT FROM file_log f
         WHERE f.bucket = :bucket AND f.object = :object AND f.generation = :generation AND f.task_id = :task_id
           AND f.event_type = :event_type AND NOT {is_open_again("f")}
    )
""")


def is_decided(tx: Connection, arrival: Arrival, task_id: int) -> bool:
    """Whether this generation has been taken, ignored or superseded for this task before, and that still counts."""
    decided: bool = tx.execute(_IS_DECIDED, {**vars(arrival), "task_id": task_id}).scalar_one()
    return decided


@dataclass(frozen=True)
class AwaitingBatch:
    """What a batch says to a file that comes for one of its tasks."""

    status: BatchStatus
    #: The version that the batch has; it may be older than the one whose pattern found the file.
    version: int
    #: The task's own file settings in that version; None when it has no such task, or one without a file.
    file: Mapping[str, Any] | None
    #: Whether the task lacks its file or, if it takes many, may lack some of them.
    awaits_file: bool


_AWAITING = text(f"""
    SELECT b.status, v.version, tv.file, COALESCE(bt.awaits_file, false) AS awaits_file
      FROM task_batch b
      JOIN workflow_version v ON v.version_id = b.version_id
      LEFT JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = :task_id
      LEFT JOIN batch_task bt ON bt.workflow_id = b.workflow_id AND bt.batch_id = b.batch_id AND bt.task_id = :task_id
                             AND bt.element = {WHOLE}
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id
""")


def awaiting_batch(tx: Connection, key: TaskKey) -> AwaitingBatch:
    """How the batch of this task stands towards a file; the caller has locked the task's row if there is one."""
    row = tx.execute(_AWAITING, key.columns).one()
    return AwaitingBatch(BatchStatus(row.status), row.version, row.file, row.awaits_file)


_LOGGED_COLUMNS = """
    f.file_log_id, t.name AS task, f.bucket, f.object, f.generation,
    COALESCE(f.place_bucket, f.bucket), COALESCE(f.place_object, f.object),
    COALESCE(f.place_generation, f.generation), f.groups
"""

_TAKEN = text(f"""
    SELECT {_LOGGED_COLUMNS}
      FROM file_log f JOIN task t ON t.task_id = f.task_id
     WHERE f.workflow_id = :workflow_id AND f.batch_id = :batch_id AND f.decision = 'TAKEN'
""")

_OF_ATTEMPT = text(f"""
    SELECT {_LOGGED_COLUMNS}, ARRAY(
               SELECT w.name || '.' || rt.name || ' ' || r.batch_id
                 FROM file_log r
                 JOIN batch_task b
                   ON b.workflow_id = r.workflow_id AND b.batch_id = r.batch_id AND b.task_id = r.task_id
                  AND b.element = {WHOLE}
                 JOIN workflow w ON w.workflow_id = r.workflow_id
                 JOIN task rt ON rt.task_id = r.task_id
                WHERE r.bucket = f.bucket AND r.object = f.object AND r.generation = f.generation
                  AND r.decision IN ('TAKEN', 'COLLECTED') AND r.task_id <> :task_id
                  AND b.status IN ('NEW', 'PROCESSING')
                ORDER BY r.file_log_id
           ),
           CASE WHEN f.task_id = :task_id THEN a.file_log_id IS NOT NULL ELSE f.decision = 'COLLECTED' END
      FROM file_log f
      JOIN task t ON t.task_id = f.task_id
      LEFT JOIN attempt_file a
        ON a.workflow_id = :workflow_id AND a.batch_id = :batch_id AND a.task_id = :task_id
       AND a.element = :element AND a.attempt = :attempt
       AND a.file_log_id = f.file_log_id
     WHERE f.workflow_id = :workflow_id AND f.batch_id = :batch_id
       AND (
           (f.decision IN ('TAKEN', 'COLLECTED') AND f.task_id <> :task_id)
           OR a.file_log_id IS NOT NULL
           OR f.file_log_id = (
               SELECT l.file_log_id FROM task_log l
                WHERE l.workflow_id = :workflow_id AND l.batch_id = :batch_id AND l.task_id = :task_id
                  AND l.element = :element AND l.attempt = :attempt
           )
       )
     ORDER BY f.file_log_id
""")


def taken_files(tx: Connection, batch: BatchKey) -> dict[str, LoggedFile]:
    """The files that a batch has now of tasks that take one, by the name of the task."""
    files = (LoggedFile(*row) for row in tx.execute(_TAKEN, batch.columns))
    return {file.task: file for file in files}


def files_of_attempt(tx: Connection, key: TaskKey, attempt: int) -> list[LoggedFile]:
    """The files that an attempt may read: the task's own as the attempt began, the other tasks' as they are now."""
    rows = tx.execute(_OF_ATTEMPT, {**key.columns, "attempt": attempt})
    return [replace(LoggedFile(*row[:-2]), read_by=tuple(row[-2]), is_one_of_many=row[-1]) for row in rows]


#: What the details of a success call the file that the task has made: its bucket, name and generation.
MADE = "made"

_MADE = text(f"""
    SELECT tv.kind, l.details -> '{MADE}' AS made
      FROM task t
      JOIN task_version tv ON tv.version_id = :version_id AND tv.task_id = t.task_id
      JOIN batch_task b ON b.workflow_id = t.workflow_id AND b.batch_id = :batch_id AND b.task_id = t.task_id
                       AND b.element = {WHOLE}
      LEFT JOIN task_log l
        ON l.workflow_id = b.workflow_id AND l.batch_id = b.batch_id AND l.task_id = b.task_id
       AND l.element = {WHOLE} AND l.attempt = b.attempt AND l.status = 'SUCCESS' AND b.status = 'SUCCESS'
     WHERE t.workflow_id = :workflow_id AND t.name = :task
""")


def file_made(tx: Connection, batch: BatchKey, version_id: int, task: str) -> tuple[str, LoggedFile | None] | None:
    """The kind of a task of this batch, and the file that its last attempt has made if that was a success."""
    row = tx.execute(_MADE, {**batch.columns, "version_id": version_id, "task": task}).one_or_none()
    if row is None:
        return None
    if row.made is None:
        return row.kind, None
    place = (row.made["bucket"], row.made["name"], row.made["generation"])
    return row.kind, LoggedFile(0, task, *place, *place, groups={})


_LOCK_OBJECT = text("SELECT pg_advisory_xact_lock(hashtextextended(:bucket || '/' || :object, :task_id))")


def lock_object(tx: Connection, arrival: Arrival, task_id: int) -> None:
    """Let what arrives of one object for one task be decided one after the other; the first lock of its transaction."""
    tx.execute(_LOCK_OBJECT, {**vars(arrival), "task_id": task_id})


_NEWEST_TAKEN = text("""
    SELECT max(f.generation)
      FROM file_log f JOIN task_batch b ON b.workflow_id = f.workflow_id AND b.batch_id = f.batch_id
     WHERE f.bucket = :bucket AND f.object = :object AND f.task_id = :task_id AND f.decision = 'TAKEN'
       AND b.status <> 'CANCELLED'
""")


def newest_taken(tx: Connection, bucket: str, name: str, task_id: int) -> int | None:
    """The newest generation of this object that the task has taken, in whatever batch that is not cancelled."""
    given = {"bucket": bucket, "object": name, "task_id": task_id}
    newest: int | None = tx.execute(_NEWEST_TAKEN, given).scalar_one()
    return newest


_SUPERSEDE = text(f"""
    UPDATE file_log SET decision = 'SUPERSEDED', reason = :reason
     WHERE file_log_id = :file_log_id AND decision IN {any_of((FileDecision.TAKEN, *LIVE_IN_COLLECTION))}
""")


def supersede(tx: Connection, file_log_id: int, reason: str) -> None:
    """Let a newer generation take the place of this one; the caller has locked the batch task."""
    tx.execute(_SUPERSEDE, {"file_log_id": file_log_id, "reason": reason})
