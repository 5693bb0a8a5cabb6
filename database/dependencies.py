"""What a dependency check reads: the rows that it locks, and then how their parents have ended.

Locks are taken in ascending `position`, in statements of their own: what such a statement waits for becomes visible
only to the statements after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, TextClause, text

from database.errors import OutOfDate
from database.keys import WHOLE, BatchKey, TaskKey
from database.prepared import Prepared
from database.statuses import FAILURES, OPEN, SkipCause, Status, any_of


@dataclass(frozen=True)
class Locked:
    """A batch task whose row this transaction has locked."""

    task_id: int
    position: int
    status: Status
    skip_cause: SkipCause | None
    attempt: int
    rule: str
    disabled: bool
    #: How many parents it has in its batch's version.
    parents: int
    #: One of its parents that was open when it was last looked for.
    waits_on: int | None
    awaits_file: bool
    #: Whether the outside work of an earlier attempt may still run.
    ending: bool
    #: Whether no retry keeps it waiting.
    is_due: bool
    awaits_completion: bool
    version_id: int
    #: Whether it has elements, or will have.
    is_mapped: bool
    #: How many elements it has had since its list was last read.
    elements: int | None
    awaits_elements: bool

    @property
    def lacks_nothing(self) -> bool:
        """Whether it may start as soon as its rule is met."""
        return not self.awaits_file and not self.ending and self.is_due


_LOCKED_COLUMNS = """
    c.task_id, c.position, c.status, c.skip_cause, c.attempt, tv.rule, tv.disabled, tv.parents, c.waits_on,
    c.awaits_file, c.ending, c.due_at IS NULL OR c.due_at <= clock_timestamp() AS is_due,
    c.awaits_completion, b.version_id, tv.map IS NOT NULL AS is_mapped, c.elements, c.awaits_elements
"""

_LOCK_TASKS = Prepared(
    "lock_tasks",
    f"""
    SELECT {_LOCKED_COLUMNS}
      FROM task_batch b
      JOIN batch_task c ON c.workflow_id = b.workflow_id AND c.batch_id = b.batch_id
      JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = c.task_id
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id AND c.task_id = ANY(:task_ids)
       AND c.element = :element
     ORDER BY c.position FOR NO KEY UPDATE OF c
""",
)

_LOCK_CHILDREN = Prepared(
    "lock_children",
    f"""
    SELECT {_LOCKED_COLUMNS}
      FROM task_batch b
      JOIN task_dependency d ON d.version_id = b.version_id AND d.parent_id = :task_id
      JOIN batch_task c ON c.workflow_id = b.workflow_id AND c.batch_id = b.batch_id AND c.task_id = d.child_id
                       AND c.element = {WHOLE}
      JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = d.child_id
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id
     ORDER BY c.position FOR NO KEY UPDATE OF c
""",
)

_BELOW = """
    below (task_id) AS (
        SELECT unnest(CAST(:task_ids AS bigint[]))
        UNION
        SELECT d.child_id FROM below
          JOIN task_batch b ON b.workflow_id = :workflow_id AND b.batch_id = :batch_id
          JOIN task_dependency d ON d.version_id = b.version_id AND d.parent_id = below.task_id
    )
"""

_LOCK_DESCENDANTS = Prepared(
    "lock_descendants",
    f"""
    WITH RECURSIVE {_BELOW}
    SELECT {_LOCKED_COLUMNS}
      FROM task_batch b
      JOIN batch_task c ON c.workflow_id = b.workflow_id AND c.batch_id = b.batch_id
      JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = c.task_id
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id AND c.task_id IN (SELECT task_id FROM below)
       AND c.element = {WHOLE}
     ORDER BY c.position FOR NO KEY UPDATE OF c
""",
)


# The elements of a mapped task stand right before it. They are many, so only the tasks come back, each with how many of
# its elements are locked.
def _with_elements(which: str, below: str = "") -> str:
    return f"""
        WITH RECURSIVE {below} locked AS (
            SELECT {_LOCKED_COLUMNS}, c.element
              FROM task_batch b
              JOIN batch_task c ON c.workflow_id = b.workflow_id AND c.batch_id = b.batch_id
              JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = c.task_id
             WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id AND {which}
             ORDER BY c.position, c.element FOR NO KEY UPDATE OF c
        )
        SELECT l.*, CASE WHEN l.elements > 0 THEN (
                   SELECT count(*) FROM locked e
                    WHERE e.task_id = l.task_id AND e.element >= 0 AND e.element < l.elements
               ) ELSE 0 END AS locked_elements
          FROM locked l WHERE l.element = {WHOLE} ORDER BY l.position
    """


_LOCK_WITH_ELEMENTS = text(_with_elements("c.task_id = ANY(:task_ids)"))
_LOCK_DESCENDANTS_WITH_ELEMENTS = text(_with_elements("c.task_id IN (SELECT task_id FROM below)", f"{_BELOW},"))
_LOCK_BATCH_TASKS = text(_with_elements("true"))


def lock_tasks(tx: Connection, batch: BatchKey, task_ids: Sequence[int]) -> list[Locked]:
    """Lock these tasks of the batch, whatever their status, in ascending position."""
    return _locked(_LOCK_TASKS.execute(tx, {**batch.columns, "task_ids": list(task_ids), "element": WHOLE}))


def lock_one(tx: Connection, key: TaskKey) -> Locked | None:
    """Lock one task, or one element of it, whatever its status; None when the batch's version has none such."""
    found = _locked(_LOCK_TASKS.execute(tx, {**key.columns, "task_ids": [key.task_id]}))
    return found[0] if found else None


def lock_children(tx: Connection, key: TaskKey) -> list[Locked]:
    """Lock the children of a task, whatever their status, in ascending position."""
    return _locked(_LOCK_CHILDREN.execute(tx, key.columns))


def lock_descendants(tx: Connection, key: TaskKey) -> list[Locked]:
    """Lock a task and everything below it, whatever their status, in ascending position; the task itself is first."""
    return lock_with_descendants(tx, key.batch, [key.task_id])


def lock_with_descendants(tx: Connection, batch: BatchKey, task_ids: Sequence[int]) -> list[Locked]:
    """Lock these tasks and everything below them, whatever their status, in ascending position."""
    return _locked(_LOCK_DESCENDANTS.execute(tx, {**batch.columns, "task_ids": list(task_ids)}))


def lock_with_elements(tx: Connection, batch: BatchKey, task_ids: Sequence[int]) -> list[Locked]:
    """Lock these tasks and, before each that is mapped, its elements, for whoever may change those too."""
    return _locked_with_elements(tx, _LOCK_WITH_ELEMENTS, {**batch.columns, "task_ids": list(task_ids)})


def lock_descendants_with_elements(tx: Connection, key: TaskKey) -> list[Locked]:
    """Lock a task and everything below it, each with its elements; the task itself is first."""
    given = {**key.batch.columns, "task_ids": [key.task_id]}
    return _locked_with_elements(tx, _LOCK_DESCENDANTS_WITH_ELEMENTS, given)


def lock_batch_tasks(tx: Connection, batch: BatchKey) -> list[Locked]:
    """Lock every task of the batch's version, and its elements, whatever their status, in ascending position."""
    return _locked_with_elements(tx, _LOCK_BATCH_TASKS, batch.columns)


def _locked_with_elements(tx: Connection, statement: TextClause, given: Mapping[str, Any]) -> list[Locked]:
    """Raises OutOfDate when a task was waited for that was being given elements, which the statement cannot see.

    To lock them now, after their task, would be to wait in a circle with those of them that end.
    """
    rows = tx.execute(statement, given).all()
    if any(row.locked_elements < (row.elements or 0) for row in rows):
        raise OutOfDate("a task has new elements")
    return _locked(rows)


def _locked(rows: Iterable[Any]) -> list[Locked]:
    found = []
    for row in rows:
        columns = row._asdict()
        columns.pop("element", None)
        columns.pop("locked_elements", None)
        columns["status"] = Status(row.status)
        columns["skip_cause"] = None if row.skip_cause is None else SkipCause(row.skip_cause)
        found.append(Locked(**columns))
    return found


@dataclass
class ParentCounts:
    """How the parents of one task have ended so far; `failed` and `skipped` do not overlap."""

    all: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    finished: int = 0
    #: The failed task that is to blame: of several, the one with the smallest id.
    culprit: int | None = None


_FAILED = f"(p.status IN {any_of(FAILURES)} OR p.skip_cause = '{SkipCause.UPSTREAM_FAILED}')"

_PARENT_COUNTS = Prepared(
    "parent_counts",
    f"""
    SELECT d.child_id,
           count(*) AS "all",
           count(*) FILTER (WHERE p.status = 'SUCCESS') AS succeeded,
           count(*) FILTER (WHERE {_FAILED}) AS failed,
           count(*) FILTER (WHERE p.status = 'SKIPPED' AND NOT {_FAILED}) AS skipped,
           count(*) FILTER (WHERE p.status NOT IN {any_of(OPEN)}) AS finished,
           min(COALESCE(p.skipped_because_of, p.task_id)) FILTER (WHERE {_FAILED}) AS culprit
      FROM task_dependency d
      JOIN batch_task p ON p.workflow_id = :workflow_id AND p.batch_id = :batch_id AND p.task_id = d.parent_id
                       AND p.element = {WHOLE}
     WHERE d.version_id = :version_id AND d.child_id = ANY(:task_ids)
     GROUP BY d.child_id
""",
)


def count_parents(tx: Connection, batch: BatchKey, version_id: int, task_ids: Sequence[int]) -> dict[int, ParentCounts]:
    """The outcomes of the parents of each of these tasks, which the caller has locked in an earlier statement."""
    counts = {task_id: ParentCounts() for task_id in task_ids}
    given = {**batch.columns, "version_id": version_id, "task_ids": list(task_ids)}
    for row in _PARENT_COUNTS.execute(tx, given):
        counts[row[0]] = ParentCounts(*row[1:])
    return counts


_WATCH_OPEN_PARENT = Prepared(
    "watch_open_parent",
    f"""
    UPDATE batch_task c SET waits_on = w.parent_id
      FROM unnest(CAST(:task_ids AS bigint[])) AS v (task_id)
     CROSS JOIN LATERAL (
           SELECT d.parent_id
             FROM task_dependency d
             JOIN batch_task p
               ON p.workflow_id = :workflow_id AND p.batch_id = :batch_id AND p.task_id = d.parent_id
              AND p.element = {WHOLE}
            WHERE d.version_id = :version_id AND d.child_id = v.task_id AND p.status IN {any_of(OPEN)}
            ORDER BY d.parent_id DESC LIMIT 1
           ) w
     WHERE c.workflow_id = :workflow_id AND c.batch_id = :batch_id AND c.task_id = v.task_id
       AND c.element = {WHOLE} AND c.status = '{Status.WAITING}'
    RETURNING c.task_id
""",
)


def watch_open_parent(tx: Connection, batch: BatchKey, version_id: int, task_ids: Sequence[int]) -> set[int]:
    """Let each of these locked, waiting tasks remember one parent that is open; those that have none are left out.

    Whoever ends that parent locks the task and then sees everything that has ended meanwhile; so nobody else needs to
    count the parents of a task that remembers an open one. Of several, the last is taken, as it will likely end last.
    """
    given = {**batch.columns, "version_id": version_id, "task_ids": list(task_ids)}
    return {row.task_id for row in _WATCH_OPEN_PARENT.execute(tx, given)}


_CHILDREN_OF = Prepared(
    "children_of",
    """
    SELECT parent_id, child_id FROM task_dependency
     WHERE version_id = :version_id AND parent_id = ANY(:task_ids)
""",
)


def children_of(tx: Connection, version_id: int, task_ids: Sequence[int]) -> dict[int, list[int]]:
    """The children of each of these tasks in one version."""
    children: dict[int, list[int]] = {}
    for row in _CHILDREN_OF.execute(tx, {"version_id": version_id, "task_ids": list(task_ids)}):
        children.setdefault(row.parent_id, []).append(row.child_id)
    return children
