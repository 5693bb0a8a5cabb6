"""Workflows and their versions: stored once, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.prepared import Prepared
from database.statistics import analyze_if_outgrown


@dataclass(frozen=True)
class NewTask:
    """One task of a version that is to be stored; its place in the sequence is its position."""

    name: str
    kind: str
    needs: tuple[str, ...]
    rule: str
    allow_failure: bool
    disabled: bool
    success_may_skip: bool
    lease_seconds: int
    file: Mapping[str, Any] | None
    config: Mapping[str, Any]
    max_takeovers: int = 3
    retries: int = 0
    retry_delay_seconds: int = 30
    retry_max_delay_seconds: int = 900
    timeout_seconds: int | None = None
    awaits_completion: bool = False
    condition: str | None = None
    reads_results: Sequence[str] = ()
    #: The channels by which people are told of this task itself, as JSON values.
    notify: Sequence[Mapping[str, Any]] = ()
    map: Mapping[str, Any] | None = None
    may_end_unwatched: bool = False


@dataclass(frozen=True)
class NewVersion:
    """A checked definition that is to be stored; `tasks` are in topological order."""

    workflow: str
    batch_template: str
    params: Mapping[str, Any]
    definition: Mapping[str, Any]
    digest: str
    tasks: Sequence[NewTask]
    deadline_seconds: int | None = None
    on_missed_deadline: str = "warn"
    #: The channels by which people are told of its batches, as JSON values.
    notify: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class StoredVersion:
    """Which version a definition has become, and whether it is new."""

    workflow: str
    version: int
    created: bool


_CREATE_WORKFLOW = text("INSERT INTO workflow (name) VALUES (:name) ON CONFLICT DO NOTHING")

_LOCK_WORKFLOW = text("SELECT workflow_id, version FROM workflow WHERE name = :name FOR NO KEY UPDATE")

# A statement of its own: the one that waits for the lock does not see what the other transaction has written.
_DIGEST = text("SELECT digest FROM workflow_version WHERE workflow_id = :workflow_id AND version = :version")

_CREATE_VERSION = text("""
    INSERT INTO workflow_version (workflow_id, version, batch_template, has_files, params, definition, digest,
                                  deadline_seconds, on_missed_deadline, notify)
    VALUES (:workflow_id, :version, :batch_template, :has_files, :params, :definition, :digest,
            :deadline_seconds, :on_missed_deadline, :notify)
    RETURNING version_id
""").bindparams(
    bindparam("params", type_=JSONB),
    bindparam("definition", type_=JSONB),
    bindparam("notify", type_=JSONB(none_as_null=True)),
)

_CREATE_TASKS = text("""
    INSERT INTO task (workflow_id, name) SELECT :workflow_id, unnest(CAST(:names AS text[])) ON CONFLICT DO NOTHING
""")

_TASK_IDS = text("SELECT name, task_id FROM task WHERE workflow_id = :workflow_id AND name = ANY(:names)")

_CREATE_TASK_VERSION = text("""
    INSERT INTO task_version (version_id, task_id, position, kind, rule, parents, allow_failure, disabled,
                              success_may_skip, may_end_unwatched, lease_seconds, max_takeovers, retries,
                              retry_delay_seconds, retry_max_delay_seconds, timeout_seconds, awaits_completion,
                              notify, condition, reads_results, map, file, config)
    VALUES (:version_id, :task_id, :position, :kind, :rule, :parents, :allow_failure, :disabled,
            :success_may_skip, :may_end_unwatched, :lease_seconds, :max_takeovers, :retries,
            :retry_delay_seconds, :retry_max_delay_seconds, :timeout_seconds, :awaits_completion,
            :notify, :condition, CAST(:reads_results AS text[]), :map, :file, :config)
""").bindparams(
    bindparam("notify", type_=JSONB(none_as_null=True)),
    bindparam("map", type_=JSONB(none_as_null=True)),
    bindparam("file", type_=JSONB(none_as_null=True)),
    bindparam("config", type_=JSONB),
)

# One statement for all: a version may have ten thousand edges.
_CREATE_DEPENDENCIES = text("""
    INSERT INTO task_dependency (version_id, parent_id, child_id, parent_position, child_position)
    SELECT :version_id, e.parent_id, e.child_id, e.parent_position, e.child_position
      FROM jsonb_to_recordset(:edges)
           AS e (parent_id bigint, child_id bigint, parent_position bigint, child_position bigint)
""").bindparams(bindparam("edges", type_=JSONB))

_MAKE_CURRENT = text("UPDATE workflow SET version = :version WHERE workflow_id = :workflow_id")


def store_version(tx: Connection, new: NewVersion) -> StoredVersion:
    """Store a definition as the newest version of its workflow, unless it is the newest one already.

    The workflow's row is locked first, so that two people who apply at once get one version each, one after the other.
    """
    tx.execute(_CREATE_WORKFLOW, {"name": new.workflow})
    workflow = tx.execute(_LOCK_WORKFLOW, {"name": new.workflow}).one()
    digest = tx.execute(_DIGEST, workflow._asdict()).scalar_one_or_none()
    if digest == new.digest:
        return StoredVersion(new.workflow, workflow.version, created=False)
    version = workflow.version + 1
    version_id = tx.execute(
        _CREATE_VERSION,
        {
            "workflow_id": workflow.workflow_id,
            "version": version,
            "batch_template": new.batch_template,
            "has_files": any(task.file is not None for task in new.tasks),
            "params": dict(new.params),
            "definition": dict(new.definition),
            "digest": new.digest,
            "deadline_seconds": new.deadline_seconds,
            "on_missed_deadline": new.on_missed_deadline,
            "notify": list(new.notify) or None,
        },
    ).scalar_one()
    _store_tasks(tx, workflow.workflow_id, version_id, new.tasks)
    tx.execute(_MAKE_CURRENT, {"workflow_id": workflow.workflow_id, "version": version})
    return StoredVersion(new.workflow, version, created=True)


def _store_tasks(tx: Connection, workflow_id: int, version_id: int, tasks: Sequence[NewTask]) -> None:
    names = [task.name for task in tasks]
    tx.execute(_CREATE_TASKS, {"workflow_id": workflow_id, "names": names})
    ids = {row.name: row.task_id for row in tx.execute(_TASK_IDS, {"workflow_id": workflow_id, "names": names})}
    positions = _positions(tasks)
    rows = [
        {
            # The other columns are called as the fields; those that are no columns have no place in the statement.
            **vars(task),
            "version_id": version_id,
            "task_id": ids[task.name],
            "position": positions[task.name],
            "parents": len(task.needs),
            "map": None if task.map is None else dict(task.map),
            "file": None if task.file is None else dict(task.file),
            "config": dict(task.config),
            "reads_results": list(task.reads_results),
            "notify": list(task.notify) or None,
        }
        for task in tasks
    ]
    tx.execute(_CREATE_TASK_VERSION, rows)
    edges = [
        {
            "parent_id": ids[parent],
            "child_id": ids[task.name],
            "parent_position": positions[parent],
            "child_position": positions[task.name],
        }
        for task in tasks
        for parent in task.needs
    ]
    if edges:
        tx.execute(_CREATE_DEPENDENCIES, {"version_id": version_id, "edges": edges})
    analyze_if_outgrown(tx, ["task_version", "task_dependency"], max(len(rows), len(edges)))


def _positions(tasks: Sequence[NewTask]) -> dict[str, int]:
    """The place of each task in the order of locks; a mapped task leaves the one before its own to its elements."""
    positions: dict[str, int] = {}
    free = 0
    for task in tasks:
        positions[task.name] = free if task.map is None else free + 1
        free = positions[task.name] + 1
    return positions


@dataclass(frozen=True)
class CurrentVersion:
    """The newest version of a workflow, which a new batch gets."""

    workflow_id: int
    workflow: str
    version_id: int
    version: int
    batch_template: str
    params: Mapping[str, Any]
    deadline_seconds: int | None = None


_CURRENT_COLUMNS = """
    w.workflow_id, w.name AS workflow, v.version_id, v.version, v.batch_template, v.params, v.deadline_seconds
"""

_CURRENT_VERSION = text(f"""
    SELECT {_CURRENT_COLUMNS}
      FROM workflow w JOIN workflow_version v ON v.workflow_id = w.workflow_id AND v.version = w.version
     WHERE w.name = :name
""")


def current_version(tx: Connection, workflow: str) -> CurrentVersion | None:
    """The newest version of the workflow of this name."""
    row = tx.execute(_CURRENT_VERSION, {"name": workflow}).one_or_none()
    return None if row is None else CurrentVersion(*row)


@dataclass(frozen=True)
class FileTask:
    """A task of a newest version that waits for a file."""

    current: CurrentVersion
    task_id: int
    task: str
    file: Mapping[str, Any]


_FILE_TASKS = text(f"""
    SELECT {_CURRENT_COLUMNS}, t.task_id, t.name AS task, tv.file
      FROM workflow w
      JOIN workflow_version v ON v.workflow_id = w.workflow_id AND v.version = w.version
      JOIN task_version tv ON tv.version_id = v.version_id AND tv.file IS NOT NULL
      JOIN task t ON t.task_id = tv.task_id
     ORDER BY w.workflow_id, tv.position
""")


def file_tasks(tx: Connection) -> list[FileTask]:
    """Every task of every newest version that waits for a file."""
    found = []
    for row in tx.execute(_FILE_TASKS):
        *current, task_id, task, file = row
        found.append(FileTask(CurrentVersion(*current), task_id, task, file))
    return found


@dataclass(frozen=True)
class NamedTask:
    """A task's ids and names, which never change."""

    workflow_id: int
    workflow: str
    task_id: int
    task: str


_NAMED = """
    SELECT w.workflow_id, w.name AS workflow, t.task_id, t.name AS task FROM task t JOIN workflow w USING (workflow_id)
     WHERE
"""
# The tasks of a workflow have numbers beside each other, and the messages of a batch come together.
_TASKS_FROM = Prepared("tasks_from", _NAMED + "t.task_id >= :task_id ORDER BY t.task_id LIMIT 100")
_TASK_BY_NAME = text(_NAMED + "w.name = :workflow AND t.name = :task")


def tasks_from(tx: Connection, task_id: int) -> list[NamedTask]:
    """The task with this id, if there is one, and those with the next ids: a hundred in all."""
    return [NamedTask(*row) for row in _TASKS_FROM.execute(tx, {"task_id": task_id})]


def find_task_by_name(tx: Connection, workflow: str, task: str) -> NamedTask | None:
    """The task of this name in the workflow of this name."""
    row = tx.execute(_TASK_BY_NAME, {"workflow": workflow, "task": task}).one_or_none()
    return None if row is None else NamedTask(*row)


_TASK_NAMES = text("SELECT task_id, name FROM task WHERE workflow_id = :workflow_id")


def names_of_tasks(tx: Connection, workflow_id: int) -> dict[int, str]:
    """The name of every task that any version of the workflow has had."""
    return {row.task_id: row.name for row in tx.execute(_TASK_NAMES, {"workflow_id": workflow_id})}
