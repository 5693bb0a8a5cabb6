"""What tasks have returned, for those that come after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from database.keys import TaskKey


@dataclass(frozen=True)
class StoredResult:
    """A JSON value, or the object that holds it: {"bucket": ..., "name": ..., "generation": ...}."""

    value: Any
    place: Mapping[str, Any] | None


# What a person has marked has no attempt that succeeded, and so no result.
_OF_PARENTS = text("""
    SELECT DISTINCT ON (t.name) t.name, COALESCE(l.result, l.details) AS value, l.result_place AS place
      FROM task_dependency d
      JOIN task t ON t.task_id = d.parent_id
      JOIN batch_task p ON p.workflow_id = :workflow_id AND p.batch_id = :batch_id AND p.task_id = d.parent_id
      JOIN task_log l ON l.workflow_id = p.workflow_id AND l.batch_id = p.batch_id AND l.task_id = p.task_id
                     AND l.status = 'SUCCESS'
     WHERE d.version_id = :version_id AND d.child_id = :task_id AND t.name = ANY(:names)
       AND (:even_former OR (p.status = 'SUCCESS' AND l.attempt = p.attempt))
     ORDER BY t.name, l.attempt DESC
""")


def results_of_parents(
    tx: Connection, key: TaskKey, version_id: int, names: Sequence[str], *, even_former: bool
) -> dict[str, StoredResult]:
    """The results of those of these parents that are SUCCESS, by their names; or what each has last returned."""
    given = {**key.columns, "version_id": version_id, "names": list(names), "even_former": even_former}
    return {row.name: StoredResult(row.value, row.place) for row in tx.execute(_OF_PARENTS, given)}
