"""What a message about an outcome quotes: the attempts behind it, as history keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from database.attempts import CLAIMED_NAMES, VERSION_COLUMNS, Claimed, claimed_of
from database.keys import WHOLE, BatchKey, TaskKey


@dataclass(frozen=True)
class ToldAttempt:
    """An attempt of a task; without times when it had none, or the task was never claimed."""

    task_id: int
    task: str
    kind: str
    #: How the attempt itself has ended: the task may have been marked otherwise.
    status: str | None
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None
    details: Mapping[str, Any] | None


_ATTEMPTS = text(f"""
    SELECT t.task_id, t.name AS task, tv.kind, l.status, l.started_at, l.ended_at, l.error, l.details
      FROM unnest(CAST(:task_ids AS bigint[]), CAST(:attempts AS bigint[])) AS asked (task_id, attempt)
      JOIN task t ON t.task_id = asked.task_id
      JOIN task_version tv ON tv.version_id = :version_id AND tv.task_id = t.task_id
      LEFT JOIN task_log l ON l.workflow_id = :workflow_id AND l.batch_id = :batch_id AND l.task_id = t.task_id
                          AND l.element = {WHOLE} AND l.attempt = asked.attempt
""")


def told_attempts(
    tx: Connection, batch: BatchKey, version_id: int, attempts: Sequence[tuple[int, int]]
) -> dict[int, ToldAttempt]:
    """These attempts, (task id, attempt), by the id of the task."""
    task_ids, numbers = [one for one, _ in attempts], [number for _, number in attempts]
    given = {**batch.columns, "version_id": version_id, "task_ids": task_ids, "attempts": numbers}
    return {row.task_id: ToldAttempt(**row._asdict()) for row in tx.execute(_ATTEMPTS, given)}


_AS_CLAIMED = text(f"""
    WITH claimed AS (
        SELECT :workflow_id AS workflow_id, :batch_id AS batch_id, tv.task_id, {WHOLE} AS element,
               CAST(:attempt AS bigint) AS attempt, CAST(NULL AS jsonb) AS item, 0 AS takeovers, 0 AS retried,
               CAST(NULL AS jsonb) AS handle, 0 AS polls, {VERSION_COLUMNS}, false AS timed_out
          FROM task_batch tb
         CROSS JOIN LATERAL (SELECT CAST(:version_id AS bigint) AS version_id, tb.uid, tb.params) b
          JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = :task_id
         WHERE tb.workflow_id = :workflow_id AND tb.batch_id = :batch_id
    )
    {CLAIMED_NAMES}
""")


def as_claimed(tx: Connection, key: TaskKey, attempt: int, version_id: int) -> Claimed:
    """An attempt of this version as its worker had it, to look at."""
    given = {**key.columns, "attempt": attempt, "version_id": version_id}
    return claimed_of(tx.execute(_AS_CLAIMED, given).one(), key, token="")
