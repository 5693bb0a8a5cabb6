"""The elements of mapped tasks: one row each, beside that of their task, whose attempt ends with the last of them.

Elements are locked before their task, as their position says. A task is locked in one statement, and its elements are
looked at in the next: so of two that end at once, the second sees both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.keys import ALL_ELEMENTS, WHOLE, BatchKey, Span, TaskKey
from database.prepared import Prepared, one_or_none
from database.statistics import analyze_if_outgrown
from database.statuses import (
    AWAIT_AGAIN,
    DROP,
    FAILURES,
    GO_ON,
    OPEN,
    RELEASE,
    RERUN,
    RESET,
    TERMINAL,
    Status,
    any_of,
)
from database.transitions import FIRST_REPUBLISH_SECONDS

_TASK = "workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id"
_WHOLE = f"{_TASK} AND element = {WHOLE}"


@dataclass(frozen=True)
class Mapped:
    """A mapped task whose row this transaction has locked."""

    status: Status
    attempt: int
    #: How many elements it has; None before its list has been read.
    elements: int | None
    awaits_elements: bool
    #: Whether it is to read its list anew.
    reset: bool
    #: An element that was open when one was last looked for.
    waits_on: int | None
    max_failures: int
    success_may_skip: bool
    #: Whether people are told how this task itself has ended.
    tells: bool


_LOCK_MAPPED = Prepared(
    "lock_mapped",
    f"""
    SELECT t.status, t.attempt, t.elements, t.awaits_elements, t.reset, t.waits_on,
           CAST(tv.map ->> 'max_failures' AS bigint) AS max_failures, tv.success_may_skip,
           tv.notify IS NOT NULL AS tells
      FROM task_batch b
      JOIN batch_task t ON t.workflow_id = b.workflow_id AND t.batch_id = b.batch_id
      JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = t.task_id AND tv.map IS NOT NULL
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id AND t.task_id = :task_id AND t.element = {WHOLE}
       FOR NO KEY UPDATE OF t
""",
)


def lock_mapped(tx: Connection, key: TaskKey) -> Mapped | None:
    """Lock the task that this is, or is an element of; None when its batch's version maps no such task."""
    row = one_or_none(_LOCK_MAPPED.execute(tx, key.columns))
    return None if row is None else Mapped(**{**row._asdict(), "status": Status(row.status)})


_LAST_OPEN = Prepared(
    "last_open_element",
    f"""
    SELECT element FROM batch_task
     WHERE {_TASK} AND element >= 0 AND status IN {any_of(OPEN)}
     ORDER BY element DESC LIMIT 1
""",
)

_WATCH = Prepared("watch_element", f"UPDATE batch_task SET waits_on = :element WHERE {_WHOLE}")


def watch_open_element(tx: Connection, key: TaskKey) -> bool:
    """Let the locked task remember an open element, if one is left; whoever ends that one looks again."""
    row = one_or_none(_LAST_OPEN.execute(tx, key.columns))
    if row is None:
        return False
    _WATCH.execute(tx, {**key.columns, "element": row.element})
    return True


@dataclass(frozen=True)
class FailedElements:
    """How many elements have failed, and the first of them; of the first attempt that failed, whose it is and why."""

    count: int
    first: Sequence[int]
    element: int | None
    error: str | None


_FAILED = text(f"""
    SELECT f.count, f.first, e.element, e.error
      FROM (
          SELECT count(*) AS count, COALESCE((array_agg(element ORDER BY element))[1 : 10], '{{}}') AS first
            FROM batch_task WHERE {_TASK} AND element >= 0 AND element < :elements AND status IN {any_of(FAILURES)}
      ) f
      LEFT JOIN LATERAL (
          SELECT t.element, l.error
            FROM batch_task t
            JOIN task_log l ON l.workflow_id = t.workflow_id AND l.batch_id = t.batch_id AND l.task_id = t.task_id
                           AND l.element = t.element AND l.attempt = t.attempt AND l.status = 'ERROR'
           WHERE f.count > 0 AND t.workflow_id = :workflow_id AND t.batch_id = :batch_id AND t.task_id = :task_id
             AND t.element >= 0 AND t.element < :elements AND t.status = 'ERROR'
           ORDER BY t.element LIMIT 1
      ) e ON true
""")


def failed_elements(tx: Connection, key: TaskKey, elements: int) -> FailedElements:
    """Those of the first so many elements of a task that have failed or were cancelled."""
    return FailedElements(*tx.execute(_FAILED, {**key.columns, "elements": elements}).one())


_LOCK_ELEMENTS = text(f"""
    WITH locked AS (
        SELECT FROM batch_task WHERE {_TASK} AND element >= 0 ORDER BY position, element FOR NO KEY UPDATE
    )
    SELECT count(*) FROM locked
""")

_AWAIT = text(f"""
    UPDATE batch_task
       SET token = NULL, lease_until = NULL, due_at = NULL, awaits_elements = true,
           elements = CASE WHEN reset THEN 0 ELSE :elements END, waits_on = CASE WHEN NOT reset THEN :elements - 1 END,
           changed_at = clock_timestamp()
     WHERE {_WHOLE} AND status IN {any_of(GO_ON.sources)} AND token = CAST(:token AS uuid)
    RETURNING elements
""")

# Rows that an earlier list has left behind begin anew, as soon as nothing of their last attempt runs outside.
_INSERT = text(f"""
    INSERT INTO batch_task AS e (workflow_id, batch_id, task_id, element, position, version_id, item, status,
                                 publish_after)
    SELECT m.workflow_id, m.batch_id, m.task_id, v.number - 1, m.position - 1, m.version_id, v.item, 'NEW',
           clock_timestamp() + {FIRST_REPUBLISH_SECONDS} * interval '1 second'
      FROM batch_task m
     CROSS JOIN LATERAL jsonb_array_elements(:items) WITH ORDINALITY AS v (item, number)
     WHERE m.workflow_id = :workflow_id AND m.batch_id = :batch_id AND m.task_id = :task_id AND m.element = {WHOLE}
        ON CONFLICT (workflow_id, batch_id, task_id, element) DO UPDATE
       SET status = '{RESET.target}', item = excluded.item, position = excluded.position,
           version_id = excluded.version_id, retried = 0, skip_cause = NULL, skipped_because_of = NULL,
           publish_after = NULL, publishes = 0, due_at = NULL, changed_at = clock_timestamp()
     WHERE e.status IN {any_of(TERMINAL)}
""").bindparams(bindparam("items", type_=JSONB))


def expand(tx: Connection, key: TaskKey, token: str, items: Sequence[Any]) -> int | None:
    """Let the task, whose attempt is this token's, await an element for each item; returns how many those are.

    None, and nothing has changed, when the attempt is somebody else's. A task that is to read its list anew has no
    elements now.
    """
    earlier: int = tx.execute(_LOCK_ELEMENTS, key.columns).scalar_one()
    row = tx.execute(_AWAIT, {**key.columns, "token": token, "elements": len(items)}).one_or_none()
    if row is None or not row.elements:
        return None if row is None else 0
    tx.execute(_INSERT, {**key.columns, "items": list(items)})
    if earlier:
        release_elements(tx, key, range(len(items)))
    analyze_if_outgrown(tx, ["batch_task"], len(items))
    return len(items)


_RELEASE = text(f"""
    UPDATE batch_task
       SET status = '{RELEASE.target}', due_at = NULL, publishes = 0, changed_at = clock_timestamp(),
           publish_after = clock_timestamp() + {FIRST_REPUBLISH_SECONDS} * interval '1 second'
     WHERE {_TASK} AND element = ANY(:elements) AND element >= 0 AND status IN {any_of(RELEASE.sources)}
       AND NOT ending AND (due_at IS NULL OR due_at <= clock_timestamp())
    RETURNING element
""")


def release_elements(tx: Connection, key: TaskKey, elements: Sequence[int]) -> Sequence[int]:
    """Let those of these elements of a task start that wait for nothing any more; returns them in order."""
    return sorted(tx.execute(_RELEASE, {**key.columns, "elements": list(elements)}).scalars())


_DROP = text(f"""
    UPDATE batch_task
       SET status = '{DROP.target}', due_at = NULL, publish_after = NULL, publishes = 0, changed_at = clock_timestamp()
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = ANY(:task_ids)
       AND element BETWEEN :first AND :last AND status IN {any_of(DROP.sources)}
""")


def drop_elements(tx: Connection, batch: BatchKey, task_ids: Sequence[int], span: Span = ALL_ELEMENTS) -> None:
    """Cancel those of these elements that nobody works on; their list is to be read anew."""
    tx.execute(_DROP, {**batch.columns, "task_ids": list(task_ids), **span._asdict()})


_RERUN_FAILED = text(f"""
    UPDATE batch_task
       SET status = '{RERUN.target}', retried = 0, changed_at = clock_timestamp()
     WHERE {_TASK} AND element >= 0 AND element < :elements AND status IN {any_of(FAILURES)}
    RETURNING element
""")


def rerun_failed_elements(tx: Connection, key: TaskKey, elements: int) -> Sequence[int]:
    """Let those of the first so many elements that have failed wait for a new attempt; which those are."""
    return sorted(tx.execute(_RERUN_FAILED, {**key.columns, "elements": elements}).scalars())


_AWAIT_AGAIN = text(f"""
    WITH again AS (
        UPDATE batch_task
           SET status = '{AWAIT_AGAIN.target}', attempt = attempt + 1, awaits_elements = true, waits_on = NULL,
               skip_cause = NULL, skipped_because_of = NULL, takeovers = 0, polls = 0, changed_at = clock_timestamp()
         WHERE {_WHOLE} AND elements IS NOT NULL AND status IN {any_of(AWAIT_AGAIN.sources)}
        RETURNING workflow_id, batch_id, task_id, element, attempt
    )
    INSERT INTO task_log (workflow_id, batch_id, task_id, element, attempt, status)
    SELECT workflow_id, batch_id, task_id, element, attempt, 'PROCESSING' FROM again
""")


def await_elements_again(tx: Connection, key: TaskKey) -> None:
    """Open another attempt of a task that has ended, which keeps its elements and awaits them again."""
    tx.execute(_AWAIT_AGAIN, key.columns)
