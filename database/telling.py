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
    #: Of a mapped task that failed, the first element that did, its attempt and why.
    element: int | None
    element_attempt: int | None
    element_error: str | None


_ATTEMPTS = text(f"""
    SELECT t.task_id, t.name AS task, tv.kind, l.status, l.started_at, l.ended_at, l.error, l.details,
           e.element, e.attempt AS element_attempt, e.error AS element_error
      FROM unnest(CAST(:task_ids AS bigint[]), CAST(:attempts AS bigint[])) AS asked (task_id, attempt)
      JOIN task t ON t.task_id = asked.task_id
      JOIN task_version tv ON tv.version_id = :version_id AND tv.task_id = t.task_id
      LEFT JOIN task_log l ON l.workflow_id = :workflow_id AND l.batch_id = :batch_id AND l.task_id = t.task_id
                          AND l.element = {WHOLE} AND l.attempt = asked.attempt
      LEFT JOIN LATERAL (
          SELECT one.element, one.attempt, one.error
            FROM (
              SELECT DISTINCT ON (o.element) o.element, o.attempt, o.status, o.error
                FROM task_log o
               WHERE tv.map IS NOT NULL AND l.status = 'ERROR' AND o.ended_at <= l.ended_at
                 AND o.workflow_id = l.workflow_id AND o.batch_id = l.batch_id AND o.task_id = l.task_id
                 AND o.element BETWEEN 0 AND CAST(l.details ->> 'elements' AS int) - 1
               ORDER BY o.element, o.attempt DESC
            ) one
           WHERE one.status = 'ERROR'
           ORDER BY one.element
           LIMIT 1
      ) e ON true
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
        SELECT :workflow_id AS workflow_id, :batch_id AS batch_id, tv.task_id, CAST(:element AS int) AS element,
               CAST(:attempt AS bigint) AS attempt, (
                   SELECT bt.item FROM batch_task bt
                    WHERE bt.workflow_id = :workflow_id AND bt.batch_id = :batch_id AND bt.task_id = :task_id
                      AND bt.element = :element
               ) AS item, 0 AS takeovers, 0 AS retried,
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
