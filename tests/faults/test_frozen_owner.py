"""A worker that stops in the middle, or dies of its work, again and again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from database.sessions import Database
from tests.engine_room import EngineRoom
from tests.faults.kill.http_proxy import HttpProxy, Request
from tests.faults.kill.real_parts import ROOT, Servers, Works, local_servers


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with local_servers(tmp_path_factory.mktemp("frozen")) as servers:
        yield servers


@pytest.fixture
def works(database: Database, database_url: str, servers: Servers) -> Works:
    return Works(database, database_url, servers)


def inserts(word: bytes) -> Callable[[Request], bool]:
    """Whether a request is a jobs.insert with this in it."""
    return lambda request: request.method == "POST" and "/jobs" in request.path and word in request.body


@pytest.mark.parametrize("job", ["load", "write"])
def test_an_append_whose_owner_was_frozen_just_before_it_is_there_once(works: Works, job: str) -> None:
    word = {"load": b'"sourceUris"', "write": b"INSERT INTO"}[job]
    with works.service() as service, HttpProxy(works.servers.bigquery) as proxy:
        works.store(service, works.append_and_archive)
        works.land(service, b"id,amount\n1,10\n2,20\n3,30\n")
        insert = proxy.hold(inserts(word))
        with works.process("load", BIGQUERY_EMULATOR_HOST=proxy.url) as owner:
            assert insert.come.wait(30)
            owner.send_signal(signal.SIGSTOP)
            works.pass_time()
            service.life.execute(works.key("load"))
            works.go_on_until_ended(service, "load")
            assert works.log("load") == [(1, "SUCCESS", None)]
            rows = works.count_rows("sales")
            before = works.rows("SELECT * FROM batch_task"), works.rows("SELECT * FROM task_log")
            insert.may_go_on.set()
            owner.send_signal(signal.SIGCONT)
            assert owner.wait(30) == 0
    assert rows == works.count_rows("sales") == 3
    assert before == (works.rows("SELECT * FROM batch_task"), works.rows("SELECT * FROM task_log"))


def test_a_task_that_kills_its_process_every_time_ends_as_an_error(database: Database, database_url: str) -> None:
    room = EngineRoom(database)
    room.apply({"mix": [], "bake": ["mix"]}, details={"mix": {"kind": "deadly"}})
    room.start()
    command = [sys.executable, "-m", "tests.faults.kill.deadly", database_url]
    ends = []
    for _ in range(4):
        ends.append(subprocess.run(command, cwd=ROOT, check=False, env=dict(os.environ)).returncode)
        room.pass_time(3600)
    assert ends == [-signal.SIGKILL, -signal.SIGKILL, -signal.SIGKILL, 0]
    assert room.log("mix") == [(1, "ERROR", "the worker died 3 times")]
    assert room.statuses() == {"mix": "ERROR", "bake": "SKIPPED:upstream_failed"}
    assert room.batch_status() == "ERROR"
