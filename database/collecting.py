"""Tasks that take many files: what they have so far, and what each attempt was given.

Who changes anything has locked the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from database.keys import WHOLE, BatchKey, TaskKey
from database.statuses import LIVE_IN_COLLECTION, FileDecision, any_of

_OWN = "workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id"
_LIVE = any_of(LIVE_IN_COLLECTION)


@dataclass(frozen=True)
class Collection:
    """What a task has, apart from one object, and which generation of that object it has."""

    #: How many objects have come, those that were set aside among them.
    files: int
    has_marker: bool
    file_log_id: int | None
    generation: int | None


_LOOK = text(f"""
    SELECT count(*) FILTER (WHERE decision <> '{FileDecision.MARKER}' AND NOT is_it) AS files,
           COALESCE(bool_or(decision = '{FileDecision.MARKER}' AND NOT is_it), false) AS has_marker,
           max(file_log_id) FILTER (WHERE is_it) AS file_log_id, max(generation) FILTER (WHERE is_it) AS generation
      FROM (SELECT decision, file_log_id, generation, bucket = :bucket AND object = :object AS is_it
              FROM file_log WHERE {_OWN} AND decision IN {_LIVE}) live
""")


def look_at_collection(tx: Connection, key: TaskKey, bucket: str = "", name: str = "") -> Collection:
    """What the task has so far, as seen from the object `gs://bucket/name` if one is named."""
    return Collection(*tx.execute(_LOOK, {**key.columns, "bucket": bucket, "object": name}).one())


_AWAIT_MORE = text(f"""
    UPDATE batch_task
       SET awaits_file = true, quiet_at = clock_timestamp() + CAST(:quiet_seconds AS float8) * interval '1 second'
     WHERE {_OWN} AND element = {WHOLE}
""")


def await_more_files(tx: Connection, key: TaskKey, quiet_seconds: int | None) -> None:
    """Let the task, which is not NEW, wait for more files: until none has come for so long, if that is given."""
    tx.execute(_AWAIT_MORE, {**key.columns, "quiet_seconds": quiet_seconds})


_STOP_IF_QUIET = text(f"""
    UPDATE batch_task SET awaits_file = false, quiet_at = NULL
     WHERE {_OWN} AND element = {WHOLE} AND quiet_at <= clock_timestamp()
""")


def stop_if_quiet(tx: Connection, key: TaskKey) -> bool:
    """Whether no file has come for as long as the task waits for more; then it waits no longer."""
    return bool(tx.execute(_STOP_IF_QUIET, key.columns).rowcount)


_KEEP_FILES = text(f"""
    INSERT INTO attempt_file (workflow_id, batch_id, task_id, attempt, file_log_id)
    SELECT workflow_id, batch_id, task_id, :attempt, file_log_id
      FROM file_log WHERE {_OWN} AND decision = '{FileDecision.COLLECTED}'
""")


def keep_files_of_attempt(tx: Connection, key: TaskKey, attempt: int) -> None:
    """Give the attempt that has just been opened the files that the task has now.

    A statement after the claim: that may have waited for a transaction that has just brought a file.
    """
    tx.execute(_KEEP_FILES, {**key.columns, "attempt": attempt})


_SET_ASIDE = text(f"""
    WITH bad AS (
        SELECT f.file_log_id, v.reason
          FROM unnest(CAST(:file_log_ids AS bigint[]), CAST(:reasons AS text[])) AS v (file_log_id, reason)
          JOIN file_log f ON f.file_log_id = v.file_log_id AND f.decision = '{FileDecision.COLLECTED}'
         ORDER BY f.file_log_id FOR NO KEY UPDATE OF f
    )
    UPDATE file_log f SET decision = '{FileDecision.SET_ASIDE}', reason = bad.reason
      FROM bad WHERE f.file_log_id = bad.file_log_id
""")


def set_files_aside(tx: Connection, reasons: Mapping[int, str]) -> None:
    """Let later attempts do without these files, each for its reason; one that was replaced meanwhile stays so.

    Rows of the file log are locked after all batch tasks and the batch, in the order of their ids.
    """
    if reasons:
        tx.execute(_SET_ASIDE, {"file_log_ids": list(reasons), "reasons": list(reasons.values())})


_FIT_FILES = text(f"""
    WITH changed AS (
        SELECT f.file_log_id, v.file -> 'until' IS NOT NULL AS takes_many
          FROM file_log f JOIN task_version v ON v.version_id = :version_id AND v.task_id = f.task_id
         WHERE f.workflow_id = :workflow_id AND f.batch_id = :batch_id
           AND f.decision IN {any_of((FileDecision.TAKEN, *LIVE_IN_COLLECTION))}
           AND (f.decision = '{FileDecision.TAKEN}') = (v.file -> 'until' IS NOT NULL)
         ORDER BY f.file_log_id FOR NO KEY UPDATE OF f
    )
    UPDATE file_log f
       SET decision = CASE WHEN takes_many THEN '{FileDecision.COLLECTED}' ELSE '{FileDecision.SUPERSEDED}' END,
           reason = CASE WHEN NOT takes_many THEN 'the version that its batch has now does not take many files' END
      FROM changed WHERE f.file_log_id = changed.file_log_id
""")

_AWAITING_MORE = text(f"""
    SELECT t.task_id, v.file -> 'until' AS until, t.quiet_at, EXISTS (
               SELECT FROM file_log f
                WHERE f.workflow_id = t.workflow_id AND f.batch_id = t.batch_id AND f.task_id = t.task_id
                  AND f.decision IN ('COLLECTED', 'SET_ASIDE')
           ) AS has_files
      FROM task_batch b
      JOIN batch_task t ON t.workflow_id = b.workflow_id AND t.batch_id = b.batch_id AND t.element = {WHOLE}
                       AND t.awaits_file
      JOIN task_version v ON v.version_id = b.version_id AND v.task_id = t.task_id AND v.file -> 'until' IS NOT NULL
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id
     ORDER BY t.position
""")


def fit_files(tx: Connection, batch: BatchKey, version_id: int) -> None:
    """Let files be what tasks that take one file, or many, in the batch's new version make of them."""
    tx.execute(_FIT_FILES, {**batch.columns, "version_id": version_id})


@dataclass(frozen=True)
class AwaitingMore:
    """A task that takes many files and may not have all; `until` is what its version says of that."""

    task_id: int
    until: Mapping[str, Any]
    quiet_at: datetime | None
    has_files: bool


def tasks_awaiting_more(tx: Connection, batch: BatchKey) -> list[AwaitingMore]:
    """The tasks of the batch that may have to wait for more files, in order."""
    return [AwaitingMore(*row) for row in tx.execute(_AWAITING_MORE, batch.columns)]
