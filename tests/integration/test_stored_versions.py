"""What a definition says is what the engine finds in its tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from database.sessions import Database
from database.workflows import current_version, file_tasks, store_version
from run.engine.definitions import new_version
from run.workflows.definition import FileTrigger, TaskDefinition, WorkflowDefinition

LIMITS = "max_takeovers, retries, retry_delay_seconds, retry_max_delay_seconds, timeout_seconds, awaits_completion"


def store(database: Database, *tasks: TaskDefinition, **keys: Any) -> None:
    definition = WorkflowDefinition(name="w", batch="{day}", tasks=tasks, **keys)
    database.transact(lambda tx: store_version(tx, new_version(definition)))


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    return database.transact(lambda tx: [tuple(row) for row in tx.execute(text(statement))])


def test_the_limits_of_a_task_are_stored_each_in_its_column(database: Database) -> None:
    limits = {"max_takeovers": 1, "retries": 2, "retry_delay_seconds": 3, "retry_max_delay_seconds": 4}
    limited = TaskDefinition(name="limited", kind="k", timeout_seconds=5, awaits_completion=True, **limits)
    store(database, limited, TaskDefinition(name="plain", kind="k"))
    assert rows(database, f"SELECT {LIMITS} FROM task_version ORDER BY position") == [
        (1, 2, 3, 4, 5, True),
        (3, 0, 30, 900, None, False),
    ]


def test_a_deadline_is_stored_with_the_version_and_known_to_whoever_opens_a_batch(database: Database) -> None:
    load = TaskDefinition(name="load", kind="k", file=FileTrigger(pattern="gs://b/(?P<day>.*)"))
    store(database, load)
    store(database, load, deadline_seconds=7200, on_missed_deadline="cancel")
    assert rows(database, "SELECT deadline_seconds, on_missed_deadline FROM workflow_version ORDER BY version") == [
        (None, "warn"),
        (7200, "cancel"),
    ]
    current = database.transact(lambda tx: current_version(tx, "w"))
    assert current is not None
    assert (current.version, current.deadline_seconds) == (2, 7200)
    [file_task] = database.transact(file_tasks)
    assert (file_task.current, file_task.task) == (current, "load")


def test_a_task_knows_how_many_parents_it_has(database: Database) -> None:
    tasks = [TaskDefinition(name=name, kind="k") for name in "ab"]
    store(database, *tasks, TaskDefinition(name="c", kind="k", needs=("a", "b")))
    assert rows(database, "SELECT parents FROM task_version ORDER BY position") == [(0,), (0,), (2,)]
