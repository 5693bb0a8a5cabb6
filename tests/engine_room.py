"""An engine on a real database, for tests: workflows in a line, a kind that does as it is told, messages on a list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from database.keys import BatchKey, TaskKey
from database.sessions import Database
from database.workflows import NewTask, NewVersion, StoredVersion, current_version, find_task_by_name, store_version
from run.engine.batch_identity import join_batch_by_id
from run.engine.life import TaskLife
from run.errors import PermanentFailure, Unavailable
from run.kinds.kind import Finished, Kind, KindConfig, Work
from run.workflows.definition import TriggerRule


class ToldConfig(KindConfig):
    """No keys: what a task does is told by the test."""


class Told(Kind[ToldConfig]):
    """Does what the test has told for the task's name; nothing unless told otherwise."""

    name = "told"
    config = ToldConfig

    def __init__(self) -> None:
        self.works: list[Work] = []
        self.orders: dict[str, Callable[[Work], Mapping[str, Any] | None]] = {}
        self._lock = threading.Lock()

    def start(self, config: ToldConfig, work: Work) -> Finished:
        with self._lock:
            self.works.append(work)
        order = self.orders.get(work.task)
        return Finished(order(work) or {}) if order else Finished()

    def starts(self, task: str) -> int:
        """How many times the work of this task has begun."""
        return sum(work.task == task for work in self.works)


class ToldFile(Told):
    """The same, waiting for a file first."""

    name = "told_file"
    takes_file = True


def failing(message: str) -> Callable[[Work], None]:
    """An order to fail."""

    def fail(_work: Work) -> None:
        raise PermanentFailure(message)

    return fail


class ListPublisher:
    """Keeps what is published, as a topic would, until a test delivers it; may be told that Pub/Sub is down."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.is_down = False

    def publish(self, messages: Sequence[Mapping[str, Any]]) -> None:
        if self.is_down:
            raise Unavailable("Pub/Sub does not answer")
        self.messages.extend(dict(message) for message in messages)

    def close(self) -> None:
        """Nothing is under way."""


@dataclass
class EngineRoom:
    """Everything that a test of the engine needs; two of them on one database are two instances of the service."""

    database: Database
    told: Told = field(default_factory=Told)
    told_file: ToldFile = field(default_factory=ToldFile)
    publisher: ListPublisher = field(default_factory=ListPublisher)

    def __post_init__(self) -> None:
        kinds: dict[str, Kind[Any]] = {"told": self.told, "told_file": self.told_file}
        self.life = TaskLife(self.database, kinds, self.publisher, {"landing_bucket": "landing"})

    def apply(
        self,
        needs: Mapping[str, Sequence[str]],
        *,
        workflow: str = "cake",
        batch: str = "{period}",
        details: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> StoredVersion:
        """Store a workflow; the tasks of `needs` must stand in topological order."""
        new = NewVersion(
            workflow=workflow,
            batch_template=batch,
            params={},
            definition={"needs": {name: list(parents) for name, parents in needs.items()}},
            digest=f"{needs}{details}{batch}",
            tasks=[_task(name, parents, (details or {}).get(name, {})) for name, parents in needs.items()],
        )
        return self.database.transact(lambda tx: store_version(tx, new))

    def start(self, batch_id: str = "2024-03", workflow: str = "cake") -> BatchKey:
        """Open a batch and publish the tasks that may start."""

        def join(tx: Any) -> Any:
            current = current_version(tx, workflow)
            assert current is not None
            return join_batch_by_id(tx, current, batch_id, {})

        joined = self.database.transact(join)
        self.life.publish(joined.key.batch_id, joined.released)
        key: BatchKey = joined.key
        return key

    def key(self, task: str, batch_id: str = "2024-03", workflow: str = "cake") -> TaskKey:
        found = self.database.transact(lambda tx: find_task_by_name(tx, workflow, task))
        assert found is not None, task
        return TaskKey(found.workflow_id, batch_id, found.task_id)

    def execute(self, task: str, batch_id: str = "2024-03", workflow: str = "cake") -> None:
        """Deliver the message of one task."""
        self.life.execute(self.key(task, batch_id, workflow))

    def deliver_all(self) -> None:
        """Deliver messages, and those that they cause, until none is left."""
        while self.publisher.messages:
            message = self.publisher.messages.pop(0)
            workflow_id = self.rows("SELECT workflow_id FROM task WHERE task_id = :t", t=message["task_id"])[0][0]
            self.life.execute(TaskKey(workflow_id, message["batch_id"], message["task_id"]))

    def published(self) -> list[str]:
        """The names of the tasks whose messages wait on the list."""
        names = dict(map(tuple, self.rows("SELECT task_id, name FROM task")))
        return [names[message["task_id"]] for message in self.publisher.messages]

    def statuses(self, batch_id: str = "2024-03", workflow: str = "cake") -> dict[str, str]:
        """The status of each task, a skipped one with its cause."""
        rows = self.rows(
            "SELECT t.name, b.status || COALESCE(':' || b.skip_cause, '') FROM batch_task b "
            "JOIN task t USING (task_id) JOIN workflow w ON w.workflow_id = t.workflow_id "
            "WHERE w.name = :w AND b.batch_id = :b ORDER BY b.position",
            w=workflow,
            b=batch_id,
        )
        return dict(map(tuple, rows))

    def batch_status(self, batch_id: str = "2024-03") -> str:
        status: str = self.rows("SELECT status FROM task_batch WHERE batch_id = :b", b=batch_id)[0][0]
        return status

    def log(self, task: str) -> list[tuple[Any, ...]]:
        """(attempt, status, error) of each attempt of a task."""
        return self.rows(
            "SELECT attempt, status, error FROM task_log JOIN task t USING (task_id) "
            "WHERE t.name = :n ORDER BY attempt",
            n=task,
        )

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Whatever a test wants to see, by SQL."""
        return self.database.transact(lambda tx: [tuple(row) for row in tx.execute(text(statement), values)])

    def change(self, statement: str, **values: Any) -> int:
        """Whatever a test wants to be otherwise, by SQL; the number of rows that it changed."""
        return self.database.transact(lambda tx: tx.execute(text(statement), values).rowcount)


def _task(name: str, needs: Sequence[str], details: Mapping[str, Any]) -> NewTask:
    return NewTask(
        name=name,
        kind=details.get("kind", "told"),
        needs=tuple(needs),
        rule=details.get("rule", TriggerRule.all_success),
        allow_failure=details.get("allow_failure", False),
        disabled=details.get("disabled", False),
        success_may_skip=details.get("success_may_skip", False),
        lease_seconds=details.get("lease_seconds", 60),
        file=details.get("file"),
        config={},
    )
