"""Work that another service does is done once, or its outcome is called unknown, wherever its worker dies.

For every request that a task makes, a real process dies right before it takes effect, and right after, with the answer
under way; another worker goes on. And every answer is lost once to a worker that lives.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from database.sessions import Database
from run.clients import Clients
from run.kinds import build_kinds
from run.settings import Settings
from tests.engine_room import EngineRoom
from tests.faults.kill.outside import SERVICES, DeadlyProxy, Service
from tests.faults.kill.real_parts import ROOT

_MOST_ROUNDS = 20
NOBODY = "127.0.0.1:9"


@dataclass
class World:
    """A service, a proxy before it, and an engine whose task asks it."""

    service: Service
    proxy: DeadlyProxy
    room: EngineRoom
    environment: Mapping[str, str]

    def begin(self, batch_id: str) -> int:
        """Open a batch; how often the work of others is done already."""
        self.room.start(batch_id)
        return self.service.done()

    def process(self, batch_id: str) -> subprocess.Popen[bytes]:
        """A process that lives the task's message."""
        command = [sys.executable, "-m", "tests.faults.kill.worker", "cake", batch_id, "ask"]
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **self.environment})

    def go_on(self, batch_id: str) -> None:
        """Let time pass, sweep and deliver until the batch has ended."""
        for _ in range(_MOST_ROUNDS):
            self.room.deliver_all()
            if self.room.batch_status(batch_id) != "PROCESSING":
                return
            self.room.pass_time(1000)
            self.room.sweep()
        raise AssertionError(f"still open: {self.room.rows('SELECT * FROM batch_task')}")

    def attempts(self, batch_id: str) -> list[tuple[Any, ...]]:
        return self.room.rows(
            "SELECT l.attempt, l.status, l.error FROM task_log l JOIN task USING (task_id) "
            "WHERE name = 'ask' AND batch_id = :b ORDER BY attempt",
            b=batch_id,
        )

    def requests(self) -> int:
        """How many requests an undisturbed task makes."""
        self.proxy.count = 0
        before = self.begin("undisturbed")
        self.go_on("undisturbed")
        assert self.attempts("undisturbed") == [(1, "SUCCESS", None)]
        assert self.service.done() - before == 1
        return self.proxy.count

    def judge(self, batch_id: str, before: int) -> None:
        """The work was done once; or not more than once, where its outcome cannot be known."""
        [(attempt, status, error)] = self.attempts(batch_id)
        done = self.service.done() - before
        if status == "ERROR" and self.service.may_be_unknown:
            assert (attempt, error[:15]) == (1, "outcome unknown"), batch_id
            assert done <= 1, batch_id
        else:
            assert (attempt, status, error, done) == (1, "SUCCESS", None, 1), batch_id


@pytest.fixture(params=SERVICES)
def world(request: pytest.FixtureRequest, database: Database, database_url: str) -> Iterator[World]:
    with ExitStack() as stack:
        service = stack.enter_context(SERVICES[request.param]())
        proxy = stack.enter_context(DeadlyProxy(service.server.url))
        environment = {
            "DATABASE_URL": database_url,
            "GOOGLE_CLOUD_PROJECT": "local",
            "LANDING_BUCKET": "landing",
            # Nobody listens there: messages are lost, and the sweep's to find.
            "LOOPBACK_URL": f"http://{NOBODY}/",
            "STORAGE_EMULATOR_HOST": NOBODY,
            "BIGQUERY_EMULATOR_HOST": NOBODY,
            **service.environment,
            **({service.variable: proxy.url} if service.variable else {}),
        }
        kinds = build_kinds(Clients(Settings.from_environment(environment)))
        room = EngineRoom(database, more_kinds=list(kinds.values()))
        config = dict(service.config)
        if service.variable is None:
            config["url"] = proxy.url + config["url"]
        stored = kinds[service.kind].config.model_validate(config).model_dump(mode="json", by_alias=True)
        room.apply({"ask": [], "after": ["ask"]}, details={"ask": {"kind": service.kind, "config": stored}})
        yield World(service, proxy, room, environment)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_that_dies_around_any_request_leaves_work_that_is_done_once(world: World, moment: str) -> None:
    deaths: list[int] = []
    for number in range(1, world.requests() + 1):
        batch_id = f"dies-{moment}-{number}"
        before = world.begin(batch_id)
        world.room.publisher.messages.clear()
        with world.process(batch_id) as worker:
            world.proxy.expect(moment, number, lambda worker=worker: worker.send_signal(signal.SIGKILL))  # type: ignore[misc]
            deaths.append(worker.wait(60))
        world.go_on(batch_id)
        world.judge(batch_id, before)
        if deaths[-1] == 0:
            # It has let go of the work; what follows are questions of the sweep.
            break
    assert deaths[0] == -signal.SIGKILL
    assert set(deaths) <= {-signal.SIGKILL, 0}


def test_an_answer_that_is_lost_leaves_work_that_is_done_once(world: World) -> None:
    for number in range(1, world.requests() + 1):
        batch_id = f"lost-{number}"
        before = world.begin(batch_id)
        world.proxy.expect("after", number, bool)
        world.go_on(batch_id)
        assert world.proxy.at is None, "no answer was lost"
        world.judge(batch_id, before)
