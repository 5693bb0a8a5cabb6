"""A batch moves to another version of its workflow. The caller has locked all its tasks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, text

from database.keys import WHOLE, BatchKey


class Difference(StrEnum):
    """What another version makes of a task of a batch."""

    SAME = "same"
    #: Its work, its parents, its rule or its file are others.
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True)
class Newest:
    """The version that a batch has, and its workflow's newest one."""

    version_id: int
    version: int
    newest_id: int
    newest: int


_NEWEST = text("""
    SELECT v.version_id, v.version, n.version_id, n.version
      FROM task_batch b
      JOIN workflow_version v ON v.version_id = b.version_id
      JOIN workflow w ON w.workflow_id = b.workflow_id
      JOIN workflow_version n ON n.workflow_id = w.workflow_id AND n.version = w.version
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id
""")

_DIFFERENCES = text(f"""
    WITH of_version AS (
        SELECT v.version_id, v.task_id, v.kind, v.rule, v.disabled, v.condition, v.file, v.map, v.config, ARRAY(
                   SELECT d.parent_id FROM task_dependency d
                    WHERE d.version_id = v.version_id AND d.child_id = v.task_id ORDER BY d.parent_id
               ) AS parents
          FROM task_version v WHERE v.version_id IN (:before, :after)
    )
    SELECT COALESCE(o.task_id, n.task_id) AS task_id,
           CASE WHEN o.task_id IS NULL THEN '{Difference.ADDED}'
                WHEN n.task_id IS NULL THEN '{Difference.REMOVED}'
                WHEN (o.kind, o.rule, o.disabled, o.config, o.parents)
                     = (n.kind, n.rule, n.disabled, n.config, n.parents)
                     AND (o.file, o.condition, o.map) IS NOT DISTINCT FROM (n.file, n.condition, n.map)
                THEN '{Difference.SAME}'
                ELSE '{Difference.CHANGED}' END AS difference
      FROM (SELECT * FROM of_version WHERE version_id = :before) o
      FULL JOIN (SELECT * FROM of_version WHERE version_id = :after) n ON n.task_id = o.task_id
""")


def newest_of_batch(tx: Connection, batch: BatchKey) -> Newest:
    """Which version the batch has, and which is the newest."""
    return Newest(*tx.execute(_NEWEST, batch.columns).one())


def differences(tx: Connection, before: int, after: int) -> dict[int, Difference]:
    """What becomes of each task between two versions."""
    rows = tx.execute(_DIFFERENCES, {"before": before, "after": after})
    return {row.task_id: Difference(row.difference) for row in rows}


_LOCK_BATCH = text("""
    SELECT FROM task_batch WHERE workflow_id = :workflow_id AND batch_id = :batch_id FOR NO KEY UPDATE
""")

_SET_VERSION = text("""
    UPDATE task_batch SET version_id = :version_id WHERE workflow_id = :workflow_id AND batch_id = :batch_id
""")

_ADD_TASKS = text("""
    INSERT INTO batch_task (workflow_id, batch_id, task_id, position, version_id, awaits_file, status)
    SELECT :workflow_id, :batch_id, v.task_id, v.position, v.version_id, v.file IS NOT NULL, 'WAITING'
      FROM task_version v WHERE v.version_id = :version_id
        ON CONFLICT DO NOTHING
""")

# A task that takes many files, and the same ones as in the version that its row still has.
_COLLECTS_ON = """(
    v.file -> 'until' IS NOT NULL AND EXISTS (
        SELECT FROM task_version o WHERE o.version_id = t.version_id AND o.task_id = t.task_id AND o.file = v.file
    )
)"""

_FIT_TASKS = text(f"""
    UPDATE batch_task t
       SET position = v.position - CASE WHEN t.element = {WHOLE} THEN 0 ELSE 1 END, version_id = v.version_id,
           waits_on = NULL,
           awaits_file = t.element = {WHOLE} AND CASE WHEN {_COLLECTS_ON} THEN t.awaits_file
               ELSE v.file IS NOT NULL AND NOT EXISTS (
               SELECT FROM file_log f
                WHERE f.workflow_id = t.workflow_id AND f.batch_id = t.batch_id AND f.task_id = t.task_id
                  AND f.decision = 'TAKEN'
           ) END,
           quiet_at = CASE WHEN {_COLLECTS_ON} THEN t.quiet_at END
      FROM task_version v
     WHERE t.workflow_id = :workflow_id AND t.batch_id = :batch_id
       AND v.version_id = :version_id AND v.task_id = t.task_id
""")


def set_version(tx: Connection, batch: BatchKey, version_id: int) -> None:
    """Give the batch this version and the tasks that it lacks; the rows of the others are `fit_tasks`'s to change."""
    given = {**batch.columns, "version_id": version_id}
    tx.execute(_LOCK_BATCH, batch.columns)
    tx.execute(_SET_VERSION, given)
    tx.execute(_ADD_TASKS, given)


def fit_tasks(tx: Connection, batch: BatchKey, version_id: int) -> None:
    """Give the tasks of the batch the order and the files of its new version; what must run again waits already."""
    tx.execute(_FIT_TASKS, {**batch.columns, "version_id": version_id})
