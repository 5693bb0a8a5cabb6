"""The real engine on a real database, driven step by step; the clock of the database stands still in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, text

from database.facts import OpenTask, open_tasks
from database.keys import BatchKey, TaskKey
from database.sessions import Database
from database.statuses import Status
from database.workflows import current_version, store_version
from run.engine.batch_identity import join_batch_by_id
from run.engine.definitions import new_version
from run.engine.due import DueTasks
from run.engine.life import TaskLife
from run.engine.moved import MoveResult, TaskOfBatch, Who
from run.engine.moves import Moves
from run.engine.reasons import reasons_of
from run.handlers.file import FileHandler
from run.handlers.sweep import SweepHandler
from run.handlers.task import TaskHandler
from run.kinds.archive_file import is_archived
from run.pubsub.messages import CompletedMessage, FileMessage, TaskAddress, TaskMessage
from run.workflows.definition import FileTrigger, TaskDefinition, WorkflowDefinition
from tests.engine_room import ListPublisher
from tests.integration.engine.test_arrivals import notification
from tests.model.attempts import LEASE, RETRY_DELAY, RETRY_MAX_DELAY, Does
from tests.model.model import Plan, Plans, Said
from tests.model.workers import Answers, Frozen, HandedOver, Plain, WorkerDied

WORKFLOW = "w"
NAMES = {"landing_bucket": "landing"}
SOMEBODY = Who("somebody", "to see what happens")
#: A delivery is looked at for its id only.
DELIVERY = notification("nothing")

#: From now on the database's own function is the second that is found: time passes when the test says so.
LET_THE_CLOCK_STAND_STILL = """
    CREATE TABLE model_clock (at timestamptz NOT NULL);
    CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT at FROM public.model_clock';
    DO $$
    DECLARE found record;
    BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
        SET LOCAL search_path = public, pg_catalog;
        FOR found IN SELECT table_name, column_name FROM information_schema.columns
                      WHERE table_schema = 'public' AND column_default LIKE '%clock_timestamp%' LOOP
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET DEFAULT clock_timestamp()',
                           found.table_name, found.column_name);
        END LOOP;
    END $$;
"""
START = datetime(2024, 3, 16, tzinfo=UTC)
START_IN_SQL = f"TIMESTAMPTZ '{START.isoformat()}'"
START_AFRESH = f"""
    TRUNCATE workflow, file_log, rejected_message, audit, chore, model_clock CASCADE;
    INSERT INTO model_clock VALUES ({START_IN_SQL});
"""


#: Everything that the model speaks of, in one statement; times are seconds after the start.
LOOK = text(f"""
    SELECT 'task' AS what, to_jsonb(seen) AS row FROM (
        SELECT b.batch_id, t.name, b.status, b.skip_cause, c.name AS culprit, b.attempt, b.retried, b.takeovers,
               b.awaits_file, b.reset, b.ending, b.awaits_completion, b.handle IS NOT NULL AS has_handle,
               b.token IS NOT NULL AS is_leased, extract(epoch FROM b.lease_until - {START_IN_SQL}) AS lease_until,
               extract(epoch FROM b.due_at - {START_IN_SQL}) AS due_at,
               extract(epoch FROM b.publish_after - {START_IN_SQL}) AS publish_after,
               ARRAY(SELECT l.status FROM task_log l
                      WHERE l.workflow_id = b.workflow_id AND l.batch_id = b.batch_id AND l.task_id = b.task_id
                      ORDER BY l.attempt) AS log
          FROM batch_task b
          JOIN task t ON t.task_id = b.task_id
          LEFT JOIN task c ON c.task_id = b.skipped_because_of
    ) seen
    UNION ALL
    SELECT 'batch', to_jsonb(seen) FROM (
        SELECT b.batch_id, b.status, v.version FROM task_batch b JOIN workflow_version v ON v.version_id = b.version_id
    ) seen
    UNION ALL
    SELECT 'cancellation', to_jsonb(seen) FROM (
        SELECT c.batch_id, t.name, c.attempt, extract(epoch FROM c.due_at - {START_IN_SQL}) AS due_at
          FROM cancellation c JOIN task t ON t.task_id = c.task_id
    ) seen
    UNION ALL
    SELECT 'completion', to_jsonb(seen) FROM (
        SELECT c.batch_id, t.name, c.attempt, c.status, c.result, c.error
          FROM completion c JOIN task t ON t.task_id = c.task_id
    ) seen
""")
PASS_TIME = text("UPDATE model_clock SET at = at + :seconds * interval '1 second'")
MOMENT = 0.001


@dataclass(frozen=True)
class Seen:
    """Everything in the database that the model speaks of."""

    #: Rows by what they are: task, batch, cancellation, completion.
    rows: dict[str, list[Any]]
    #: What each open task waits for: (batch, task) to (kind, ids, until).
    reasons: dict[tuple[str, str], list[tuple[str, tuple[str, ...], float | None]]]


class World:
    """One instance of the service, its topic, and the other side of everything."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.publisher = ListPublisher()
        self.answers = Answers()
        kinds = {kind.name: kind for kind in (Plain(self.answers), HandedOver(self.answers))}
        self.life = TaskLife(database, kinds, self.publisher, NAMES)
        self.tasks = TaskHandler(database, self.life)
        self.files = FileHandler(database, self.life, NAMES, lambda *_: None, is_archived)
        self.sweeps = SweepHandler(database, self.life, DueTasks(database, self.life, NAMES), {})
        self.moves = Moves(database, self.life)
        self.task_ids: dict[str, int] = {}
        self.workflow_id = 0
        self._run(LET_THE_CLOCK_STAND_STILL)
        database.engine.dispose()  # type: ignore[attr-defined]

    def start_afresh(self) -> None:
        self._run(START_AFRESH)
        self.publisher.messages.clear()
        self.publisher.is_down = False
        self.answers.begun.clear()

    def pass_time(self, seconds: float) -> None:
        self.database.transact(lambda tx: tx.execute(PASS_TIME, {"seconds": seconds}))

    def apply(self, plans: Plans) -> None:
        """Make these plans the newest version of the workflow."""
        definition = WorkflowDefinition(name=WORKFLOW, batch="{period}", tasks=tuple(map(_definition, plans)))
        self.database.transact(lambda tx: store_version(tx, new_version(definition)))
        self.task_ids = dict(map(tuple, self.rows("SELECT name, task_id FROM task")))
        [(self.workflow_id,)] = self.rows("SELECT workflow_id FROM workflow")

    def open_batch(self, batch: str) -> None:
        def join(tx: Connection) -> Any:
            current = current_version(tx, WORKFLOW)
            assert current is not None
            return join_batch_by_id(tx, current, batch, {})

        self.life.publish(batch, self.database.transact(join).released)

    def execute(self, batch: str, task: str, does: Does) -> Frozen | None:
        """Deliver the message of a task; the worker that gets it, if it then stands still in the middle of its work."""
        message = TaskMessage(TaskAddress(task_id=self.task_ids[task]), batch)
        return self._work(does, lambda: self.tasks.execute(message, DELIVERY))

    def go_on(self, batch: str, task: str, does: Does) -> Frozen | None:
        """Go on with an attempt that is due, as the sweep does."""
        key = TaskKey(self.workflow_id, batch, self.task_ids[task])
        return self._work(does, lambda: self.life.go_on(key))

    def _work(self, does: Does, work: Callable[[], object]) -> Frozen | None:
        self.answers.does = lambda _batch, _task: does
        if does is Does.FREEZES:
            frozen = Frozen(work)
            return frozen if frozen.stands_still() else None
        try:
            work()
        except WorkerDied:
            assert does is Does.DIES
        return None

    def sweep(self, does: Callable[[str, str], Does], *, confirms: bool) -> None:
        self.answers.does, self.answers.confirms = does, confirms
        self.sweeps.sweep()

    def complete(self, batch: str, task: str, attempt: int | None, said: Said) -> None:
        address = TaskAddress(task_id=self.task_ids[task])
        status: Any = said.status.value
        message = CompletedMessage(address, batch, status, attempt=attempt, result=said.result, error=said.error)
        self.tasks.completed(message, DELIVERY)

    def land(self, batch: str, task: str, generation: int) -> str | None:
        """Let a file arrive for a task; what the file log says about this generation now."""
        message = FileMessage("OBJECT_FINALIZE", "landing", f"{task}/{batch}", generation, 5, {}, None)
        self.files.handle(message, DELIVERY)
        found = self.rows(
            "SELECT decision FROM file_log WHERE object = :o AND generation = :g", o=message.name, g=generation
        )
        return None if not found else str(found[0][0])

    def rerun(self, batch: str, task: str, *, downstream: bool) -> MoveResult:
        return self.moves.rerun_task(TaskOfBatch(WORKFLOW, batch, task), SOMEBODY, downstream=downstream)

    def mark(self, batch: str, task: str, status: Status) -> MoveResult:
        return self.moves.mark_task(TaskOfBatch(WORKFLOW, batch, task), SOMEBODY, status)

    def rerun_batch(self, batch: str, *, failed: bool, latest: bool) -> MoveResult:
        return self.moves.rerun_batch(WORKFLOW, batch, SOMEBODY, failed=failed, latest=latest)

    def cancel(self, batch: str) -> MoveResult:
        return self.moves.cancel_batch(WORKFLOW, batch, SOMEBODY)

    def look(self) -> Seen:
        """Read everything, and let a moment pass: no two things happen at the same one."""

        def read(tx: Connection) -> Seen:
            rows: defaultdict[str, list[Any]] = defaultdict(list)
            for what, row in tx.execute(LOOK):
                rows[what].append(SimpleNamespace(**row))
            keys = [BatchKey(self.workflow_id, row.batch_id) for row in rows["batch"]]
            waiting = [task for key in keys for task in open_tasks(tx, key)]
            tx.execute(PASS_TIME, {"seconds": MOMENT})
            return Seen(rows, {(task.batch_id, task.task): list(self._reasons(task)) for task in waiting})

        return self.database.transact(read)

    def _reasons(self, task: OpenTask) -> Iterator[tuple[str, tuple[str, ...], float | None]]:
        for reason in reasons_of(task, self.life.kinds):
            until = None if reason.until is None else (reason.until - START).total_seconds()
            yield reason.kind.value, reason.ids, until

    def take_messages(self) -> list[tuple[str, str]]:
        """The messages, as (batch, task), that were published since it was last asked."""
        names = {task_id: name for name, task_id in self.task_ids.items()}
        taken = [(message["batch_id"], names[message["task_id"]]) for message in self.publisher.messages]
        self.publisher.messages.clear()
        return taken

    def rows(self, statement: str, **values: Any) -> list[Any]:
        return self.database.transact(lambda tx: list(tx.execute(text(statement), values)))

    def _run(self, statements: str) -> None:
        self.database.transact(lambda tx: tx.execute(text(statements)))


def _definition(plan: Plan) -> TaskDefinition:
    kind = HandedOver.name if plan.is_external else Plain.name
    file = FileTrigger(pattern=f"gs://landing/{plan.name}/(?P<period>.+)") if plan.wants_file else None
    return TaskDefinition(
        name=plan.name,
        kind="of_tomorrow" if plan.is_unknown else kind,
        needs=plan.parents,
        rule=plan.rule,
        allow_failure=plan.allow_failure,
        disabled=plan.disabled,
        lease_seconds=LEASE,
        max_takeovers=plan.max_takeovers,
        retries=plan.retries,
        retry_delay_seconds=RETRY_DELAY,
        retry_max_delay_seconds=RETRY_MAX_DELAY,
        timeout_seconds=plan.timeout,
        awaits_completion=plan.is_external,
        file=file,
        config={"note": plan.note},
    )
