"""The file log: which files came, what became of them, and where they are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.keys import BatchKey, TaskKey
from database.statuses import BatchStatus, FileDecision


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


_AWAITING = text("""
    SELECT b.status, v.version, tv.file
      FROM task_batch b
      JOIN workflow_version v ON v.version_id = b.version_id
      LEFT JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = :task_id
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id
""")


def awaiting_batch(tx: Connection, key: TaskKey) -> AwaitingBatch:
    """How the batch of this task stands towards a file; the caller has locked the task's row if there is one."""
    row = tx.execute(_AWAITING, key.columns).one()
    return AwaitingBatch(BatchStatus(row.status), row.version, row.file)


_LOGGED_COLUMNS = """
    f.file_log_id, t.name AS task, f.bucket, f.object, f.generation,
    COALESCE(f.place_bucket, f.bucket), COALESCE(f.place_object, f.object),
    COALESCE(f.place_generation, f.generation), f.groups
"""

_LOGGED_SOURCE = """
      FROM file_log f JOIN task t ON t.task_id = f.task_id
     WHERE f.workflow_id = :workflow_id AND f.batch_id = :batch_id
"""

_TAKEN = text(f"SELECT {_LOGGED_COLUMNS} {_LOGGED_SOURCE} AND f.decision = 'TAKEN'")

_OF_ATTEMPT = text(f"""
    SELECT {_LOGGED_COLUMNS}, ARRAY(
               SELECT w.name || '.' || rt.name || ' ' || r.batch_id
                 FROM file_log r
                 JOIN batch_task b
                   ON b.workflow_id = r.workflow_id AND b.batch_id = r.batch_id AND b.task_id = r.task_id
                 JOIN workflow w ON w.workflow_id = r.workflow_id
                 JOIN task rt ON rt.task_id = r.task_id
                WHERE r.bucket = f.bucket AND r.object = f.object AND r.generation = f.generation
                  AND r.decision = 'TAKEN' AND r.task_id <> :task_id
                  AND b.status IN ('NEW', 'PROCESSING')
                ORDER BY r.file_log_id
           )
    {_LOGGED_SOURCE} AND (
        (f.decision = 'TAKEN' AND f.task_id <> :task_id)
        OR f.file_log_id = (
            SELECT l.file_log_id FROM task_log l
             WHERE l.workflow_id = :workflow_id AND l.batch_id = :batch_id AND l.task_id = :task_id
               AND l.attempt = :attempt
        )
    )
""")


def taken_files(tx: Connection, batch: BatchKey) -> dict[str, LoggedFile]:
    """The files that a batch has now, by the name of the task that took them."""
    files = (LoggedFile(*row) for row in tx.execute(_TAKEN, batch.columns))
    return {file.task: file for file in files}


def files_of_attempt(tx: Connection, key: TaskKey, attempt: int) -> dict[str, LoggedFile]:
    """The files that an attempt may read: the task's own as the attempt began, the other tasks' as they are now."""
    found = {}
    for row in tx.execute(_OF_ATTEMPT, {**key.columns, "attempt": attempt}):
        file = replace(LoggedFile(*row[:-1]), read_by=tuple(row[-1]))
        found[file.task] = file
    return found


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


_SUPERSEDE = text("""
    UPDATE file_log SET decision = 'SUPERSEDED', reason = :reason
     WHERE file_log_id = :file_log_id AND decision = 'TAKEN'
""")


def supersede(tx: Connection, file_log_id: int, reason: str) -> None:
    """Let a newer generation take the place of this one; the caller has locked the batch task."""
    tx.execute(_SUPERSEDE, {"file_log_id": file_log_id, "reason": reason})


@dataclass(frozen=True)
class NewPlace:
    """Where a file has gone."""

    file_log_id: int
    bucket: str
    object: str
    generation: int


_MOVE = text("""
    WITH same AS (
        SELECT f.file_log_id, v.bucket, v.object, v.generation
          FROM unnest(CAST(:file_log_ids AS bigint[]), CAST(:buckets AS text[]), CAST(:objects AS text[]),
                      CAST(:generations AS bigint[])) AS v (file_log_id, bucket, object, generation)
          JOIN file_log moved ON moved.file_log_id = v.file_log_id
          JOIN file_log f ON f.bucket = moved.bucket AND f.object = moved.object AND f.generation = moved.generation
                         AND f.task_id IS NOT NULL
         ORDER BY f.file_log_id FOR NO KEY UPDATE OF f
    )
    UPDATE file_log f
       SET place_bucket = same.bucket, place_object = same.object, place_generation = same.generation
      FROM same WHERE f.file_log_id = same.file_log_id
""")


def store_places(tx: Connection, places: Sequence[NewPlace]) -> None:
    """Remember where files have gone: every later attempt of every task that took them reads them there.

    Rows of the file log are locked after all batch tasks and the batch, in the order of their ids.
    """
    if places:
        given = {
            "file_log_ids": [place.file_log_id for place in places],
            "buckets": [place.bucket for place in places],
            "objects": [place.object for place in places],
            "generations": [place.generation for place in places],
        }
        tx.execute(_MOVE, given)


_IS_OUR_PLACE = text("""
    SELECT EXISTS (
        SELECT FROM file_log
         WHERE place_bucket = :bucket AND place_object = :object AND place_generation = :generation
    )
""")


def is_place_of_a_file(tx: Connection, arrival: Arrival) -> bool:
    """Whether this object is where one of our own tasks has put a file."""
    ours: bool = tx.execute(_IS_OUR_PLACE, vars(arrival)).scalar_one()
    return ours
