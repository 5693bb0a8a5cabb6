"""What tasks have returned, for those that come after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from database.keys import WHOLE, TaskKey
from database.statuses import OPEN, any_of


@dataclass(frozen=True)
class StoredResult:
    """A JSON value, or the object that holds it: {"bucket": ..., "name": ..., "generation": ...}."""

    value: Any
    place: Mapping[str, Any] | None


@dataclass(frozen=True)
class ResultOfElements:
    """The result of a mapped task: those of its elements in order, None of each that has none."""

    task: TaskKey
    elements: int
    #: How much room the results take that are in the database, in bytes.
    size: int


# What a person has marked has no attempt that succeeded, and so no result. One that is being run again has that of its
# last attempt: a child may be about to start. An attempt that has begun keeps what it had: of each parent, the last
# attempt before its own begin, and not what has become of the parent since. The list of a mapped task has gaps while
# elements of it run again, which is good enough only for who asks after what was begun with it.
_OF_PARENTS = text(f"""
    WITH own AS (
        SELECT l.started_at FROM task_log l
         WHERE l.workflow_id = :workflow_id AND l.batch_id = :batch_id AND l.task_id = :task_id
           AND l.element = :element AND l.attempt = :begun
    )
    SELECT DISTINCT ON (t.name) t.name, COALESCE(l.result, l.details) AS value, l.result_place AS place,
           p.task_id, tv.map IS NOT NULL AS is_mapped, p.elements
      FROM task_dependency d
      JOIN task t ON t.task_id = d.parent_id
      JOIN batch_task p ON p.workflow_id = :workflow_id AND p.batch_id = :batch_id AND p.task_id = d.parent_id
                       AND p.element = {WHOLE}
      JOIN task_version tv ON tv.version_id = d.version_id AND tv.task_id = d.parent_id
      JOIN task_log l ON l.workflow_id = p.workflow_id AND l.batch_id = p.batch_id AND l.task_id = p.task_id
                     AND l.element = {WHOLE} AND l.status = 'SUCCESS'
     WHERE d.version_id = :version_id AND d.child_id = :task_id AND t.name = ANY(:names)
       AND ((p.status = 'SUCCESS' AND l.attempt = p.attempt)
            OR (p.status IN {any_of(OPEN)} AND tv.map IS NULL AND NOT EXISTS (
                SELECT FROM task_log n
                 WHERE n.workflow_id = l.workflow_id AND n.batch_id = l.batch_id AND n.task_id = l.task_id
                   AND n.element = {WHOLE} AND n.attempt > l.attempt AND n.status <> 'PROCESSING'
            ))
            OR (EXISTS (SELECT FROM own) AND (tv.map IS NULL OR :with_gaps) AND NOT EXISTS (
                SELECT FROM task_log n, own
                 WHERE n.workflow_id = l.workflow_id AND n.batch_id = l.batch_id AND n.task_id = l.task_id
                   AND n.element = {WHOLE} AND n.attempt > l.attempt AND n.started_at < own.started_at
            )))
     ORDER BY t.name, l.started_at < (SELECT own.started_at FROM own) DESC, l.attempt DESC
""")


# Without a number of elements, their task is to read its list anew; all that it has had are meant then.
_SUCCEEDED = """
      FROM batch_task e
      LEFT JOIN task_log l
        ON l.workflow_id = e.workflow_id AND l.batch_id = e.batch_id AND l.task_id = e.task_id
       AND l.element = e.element AND l.attempt = e.attempt AND l.status = 'SUCCESS' AND e.status = 'SUCCESS'
     WHERE e.workflow_id = :workflow_id AND e.batch_id = :batch_id AND e.task_id = :task_id
       AND e.element >= 0 AND e.element < COALESCE(:elements, 2147483647)
"""

_SIZE = text(f"""
    SELECT count(*) AS elements,
           CAST(COALESCE(sum(octet_length(CAST(COALESCE(l.result, l.details) AS text))), 0) AS bigint) AS size
      {_SUCCEEDED}
""")

_OF_ELEMENTS = text(f"""
    SELECT COALESCE(l.result, CASE WHEN l.result_place IS NULL THEN l.details END) AS value, l.result_place AS place
      {_SUCCEEDED} AND e.element BETWEEN :first AND :last
     ORDER BY e.element
""")


def results_of_parents(
    tx: Connection,
    key: TaskKey,
    version_id: int,
    names: Sequence[str],
    *,
    begun: int | None = None,
    with_gaps: bool = False,
) -> dict[str, StoredResult | ResultOfElements]:
    """The results of those of these parents that are SUCCESS, by their names; or were when attempt `begun` began.

    `with_gaps`: even those of a mapped task some of whose elements run again.
    """
    given = {**key.columns, "version_id": version_id, "names": list(names), "begun": begun, "with_gaps": with_gaps}
    return {row.name: _stored(tx, key, row) for row in tx.execute(_OF_PARENTS, given).all()}


def _stored(tx: Connection, key: TaskKey, row: Any) -> StoredResult | ResultOfElements:
    if not row.is_mapped:
        return StoredResult(row.value, row.place)
    task = TaskKey(key.workflow_id, key.batch_id, row.task_id)
    found = tx.execute(_SIZE, {**task.columns, "elements": row.elements}).one()
    return ResultOfElements(task, found.elements, found.size)


def results_of_elements(tx: Connection, key: TaskKey, first: int, last: int) -> list[StoredResult]:
    """What these elements of a task have returned, in order; None where one did not succeed."""
    given = {**key.columns, "elements": last + 1, "first": first, "last": last}
    return [StoredResult(row.value, row.place) for row in tx.execute(_OF_ELEMENTS, given)]
