"""A job of BigQuery that outlasts its message: the sweep goes on with it, and ends it when its time is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from database.sessions import Database
from database.workflows import store_version
from run.clients import Clients
from run.engine.definitions import new_version
from run.engine.due import DueTasks
from run.engine.life import TaskLife
from run.handlers.sweep import SweepHandler
from run.kinds import build_kinds
from run.settings import Settings
from run.workflows.reader import read_workflow
from tests.engine_room import EngineRoom
from tests.integration.kinds.bigquery_wire import STOPPED, BigQueryWire

WORKFLOW = """
workflow: cake
batch: "{period}"
tasks:
  query: {kind: bigquery_query, sql: SELECT 1, timeout: 10m}
  after: {kind: bigquery_query, sql: SELECT 2, needs: [query]}
"""


@pytest.fixture
def room(database: Database, wire: BigQueryWire, tmp_path: Path) -> EngineRoom:
    """An engine with the service's kinds, in which BigQuery is `wire`, and a query whose job takes its time."""
    room = EngineRoom(database)
    settings = Settings(
        database_url="postgresql://nobody@localhost/none",
        project="local",
        landing_bucket="landing",
        bigquery_emulator_host=wire.url,
    )
    kinds = build_kinds(Clients(settings))
    room.life = TaskLife(database, kinds, room.publisher, {})
    room.sweeps = SweepHandler(database, room.life, DueTasks(database, room.life, {}), {})
    (tmp_path / "cake.yaml").write_text(WORKFLOW)
    definition = read_workflow(tmp_path / "cake.yaml", kinds, {})
    database.transact(lambda tx: store_version(tx, new_version(definition)))
    wire.held, wire.age = True, 3600.0
    room.start()
    room.deliver_all()
    return room


def test_the_sweep_finds_the_job_done_and_what_follows_starts(room: EngineRoom, wire: BigQueryWire) -> None:
    [(handle,)] = room.rows("SELECT handle FROM batch_task WHERE handle IS NOT NULL")
    assert handle["job_id"] in wire.jobs
    assert room.statuses() == {"query": "PROCESSING", "after": "WAITING"}
    room.pass_time(31)
    room.sweep()
    assert room.statuses() == {"query": "PROCESSING", "after": "WAITING"}
    wire.held, wire.age = False, 0.0
    for _ in range(2):
        room.pass_time(31)
        room.sweep()
    room.deliver_all()
    assert room.statuses() == {"query": "SUCCESS", "after": "SUCCESS"}
    assert len(wire.inserts) == 2


def test_a_job_that_takes_longer_than_the_attempt_may_is_stopped(room: EngineRoom, wire: BigQueryWire) -> None:
    room.pass_time(601)
    for _ in range(3):
        room.sweep()
        room.pass_time(600)
    assert room.statuses() == {"query": "ERROR", "after": "SKIPPED:upstream_failed"}
    [job] = wire.jobs.values()
    assert job["status"]["errorResult"] == STOPPED
    assert room.rows("SELECT * FROM cancellation") == []
