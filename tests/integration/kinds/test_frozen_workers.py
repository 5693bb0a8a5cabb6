"""A worker that sleeps right before it submits a job, and wakes when others have gone on; and answers that are lost."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Literal

import pytest

from run.clients.storage import Storage
from run.errors import TaskFailure, Unavailable
from run.kinds.kind import Finished
from tests.integration.kinds.bigquery_wire import LOADED, BigQueryWire
from tests.integration.kinds.room import Room

APPEND = {"table": "sales.daily", "write": "append"}
SQL = {"sql": "INSERT INTO `local.sales.daily` (id) SELECT id FROM `local.sales.source`"}
STEPS = {"load": 1, "prepare": 2, "write": 3}


@pytest.fixture
def landed(room_on_the_wire: Room) -> Room:
    room_on_the_wire.land("load", "a.csv", b"id\n1\n2\n3\n")
    return room_on_the_wire


def sleep_before_insert(wire: BigQueryWire, number: int, meanwhile: Callable[[], object]) -> list[object]:
    """Let that insert reach BigQuery only when `meanwhile` has happened; what came of it."""
    came: list[object] = []

    def wait() -> None:
        if len(wire.inserts) == number and not came:
            came.append("begun")
            try:
                came.append(meanwhile())
            except TaskFailure as failure:
                came.append(failure)

    wire.on_insert = wait
    return came


@pytest.mark.parametrize("step", STEPS)
def test_an_append_whose_owner_slept_before_its_insert_and_was_taken_over_is_there_once(
    landed: Room, wire: BigQueryWire, step: str
) -> None:
    came = sleep_before_insert(wire, STEPS[step], lambda: landed.start("load_file", APPEND, landed.march()))
    woken = landed.start("load_file", APPEND, landed.march())
    [_, taken_over] = came
    assert isinstance(taken_over, Finished)
    assert woken.details == taken_over.details
    assert wire.rows["daily"] == LOADED
    assert set(wire.tables) == {"daily"}


def test_a_query_whose_owner_slept_before_its_insert_and_was_taken_over_runs_once(
    landed: Room, wire: BigQueryWire
) -> None:
    wire.tables |= {"daily": ["id"], "source": ["id"]}
    wire.rows["source"] = 5
    came = sleep_before_insert(wire, 1, lambda: landed.start("bigquery_query", SQL, landed.march()))
    woken = landed.start("bigquery_query", SQL, landed.march())
    assert came[1] == woken
    assert wire.rows["daily"] == 5


@pytest.mark.parametrize("step", ["prepare", "write"])
def test_an_attempt_that_has_failed_meanwhile_writes_nothing_when_its_sleeping_owner_wakes(
    landed: Room, wire: BigQueryWire, step: str
) -> None:
    """The file changed, so who took over has ended the attempt, and the newer file's attempt has been and gone."""
    place = landed.files["load"].place

    def fail_and_load_the_newer_file() -> Finished:
        landed.put(place.bucket, place.name, b"id\n9\n")
        with pytest.raises(TaskFailure, match="was to be loaded"):
            landed.start("load_file", APPEND, landed.march())
        older = landed.files["load"]
        landed.land("load", "a.csv", b"id\n9\n")
        newer = landed.start("load_file", APPEND, landed.march(attempt=2))
        landed.files["load"] = older
        return newer

    came = sleep_before_insert(wire, STEPS[step], fail_and_load_the_newer_file)
    with pytest.raises(TaskFailure):
        landed.start("load_file", APPEND, landed.march())
    assert isinstance(came[1], Finished)
    assert wire.rows["daily"] == LOADED


def test_cloud_storage_that_does_not_answer_leaves_the_attempt_open(landed: Room, wire: BigQueryWire) -> None:
    answers = landed.clients.storage
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        landed.clients._storage = Storage("p", nobody, call_seconds=0.2, retry_seconds=0.5)
        with pytest.raises(Unavailable, match="no answer"):
            landed.start("load_file", APPEND, landed.march())
    landed.clients._storage = answers
    landed.start("load_file", APPEND, landed.march())
    assert wire.steps == ["load", "prepare-1", "write-1"]


LOST: list[Literal["503", "broken connection"]] = ["503", "broken connection"]


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_call_that_took_effect_and_whose_answer_was_lost_is_no_second_call(
    landed: Room, wire: BigQueryWire, method: str, how: Literal["503", "broken connection"]
) -> None:
    wire.loses[method] = how
    finished = landed.start("load_file", APPEND, landed.march())
    assert not wire.loses
    assert finished.details["rows"] == wire.rows["daily"] == LOADED
    assert set(wire.tables) == {"daily"}
    assert len(wire.jobs) == len(set(wire.steps)) == 3


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize(("kind", "config"), [("bigquery_query", {"sql": "SELECT 1"}), ("load_file", APPEND)])
def test_a_cancelling_whose_answer_was_lost_is_confirmed_when_asked_again(
    landed: Room, wire: BigQueryWire, kind: str, config: dict[str, Any], how: Literal["503", "broken connection"]
) -> None:
    wire.held = True
    landed.begin(kind, config, landed.march())
    wire.loses["POST"] = how
    assert not landed.cancel(kind, config, landed.march())
    assert landed.cancel(kind, config, landed.march())
    assert not wire.rows
