"""The room of a chaos run: a durable Postgres, the real Pub/Sub emulator, and two services with subscriptions each."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Self

from sqlalchemy import text

from database.migrating import migrate
from database.sessions import Database
from database.transitions import FIRST_REPUBLISH_SECONDS
from database.workflows import NewTask, NewVersion, store_version
from run.engine.definitions import with_unwatched_ends
from run.local.postgres import Postgres
from run.local.pubsub_emulator import PubSubEmulator
from run.local.service import Service
from run.local.topics import EmulatorTopic
from run.workflows.trigger_rules import SUCCESS_MAY_SKIP
from tests.faults.chaos.graphs import DrawnTask, DrawnWorkflow, Outcome
from tests.faults.chaos.kinds import WORLD_VARIABLE
from tests.faults.chaos.plan import Plan
from tests.faults.chaos.world import World

APPLICATION = "tests.faults.chaos.app:app"
TOPIC = "chaos"
SWEEP_TOPIC = "chaos-sweep"
LANDING = "landing"
#: More than there can be: a task is not to be given up because its workers are killed all the time.
MOST_TAKEOVERS = 1000
#: For what may hang: how long an attempt may last, and how often it may time out while nobody can look at it.
TIMEOUT_SECONDS = 4
MOST_RETRIES = 100

#: A message that was lost between its commit and Pub/Sub is published again by the sweep. Here that time runs faster,
#: so that it takes as long as a lease: the figures of a short run would otherwise be made of waiting for it.
_FASTER_TIME = """
    CREATE FUNCTION publish_sooner() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.publish_after := clock_timestamp() + (NEW.publish_after - clock_timestamp()) * {factor};
        RETURN NEW;
    END $$;
    CREATE TRIGGER publish_sooner BEFORE INSERT OR UPDATE OF publish_after ON batch_task
        FOR EACH ROW WHEN (NEW.publish_after IS NOT NULL) EXECUTE FUNCTION publish_sooner();
"""


class TormentedService(Service):
    """A service whose processes can be stopped in the middle, and go on later as if nothing had been."""

    def freeze(self) -> None:
        """Stop all its processes."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    @property
    def process_group(self) -> int:
        """What its kinds call themselves in the outside world; 0 when it does not run."""
        return 0 if self._process is None else self._process.pid

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self.process_group, number)


class TormentedPostgres(Postgres):
    """A Postgres that can be ended without a word to anybody."""

    def end_immediately(self) -> None:
        """Postgres's immediate mode: no checkpoint, the next start recovers it from its log."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGQUIT)
        self._process._leader.wait(20)


class Room:
    """Everything that runs; for `with`."""

    postgres: TormentedPostgres
    world: World
    database: Database
    topic: EmulatorTopic
    sweep_topic: EmulatorTopic
    services: list[TormentedService]
    #: Set while nothing may be started, so that a recovery is not made of waiting behind other work.
    is_calm: threading.Event
    #: Set once all else has come to rest in calm weather, and only the sleepers have been started.
    has_sleepers: threading.Event

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self.is_calm, self.has_sleepers = threading.Event(), threading.Event()
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self.world = starting.enter_context(World())
            self.postgres = starting.enter_context(TormentedPostgres(self.folder / "postgres"))
            url = self._create_database()
            self.database = Database(url)
            starting.callback(self.database.close)
            pubsub = starting.enter_context(PubSubEmulator(self.folder))
            self.topic, self.sweep_topic = pubsub.create_topic(TOPIC), pubsub.create_topic(SWEEP_TOPIC)
            environment = {**_environment(url), **pubsub.environment, WORLD_VARIABLE: self.world.url}
            self.services = [
                TormentedService(self.folder / name, environment, application=APPLICATION) for name in ("one", "two")
            ]
            for service in self.services:
                starting.enter_context(service)
                self._subscribe(pubsub, service)
            self._ending = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Rows of the service's database."""
        return self.database.transact(lambda tx: list(tx.execute(text(statement), values)))

    def store(self, workflow: DrawnWorkflow) -> None:
        """Store a workflow, with leases that are shorter than a workflow file may ask for."""
        self.database.transact(lambda tx: store_version(tx, _new_version(workflow, self.plan)))

    def _create_database(self) -> str:
        url = self.postgres.create_database("chaos")
        migrate(url)
        database = Database(url)
        factor = self.plan.lease_seconds / FIRST_REPUBLISH_SECONDS
        database.transact(lambda tx: tx.execute(text(_FASTER_TIME.format(factor=factor))))
        # There is no bucket here that could be listed.
        database.transact(lambda tx: tx.execute(text("DELETE FROM chore WHERE name = 'scan'")))
        database.close()
        return url

    def _subscribe(self, pubsub: PubSubEmulator, service: TormentedService) -> None:
        for topic in (TOPIC, SWEEP_TOPIC):
            name = f"{topic}-{service.log.parent.name}"
            pubsub.create_push_subscription(name, topic=topic, endpoint=f"{service.url}/")


def _environment(url: str) -> dict[str, str]:
    unset = dict.fromkeys(("LOOPBACK_URL", "PUSH_AUDIENCE", "PUSH_SERVICE_ACCOUNT", "K_SERVICE"), "")
    return {
        **unset,
        "DATABASE_URL": url,
        "GOOGLE_CLOUD_PROJECT": "local",
        "PUBSUB_TOPIC": TOPIC,
        "PUSH_AUTH": "none",
        "LANDING_BUCKET": LANDING,
        "BIGQUERY_LOCATION": "EU",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def _new_version(workflow: DrawnWorkflow, plan: Plan) -> NewVersion:
    skippable = _tasks_that_success_may_skip(workflow)
    return NewVersion(
        workflow=workflow.name,
        batch_template="{period}",
        params={},
        definition={},
        digest=workflow.name,
        tasks=with_unwatched_ends(
            _new_task(workflow, task, plan, may_skip=task.name in skippable) for task in workflow.tasks
        ),
    )


def _tasks_that_success_may_skip(workflow: DrawnWorkflow) -> set[str]:
    """The parents of every task that can be skipped without a failure, as run/engine/definitions.py finds them."""
    may_be_skipped: set[str] = set()
    for task in workflow.tasks:
        if task.rule in SUCCESS_MAY_SKIP or may_be_skipped.intersection(task.needs):
            may_be_skipped.add(task.name)
    return {parent for task in workflow.tasks if task.name in may_be_skipped for parent in task.needs}


def _new_task(workflow: DrawnWorkflow, task: DrawnTask, plan: Plan, *, may_skip: bool) -> NewTask:
    return NewTask(
        name=task.name,
        kind=task.kind,
        needs=task.needs,
        rule=task.rule,
        allow_failure=task.outcome is Outcome.ERROR,
        disabled=False,
        success_may_skip=may_skip,
        lease_seconds=plan.lease_seconds,
        file=_file_trigger(workflow.name, task),
        config={**task.orders, "lists": workflow.lists_of(task.name)},
        max_takeovers=MOST_TAKEOVERS,
        retries=MOST_RETRIES if task.hangs else task.retries,
        retry_delay_seconds=1,
        retry_max_delay_seconds=2,
        timeout_seconds=TIMEOUT_SECONDS if task.hangs else None,
        awaits_completion=task.kind == "chaos_outside",
        map=_map(task),
    )


def _map(task: DrawnTask) -> dict[str, Any] | None:
    if task.over is None:
        return None
    return {"over": f"{task.over}.lists.{task.name}", "max_failures": task.max_failures}


def _file_trigger(workflow: str, task: DrawnTask) -> dict[str, Any] | None:
    if task.kind != "chaos_file":
        return None
    return {"pattern": rf"gs://{{landing_bucket}}/{workflow}/{task.name}/(?P<period>\d+)\.csv"}


def landed_object(workflow: str, task: str, batch: str) -> str:
    """The name of the object that the task of this batch waits for."""
    return f"{workflow}/{task}/{batch}.csv"


def seeded(plan: Plan, what: str) -> Random:
    """Chance of one's own for each part, so that threads do not take it from each other."""
    return Random(f"{plan.seed} {what}")
