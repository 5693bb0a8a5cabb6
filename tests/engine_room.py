"""An engine on a real database, for tests: workflows in a line, a kind that does as it is told, messages on a list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from database.completions import StoredCompletion
from database.keys import WHOLE, BatchKey, TaskKey
from database.sessions import Database
from database.workflows import NewTask, NewVersion, StoredVersion, current_version, find_task_by_name, store_version
from run.engine.batch_identity import join_batch_by_id
from run.engine.channels import Channels
from run.engine.completions import take_completion
from run.engine.definitions import with_unwatched_ends
from run.engine.due import DueTasks
from run.engine.life import TaskLife
from run.engine.moved import TaskOfBatch, Who
from run.engine.moves import Moves
from run.engine.notifier import Notifier
from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.handlers.sweep import SweepHandler
from run.kinds.kind import AwaitsCompletion, Finished, GoesOn, Kind, KindConfig, Progress, Work
from run.workflows.definition import TriggerRule


class ToldConfig(KindConfig):
    """What a task does is told by the test; `note` is a template for those that are about templates."""

    note: str = ""


class Told(Kind[ToldConfig]):
    """Does what the test has told for the task's name; nothing unless told otherwise."""

    name = "told"
    config = ToldConfig

    def __init__(self) -> None:
        self.works: list[Work] = []
        self.orders: dict[str, Callable[[Work], Mapping[str, Any] | Progress | None]] = {}
        self._lock = threading.Lock()

    def start(self, config: ToldConfig, work: Work) -> Progress:
        with self._lock:
            self.works.append(work)
        order = self.orders.get(work.task)
        told = order(work) if order else None
        return told if isinstance(told, Progress) else Finished(told or {})

    def starts(self, task: str) -> int:
        """How many times the work of this task has begun."""
        return sum(work.task == task for work in self.works)


class ToldFile(Told):
    """The same, waiting for a file first."""

    name = "told_file"
    takes_file = True
    takes_many_files = True


class ToldOutside(Told):
    """Begins work outside, which a test lets end; what is begun, asked for and ended is kept by the work's key."""

    name = "told_outside"

    def __init__(self) -> None:
        super().__init__()
        #: Work by its key: running, done, failed or cancelled; a key is begun once, however often it is asked for.
        self.jobs: dict[str, str] = {}
        self.polls: list[str] = []
        self.cancels: list[str] = []
        self.poll_after = 30.0
        #: Whether the other side confirms at once that a job has ended.
        self.confirms = True

    def start(self, config: ToldConfig, work: Work) -> Progress:
        super().start(config, work)
        self.jobs.setdefault(work.key, "running")
        return GoesOn({"job": work.key}, self.poll_after)

    def poll(self, config: ToldConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        self.polls.append(work.task)
        match self.jobs[handle["job"]]:
            case "done":
                return Finished({"job": handle["job"]})
            case "running":
                return GoesOn(handle, self.poll_after)
            case other:
                raise PassingFailure(f"the job is {other}")

    def cancel(self, config: ToldConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:
        self.cancels.append(work.task)
        if self.confirms:
            # Under its own key nothing can begin any more, either.
            self.jobs[work.key] = "cancelled"
        return self.confirms

    def end_jobs(self, how: str = "done") -> None:
        """Let everything that runs outside end."""
        self.jobs = {key: how if state == "running" else state for key, state in self.jobs.items()}


class ToldExternal(Told):
    """Waits for a completion message."""

    name = "told_external"
    timeout_seconds = 3600

    def awaits_completion(self, config: ToldConfig) -> bool:
        return True

    def start(self, config: ToldConfig, work: Work) -> Progress:
        super().start(config, work)
        return AwaitsCompletion()


def failing(message: str, *, passing: bool = False) -> Callable[[Work], None]:
    """An order to fail."""

    def fail(_work: Work) -> None:
        raise (PassingFailure if passing else PermanentFailure)(message)

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
    told_outside: ToldOutside = field(default_factory=ToldOutside)
    told_external: ToldExternal = field(default_factory=ToldExternal)
    publisher: ListPublisher = field(default_factory=ListPublisher)
    more_kinds: Sequence[Kind[Any]] = ()
    #: By which people are told; without them nobody is.
    channels: Channels | None = None

    def __post_init__(self) -> None:
        told: list[Kind[Any]] = [self.told, self.told_file, self.told_outside, self.told_external, *self.more_kinds]
        names = {"landing_bucket": "landing"}
        self.life = TaskLife(self.database, {kind.name: kind for kind in told}, self.publisher, names)
        self.moves = Moves(self.database, self.life)
        tell = [] if self.channels is None else [Notifier(self.database, self.life.results, self.channels, names).send]
        self.sweeps = SweepHandler(self.database, self.life, DueTasks(self.database, self.life, names, *tell), {})

    def apply(
        self,
        needs: Mapping[str, Sequence[str]],
        *,
        workflow: str = "cake",
        batch: str = "{period}",
        details: Mapping[str, Mapping[str, Any]] | None = None,
        **of_version: Any,
    ) -> StoredVersion:
        """Store a workflow; the tasks of `needs` must stand in topological order."""
        new = NewVersion(
            workflow=workflow,
            batch_template=batch,
            params={},
            definition={"needs": {name: list(parents) for name, parents in needs.items()}},
            digest=f"{needs}{details}{batch}{of_version}",
            **of_version,
            tasks=with_unwatched_ends(
                _task(name, parents, (details or {}).get(name, {})) for name, parents in needs.items()
            ),
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

    def key(self, task: str, batch_id: str = "2024-03", workflow: str = "cake", element: int | None = None) -> TaskKey:
        found = self.database.transact(lambda tx: find_task_by_name(tx, workflow, task))
        assert found is not None, task
        return TaskKey(found.workflow_id, batch_id, found.task_id, WHOLE if element is None else element)

    def execute(self, task: str, batch_id: str = "2024-03", workflow: str = "cake", element: int | None = None) -> None:
        """Deliver the message of one task, or of one element of it."""
        self.life.execute(self.key(task, batch_id, workflow, element))

    def deliver_all(self) -> None:
        """Deliver messages, and those that they cause, until none is left."""
        while self.publisher.messages:
            self.deliver_first()

    def deliver_first(self) -> None:
        """Deliver the message that was published first."""
        message = self.publisher.messages.pop(0)
        workflow_id = self.rows("SELECT workflow_id FROM task WHERE task_id = :t", t=message["task_id"])[0][0]
        element = message.get("element", WHOLE)
        self.life.execute(TaskKey(workflow_id, message["batch_id"], message["task_id"], element))

    def sweep(self) -> dict[str, int]:
        """Sweep once; what it did apart from what it did not."""
        return {what: count for what, count in self.sweeps.sweep().items() if count}

    def end(self, batch_id: str) -> None:
        """Let time pass, sweep and deliver until the batch has ended; an AssertionError when it does not."""
        for _ in range(100):
            self.pass_time(120)
            self.sweep()
            self.deliver_all()
            if self.batch_status(batch_id) != "PROCESSING":
                return
        raise AssertionError(f"batch {batch_id} does not end: {self.statuses(batch_id)}")

    def pass_time(self, seconds: float) -> None:
        """Let this much time pass for all rows; the clock itself is the database's."""
        back = "- :s * interval '1 second'"
        self.change(
            f"UPDATE batch_task SET publish_after = publish_after {back}, lease_until = lease_until {back}, "
            f"due_at = due_at {back}, quiet_at = quiet_at {back}",
            s=seconds,
        )
        self.change(f"UPDATE task_log SET started_at = started_at {back} WHERE status = 'PROCESSING'", s=seconds)
        self.change(f"UPDATE cancellation SET due_at = due_at {back}", s=seconds)
        self.change(f"UPDATE task_batch SET deadline_at = deadline_at {back}", s=seconds)
        self.change(f"UPDATE notification SET due_at = due_at {back}", s=seconds)
        self.change(f"UPDATE chore SET due_at = due_at {back}", s=seconds)

    def completed(
        self,
        task: str,
        status: str = "SUCCESS",
        attempt: int | None = None,
        result: Any = None,
        error: str | None = None,
        element: int | None = None,
    ) -> None:
        """Take a completion message, and publish what it has released."""
        key = self.key(task, element=element)
        said = StoredCompletion(status, result, error)
        checked = self.database.transact(lambda tx: take_completion(tx, key, attempt, said))
        self.life.publish(key.batch_id, checked.released, checked.elements)

    def task(
        self, task: str, batch_id: str = "2024-03", workflow: str = "cake", element: int | None = None
    ) -> TaskOfBatch:
        """How a person names a task of a batch."""
        return TaskOfBatch(workflow, batch_id, task, element)

    def published(self) -> list[str]:
        """The names of the tasks whose messages wait on the list."""
        names = dict(map(tuple, self.rows("SELECT task_id, name FROM task")))
        return [names[message["task_id"]] for message in self.publisher.messages]

    def statuses(self, batch_id: str = "2024-03", workflow: str = "cake") -> dict[str, str]:
        """The status of each task, a skipped one with its cause."""
        rows = self.rows(
            "SELECT t.name, b.status || COALESCE(':' || b.skip_cause, '') FROM batch_task b "
            "JOIN task t USING (task_id) JOIN workflow w ON w.workflow_id = t.workflow_id "
            "WHERE w.name = :w AND b.batch_id = :b AND b.element = -1 ORDER BY b.position",
            w=workflow,
            b=batch_id,
        )
        return dict(map(tuple, rows))

    def elements(self, task: str, batch_id: str = "2024-03") -> list[str]:
        """The status of each element of a task in order."""
        key = self.key(task, batch_id)
        statement = (
            "SELECT status FROM batch_task WHERE batch_id = :b AND task_id = :t AND element >= 0 ORDER BY element"
        )
        return [status for (status,) in self.rows(statement, b=batch_id, t=key.task_id)]

    def batch_status(self, batch_id: str = "2024-03") -> str:
        status: str = self.rows("SELECT status FROM task_batch WHERE batch_id = :b", b=batch_id)[0][0]
        return status

    def log(self, task: str) -> list[tuple[Any, ...]]:
        """(attempt, status, error) of each attempt of a task."""
        return self.rows(
            "SELECT attempt, status, error FROM task_log JOIN task t USING (task_id) "
            "WHERE t.name = :n AND element = -1 ORDER BY attempt",
            n=task,
        )

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Whatever a test wants to see, by SQL."""
        return self.database.transact(lambda tx: [tuple(row) for row in tx.execute(text(statement), values)])

    def somebody_waits_for_a_lock(self) -> bool:
        """Whether a transaction waits for another one."""
        return bool(self.rows("SELECT FROM pg_locks WHERE NOT granted"))

    def change(self, statement: str, **values: Any) -> int:
        """Whatever a test wants to be otherwise, by SQL; the number of rows that it changed."""
        return self.database.transact(lambda tx: tx.execute(text(statement), values).rowcount)


ME = Who("ann", "because of a test")


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
        retries=details.get("retries", 0),
        timeout_seconds=details.get("timeout_seconds"),
        awaits_completion=details.get("awaits_completion", details.get("kind") == "told_external"),
        condition=details.get("condition"),
        reads_results=details.get("reads_results", ()),
        notify=details.get("notify", ()),
        map=details.get("map"),
        file=details.get("file"),
        config=details.get("config", {}),
    )
