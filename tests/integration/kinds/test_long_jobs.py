"""Jobs of BigQuery that take their time are let go of, asked for, and gone on from; nobody waits for them."""

from __future__ import annotations

from typing import Any

import pytest

from run.errors import PassingFailure, PermanentFailure
from run.kinds.kind import Finished, GoesOn, Progress
from tests.integration.kinds.bigquery_wire import LOADED, BigQueryWire
from tests.integration.kinds.room import Room

APPEND = {"table": "sales.daily", "write": "append"}
PARTITION = {"table": "sales.monthly", "partition": "{period:%Y%m}", "partition_by": "MONTH"}
SQL = {"sql": "SELECT 1"}
CONCURRENT = {"reason": "invalidQuery", "message": "Transaction is aborted due to concurrent update against table x"}
QUOTA = {"reason": "quotaExceeded", "message": "Your table exceeded quota for imports or query appends per table"}

CASES: list[tuple[str, dict[str, Any]]] = [("bigquery_query", SQL), ("load_file", PARTITION), ("load_file", APPEND)]
each_kind = pytest.mark.parametrize(("kind", "config"), CASES, ids=["query", "partition", "append"])


@pytest.fixture
def room(room_on_the_wire: Room) -> Room:
    room_on_the_wire.land("load", "a.csv", b"id\n1\n2\n3\n")
    return room_on_the_wire


def waited_for(progress: Progress) -> GoesOn:
    assert isinstance(progress, GoesOn)
    return progress


def up_to(room: Room, step: str, config: dict[str, Any] = APPEND) -> GoesOn:
    """The load, gone on with until that job of it has been submitted."""
    progress = waited_for(room.begin("load_file", config, room.march()))
    while progress.handle["step"] != step:
        progress = waited_for(room.poll("load_file", config, room.march(), progress.handle))
    return progress


@each_kind
def test_a_running_job_is_let_go_of_and_asked_for_until_it_is_done(
    room: Room, wire: BigQueryWire, kind: str, config: dict[str, Any]
) -> None:
    wire.held = True
    begun = waited_for(room.begin(kind, config, room.march()))
    assert begun.handle["job_id"] == wire.inserts[0]["jobReference"]["jobId"]
    for _ in range(3):
        assert waited_for(room.poll(kind, config, room.march(), begun.handle)).handle == begun.handle
    assert len(wire.inserts) == 1
    wire.held = False
    finished = room.finish(kind, config, room.march(), begun)
    assert finished.details["job_id"] == begun.handle["job_id"]
    assert len(wire.jobs) == len(wire.inserts)


def test_every_job_of_a_load_is_a_step_of_its_own(room: Room, wire: BigQueryWire) -> None:
    handles = []
    progress = room.begin("load_file", APPEND, room.march())
    while isinstance(progress, GoesOn):
        handles.append(progress.handle["step"])
        progress = room.poll("load_file", APPEND, room.march(), progress.handle)
    assert list(dict.fromkeys(handles)) == wire.steps == ["load", "prepare-1", "write-1"]
    assert isinstance(progress, Finished)
    assert progress.details["rows"] == wire.rows["daily"] == LOADED
    assert set(wire.tables) == {"daily"}


@pytest.mark.parametrize(("age", "seconds"), [(0, 0.2), (20, 5), (3600, 30)])
@each_kind
def test_the_longer_a_job_takes_the_rarer_it_is_asked_for(
    room: Room, wire: BigQueryWire, kind: str, config: dict[str, Any], age: float, seconds: float
) -> None:
    wire.age = age
    assert waited_for(room.begin(kind, config, room.march())).poll_after == pytest.approx(seconds, abs=0.5)


@pytest.mark.parametrize(
    ("reason", "failure"),
    [("invalid", PermanentFailure), ("stopped", PermanentFailure), ("backendError", PassingFailure)],
)
@each_kind
def test_a_job_that_fails_later_fails_the_attempt(
    room: Room, wire: BigQueryWire, kind: str, config: dict[str, Any], reason: str, failure: type[Exception]
) -> None:
    wire.error_results = [{"reason": reason, "message": "it went wrong"}]
    begun = room.begin(kind, config, room.march())
    with pytest.raises(failure, match="it went wrong"):
        room.finish(kind, config, room.march(), begun)
    assert len(wire.jobs) == 1


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "quotaExceeded", "tableUnavailable", "internalError"])
def test_what_may_pass_at_bigquery_is_a_passing_failure(room: Room, wire: BigQueryWire, reason: str) -> None:
    wire.error_results = [{"reason": reason, "message": "not now"}]
    with pytest.raises(PassingFailure, match="not now"):
        room.start("bigquery_query", SQL, room.march())


@each_kind
def test_a_worker_that_died_before_the_handle_was_stored_is_followed_by_one_that_finds_the_job(
    room: Room, wire: BigQueryWire, kind: str, config: dict[str, Any]
) -> None:
    begun = waited_for(room.begin(kind, config, room.march()))
    again = waited_for(room.begin(kind, config, room.march()))
    assert again.handle == begun.handle
    room.finish(kind, config, room.march(), again)
    assert len(wire.jobs) == len(set(wire.steps))


@pytest.mark.parametrize("step", ["load", "prepare-1", "write-1"])
@pytest.mark.parametrize("with_handle", [True, False])
def test_a_takeover_at_any_step_does_only_what_is_left(
    room: Room, wire: BigQueryWire, step: str, *, with_handle: bool
) -> None:
    left = up_to(room, step)
    if with_handle:
        finished = room.finish("load_file", APPEND, room.march(), left)
    else:
        finished = room.start("load_file", APPEND, room.march())
    assert wire.steps == ["load", "prepare-1", "write-1"]
    assert finished.details["rows"] == wire.rows["daily"] == LOADED


def test_a_takeover_while_the_rows_are_being_written_waits_for_that_whatever_became_of_the_file(
    room: Room, wire: BigQueryWire
) -> None:
    up_to(room, "write-1")
    wire.held = True
    place = room.files["load"].place
    room.put(place.bucket, place.name, b"id\n9\n")
    waiting = waited_for(room.begin("load_file", APPEND, room.march()))
    wire.held = False
    room.finish("load_file", APPEND, room.march(), waiting)
    assert wire.steps == ["load", "prepare-1", "write-1"]
    assert wire.rows["daily"] == LOADED


def test_a_poll_with_the_handle_of_an_earlier_step_does_only_what_is_left(room: Room, wire: BigQueryWire) -> None:
    early = up_to(room, "load")
    up_to(room, "write-1")
    room.finish("load_file", APPEND, room.march(), early)
    assert wire.steps == ["load", "prepare-1", "write-1"]
    assert wire.rows["daily"] == LOADED


@each_kind
def test_a_job_that_is_not_found_for_a_moment_is_not_submitted_again(
    room: Room, wire: BigQueryWire, kind: str, config: dict[str, Any]
) -> None:
    begun = waited_for(room.begin(kind, config, room.march()))
    wire.hidden_gets = 1
    room.finish(kind, config, room.march(), begun)
    assert len(wire.jobs) == len(set(wire.steps))


def test_a_write_that_was_undone_is_tried_again_after_a_pause_under_the_next_id(room: Room, wire: BigQueryWire) -> None:
    wire.error_results = [None, None, *[CONCURRENT] * 9]
    waits = [up_to(room, f"write-{number}").poll_after for number in range(2, 10)]
    finished = room.start("load_file", APPEND, room.march())
    assert wire.steps == ["load", "prepare-1", *(f"write-{number}" for number in range(1, 11))]
    assert finished.details["write_job_id"] == wire.inserts[-1]["jobReference"]["jobId"]
    assert wire.rows["daily"] == LOADED
    assert all(0 <= seconds <= 20 for seconds in waits)
    assert len(set(waits[-4:])) > 1, "they are random, so that those who disturbed each other do not meet again"


def test_the_handle_of_a_pause_names_the_try_that_follows_it(room: Room, wire: BigQueryWire) -> None:
    wire.error_results = [None, None, CONCURRENT]
    pause = up_to(room, "write-2")
    assert wire.steps == ["load", "prepare-1", "write-1"]
    assert pause.handle["job_id"] not in wire.jobs
    room.finish("load_file", APPEND, room.march(), pause)
    assert pause.handle["job_id"] in wire.jobs
    assert wire.steps == ["load", "prepare-1", "write-1", "write-2"]


def test_an_exceeded_quota_is_given_ten_minutes(room: Room, wire: BigQueryWire) -> None:
    wire.error_results = [None, None, QUOTA]
    assert up_to(room, "write-2").poll_after == 600


def test_an_attempt_that_fails_leaves_no_staging_table(room: Room, wire: BigQueryWire) -> None:
    wire.error_results = [None, None, {"reason": "invalidQuery", "message": "no such function"}]
    with pytest.raises(PermanentFailure, match="no such function"):
        room.start("load_file", APPEND, room.march())
    assert set(wire.tables) == {"daily"}
    assert "daily" not in wire.rows
