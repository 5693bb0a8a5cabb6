"""An attempt that is not to go on: what it has begun is ended, what it may yet begin is prevented."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from run.errors import PermanentFailure
from run.kinds.kind import GoesOn, Progress
from tests.integration.kinds.bigquery_wire import LOADED, BigQueryWire
from tests.integration.kinds.room import Room

APPEND = {"table": "sales.daily", "write": "append"}
REPLACE = {"table": "sales.daily"}
PARTITION = {"table": "sales.monthly", "partition": "{period:%Y%m}", "partition_by": "MONTH"}
SQL = {"sql": "SELECT 1"}
CONCURRENT = {"reason": "invalidQuery", "message": "could not serialize access to table x due to concurrent update"}
CASES: list[tuple[str, dict[str, Any]]] = [("bigquery_query", SQL), ("load_file", PARTITION), ("load_file", APPEND)]
each_kind = pytest.mark.parametrize(("kind", "config"), CASES, ids=["query", "partition", "append"])
each_write = pytest.mark.parametrize("config", [APPEND, REPLACE], ids=["append", "replace"])


@pytest.fixture
def landed(room_on_the_wire: Room) -> Room:
    room_on_the_wire.land("load", "a.csv", b"id\n1\n2\n3\n")
    return room_on_the_wire


def cancelled(room: Room, kind: str, config: dict[str, Any]) -> int:
    """Cancel until that is confirmed; how often it was not."""
    for times in range(10):
        if room.cancel(kind, config, room.march()):
            return times
    raise AssertionError("never confirmed")


def fences(wire: BigQueryWire) -> list[str]:
    """The steps whose ids are taken by jobs that do nothing."""
    return [
        step
        for step, body in zip(wire.steps, wire.inserts, strict=True)
        if body["configuration"].get("labels", {}).get("fence") == "true"
    ]


@each_kind
def test_a_running_job_is_stopped_and_its_end_awaited(
    landed: Room, wire: BigQueryWire, kind: str, config: dict[str, Any]
) -> None:
    wire.held = True
    begun = landed.begin(kind, config, landed.march())
    assert isinstance(begun, GoesOn)
    assert not landed.cancel(kind, config, landed.march(), begun.handle), "it has been asked to stop and still runs"
    assert landed.cancel(kind, config, landed.march(), begun.handle)
    assert not wire.rows
    with pytest.raises(PermanentFailure, match="was cancelled"):
        landed.finish(kind, config, landed.march(), begun)
    assert len(wire.jobs) == 1


@each_kind
def test_what_has_not_begun_cannot_begin_any_more(
    landed: Room, wire: BigQueryWire, kind: str, config: dict[str, Any]
) -> None:
    assert landed.cancel(kind, config, landed.march())
    for _ in range(2):
        with pytest.raises(PermanentFailure, match="this attempt was cancelled"):
            landed.start(kind, config, landed.march())
    assert not wire.rows
    assert fences(wire) == wire.steps[:1]
    assert len(wire.jobs) == 1


@each_kind
def test_the_job_of_a_worker_that_slept_right_before_submitting_it_does_nothing(
    landed: Room, wire: BigQueryWire, kind: str, config: dict[str, Any]
) -> None:
    """The worker has looked and found no job; its insert comes after the attempt was cancelled."""
    ends: list[bool] = []

    def cancel_once() -> None:
        if len(wire.inserts) == 1:
            ends.append(landed.cancel(kind, config, landed.march()))

    wire.on_insert = cancel_once
    with pytest.raises(PermanentFailure, match="this attempt was cancelled"):
        landed.start(kind, config, landed.march())
    assert ends == [True]
    assert not wire.rows
    assert len(wire.jobs) == 1


@each_kind
def test_another_attempt_is_not_hindered(landed: Room, wire: BigQueryWire, kind: str, config: dict[str, Any]) -> None:
    cancelled(landed, kind, config)
    done = landed.start(kind, config, landed.march(attempt=2))
    assert done.details["job_id"] == wire.inserts[1]["jobReference"]["jobId"]
    assert wire.rows.get("daily", wire.rows.get("monthly$202403", 0)) == (LOADED if kind == "load_file" else 0)


@each_kind
def test_what_was_done_already_stays_done(landed: Room, wire: BigQueryWire, kind: str, config: dict[str, Any]) -> None:
    done = landed.start(kind, config, landed.march())
    before = dict(wire.rows)
    assert cancelled(landed, kind, config) == 0
    assert wire.rows == before
    assert landed.start(kind, config, landed.march()) == done


@each_kind
def test_a_job_that_begins_while_it_is_being_prevented_is_stopped(
    landed: Room, wire: BigQueryWire, kind: str, config: dict[str, Any]
) -> None:
    wire.held = True
    landed.begin(kind, config, landed.march())
    wire.hidden_gets = 1
    assert not landed.cancel(kind, config, landed.march())
    assert landed.cancel(kind, config, landed.march())
    assert not wire.rows
    assert len(wire.jobs) == 1


@pytest.mark.parametrize("moment", range(10))
@each_write
def test_a_load_that_is_cancelled_at_any_moment_changes_nothing_after_that(
    landed: Room, wire: BigQueryWire, config: dict[str, Any], moment: int
) -> None:
    wire.error_results = [None, None, CONCURRENT]
    seen: list[Progress] = [landed.begin("load_file", config, landed.march())]
    while len(seen) <= moment and isinstance(last := seen[-1], GoesOn):
        seen.append(landed.poll("load_file", config, landed.march(), last.handle))
    cancelled(landed, "load_file", config)
    before = wire.rows.get("daily", 0)
    assert before in {0, LOADED}
    assert not [name for name in wire.tables if "staging" in name]
    for late in [GoesOn({"step": "load"}), *seen]:
        if before:
            assert landed.finish("load_file", config, landed.march(), late).details["rows"] == LOADED
        else:
            with pytest.raises(PermanentFailure, match="cancelled"):
                landed.finish("load_file", config, landed.march(), late)
    assert wire.rows.get("daily", 0) == before


@each_write
def test_the_staging_table_of_a_load_goes_whatever_has_become_of_its_file(
    landed: Room, wire: BigQueryWire, config: dict[str, Any]
) -> None:
    """Who ends an attempt is not told what the task named under `from` has made."""
    wire.error_results = [None, None, CONCURRENT]
    progress = landed.begin("load_file", config, landed.march())
    while not [name for name in wire.tables if "staging" in name]:
        assert isinstance(progress, GoesOn)
        progress = landed.poll("load_file", config, landed.march(), progress.handle)
    assert isinstance(progress, GoesOn)
    told_nothing = replace(landed.march(), files={})
    while not landed.cancel("load_file", config, told_nothing, progress.handle):
        assert wire.jobs
    assert not [name for name in wire.tables if "staging" in name]


def test_cancelling_on_the_local_server_prevents_what_has_not_begun(room: Room) -> None:
    room.land("load", "a.csv", b"id,name\n1,a\n")
    config = {"table": "{dataset}.target", "write": "append"}
    work = room.work("load")
    assert room.cancel("load_file", config, work)
    with pytest.raises(PermanentFailure, match="this attempt was cancelled"):
        room.start("load_file", config, work)
    assert not list(room.bigquery.list_tables(room.name, timeout=10))
    assert room.load(config, attempt=2).details["rows"] == 1


def test_cancelling_on_the_local_server_leaves_what_was_done(room: Room) -> None:
    work = room.work("query")
    config = {"sql": "CREATE TABLE {dataset}.t AS SELECT 1 AS id"}
    done = room.start("bigquery_query", config, work)
    assert room.cancel("bigquery_query", config, work)
    assert room.start("bigquery_query", config, work) == done
    assert room.count("t") == 1


def test_an_archive_has_nothing_outside_to_end(room: Room) -> None:
    file = room.land("load", "a.csv", b"1")
    assert room.cancel("archive_file", {"files_of": "load"}, room.work("archive"))
    assert room.read(file.place) == b"1"
