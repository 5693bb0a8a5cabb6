"""Many files in one load job: all of them arrive, or none; the bad ones are named, and left out if that is wanted."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from run.errors import BadFiles, PassingFailure, PermanentFailure
from run.kinds.kind import Finished, ObjectVersion, TakenFile, Work
from run.kinds.load_sources import check_generations, named_in
from tests.integration.kinds.bigquery_wire import BigQueryWire
from tests.integration.kinds.room import Room

COLUMNS = [{"name": "id", "type": "INTEGER"}, {"name": "name", "type": "STRING"}]
TABLE: dict[str, Any] = {"table": "{dataset}.target", "schema": COLUMNS}
SET_ASIDE: dict[str, Any] = {**TABLE, "on_bad_file": "set_aside"}


def load(room: Room, files: list[TakenFile], config: dict[str, Any] = TABLE, attempt: int = 1) -> Finished:
    return room.start("load_file", config, with_files(room.work("load", attempt=attempt), files))


def with_files(work: Work, files: list[TakenFile]) -> Work:
    return Work(**{**vars(work), "files": {}, "collected": {work.task: tuple(files)}})


def put(room: Room, *parts: tuple[str, bytes]) -> list[TakenFile]:
    """Objects as a task has collected them, known by 1, 2, 3."""
    places = [room.put("landing", f"{room.name}/{name}", content) for name, content in parts]
    return [TakenFile(number, place, place) for number, place in enumerate(places, 1)]


def ids(room: Room) -> list[int]:
    return [row["id"] for row in room.rows("SELECT id FROM {dataset}.target ORDER BY id")]


A, B, BAD = ("a.csv", b"id,name\n1,a\n"), ("b.csv", b"id,name\n2,b\n"), ("c.csv", b"id,name\nzz,c\n")


def test_the_rows_of_all_files_arrive_by_one_job(room: Room) -> None:
    finished = load(room, put(room, A, B, ("d.csv", b"id,name\n4,d\n")))
    assert ids(room) == [1, 2, 4]
    assert (finished.details["files"], finished.details["rows"]) == (3, 3)
    assert [one["source"].rpartition("/")[2] for one in finished.details["sources"]] == ["a.csv", "b.csv", "d.csv"]


def test_another_attempt_with_more_files_replaces_the_rows_of_the_first(room: Room) -> None:
    files = put(room, A, B)
    load(room, files[:1])
    load(room, files, attempt=2)
    assert ids(room) == [1, 2]


def test_one_bad_file_fails_the_attempt_and_no_row_arrives(room: Room) -> None:
    with pytest.raises(PermanentFailure, match="zz") as failure:
        load(room, put(room, A, B, BAD))
    assert not isinstance(failure.value, BadFiles)
    assert [table.table_id for table in room.bigquery.list_tables(room.name) if table.table_id == "target"] == []


def test_bad_files_are_set_aside_by_the_errors_that_name_them_and_the_rest_is_loaded_next(room: Room) -> None:
    files = put(room, A, BAD, B)
    for _ in range(2):
        # A second worker of the attempt comes to the same end.
        with pytest.raises(BadFiles, match=r"1 of 3 files are set aside, and the next attempt loads the others") as bad:
            load(room, files, SET_ASIDE)
        assert list(bad.value.reasons) == [2]
        assert "zz" in bad.value.reasons[2]
    load(room, [files[0], files[2]], SET_ASIDE, attempt=2)
    assert ids(room) == [1, 2]


def test_when_every_file_is_bad_there_is_nothing_to_go_on_with(room: Room) -> None:
    with pytest.raises(PermanentFailure, match="zz") as failure:
        load(room, put(room, BAD), SET_ASIDE)
    assert not isinstance(failure.value, BadFiles)


def test_a_name_that_bigquery_cannot_load_is_set_aside_too(room: Room) -> None:
    place = ObjectVersion("landing", "a*.csv", 7)
    with pytest.raises(BadFiles, match="wildcard") as bad:
        load(room, [*put(room, A), TakenFile(9, place, place)], SET_ASIDE)
    assert list(bad.value.reasons) == [9]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a.csv", "b.json"), r"a\.csv is csv and .*b\.json is json; one job loads files of one format"),
        (("a.csv", "b.csv.gz"), r"b\.csv\.gz is compressed and .*a\.csv is not"),
        (("a.csv", "b.txt"), r"b\.txt does not tell its format"),
    ],
)
def test_files_that_one_job_cannot_load_together_are_refused(room: Room, names: tuple[str, ...], reason: str) -> None:
    files = put(room, *((name, gzip.compress(b"id\n1\n") if name.endswith("gz") else b"id\n1\n") for name in names))
    with pytest.raises(PermanentFailure, match=reason):
        load(room, files)


def test_more_files_than_a_job_takes_are_refused_with_the_limit(room: Room) -> None:
    place = ObjectVersion("landing", "a.csv", 1)
    with pytest.raises(PermanentFailure, match=r"there are 10,001 files, and BigQuery loads at most 10,000 in one job"):
        load(room, [TakenFile(number, place, place) for number in range(10_001)])


def test_a_file_that_changed_since_it_arrived_fails_the_attempt(room: Room) -> None:
    files = put(room, A, B)
    newer = room.put("landing", files[1].place.name, b"id,name\n3,c\n")
    with pytest.raises(PermanentFailure, match=rf"b\.csv has changed: its generation is {newer.generation}"):
        load(room, files)


def test_a_file_that_is_gone_fails_the_attempt_and_the_next_one_looks_again(room: Room) -> None:
    gone = ObjectVersion("landing", f"{room.name}/gone.csv", 7)
    with pytest.raises(PassingFailure, match=r"gone\.csv is gone; its generation 7"):
        load(room, [*put(room, A, B), TakenFile(9, gone, gone)])


def test_the_generations_of_many_files_are_looked_up_a_page_at_a_time(room: Room) -> None:
    # What lies between the files is left out, however much that is.
    wanted = [room.put("landing", f"{room.name}/{number:05d}", b"") for number in range(0, 30, 3)]
    for number in range(1, 30, 3):
        room.put("landing", f"{room.name}/{number:05d}", b"")
    storage = room.clients.storage
    check_generations(storage, wanted, page_size=4)
    wanted[7] = ObjectVersion("landing", wanted[7].name, 1)
    with pytest.raises(PermanentFailure, match=f"{wanted[7].name} has changed"):
        check_generations(storage, wanted, page_size=4)


URIS = ["gs://b/part-1", "gs://b/part-10", "gs://b/part 2", "gs://b/x"]


@pytest.mark.parametrize(
    ("error", "named"),
    [
        ({"reason": "invalid", "location": "gs://b/part-10", "message": "no number"}, [1]),
        ({"reason": "invalid", "message": "Error while reading data, error message: x File: gs://b/part-1"}, [0]),
        ({"reason": "invalid", "message": "gs://b/part 2: no number; gs://b/part-10, line 7"}, [2, 1]),
        ({"reason": "invalid", "message": "gs://b/other"}, []),
        ({"reason": "accessDenied", "location": "gs://b/x", "message": "Access Denied: File gs://b/x"}, []),
        ({"reason": "invalid", "message": "the schema has no columns"}, []),
    ],
)
def test_files_are_named_by_the_location_or_the_words_of_an_error(error: dict[str, str], named: list[int]) -> None:
    places = [ObjectVersion("b", uri.removeprefix("gs://b/"), 1) for uri in URIS]
    files = [TakenFile(number, place, place) for number, place in enumerate(places)]
    assert list(named_in([error], files)) == named


def test_all_addresses_are_in_the_one_job(room_on_the_wire: Room, wire: BigQueryWire) -> None:
    files = put(room_on_the_wire, *((f"{number:03d}.csv", b"id\n1\n") for number in range(100)))
    load(room_on_the_wire, files)
    [job] = [one["configuration"]["load"] for one in wire.inserts if "load" in one["configuration"]]
    assert job["sourceUris"] == [file.place.uri for file in files]


def test_a_failure_that_may_pass_sets_no_file_aside(room_on_the_wire: Room, wire: BigQueryWire) -> None:
    files = put(room_on_the_wire, A, B)
    wire.error_results = [{"reason": "backendError", "message": "try again", "location": files[0].place.uri}]
    with pytest.raises(PassingFailure, match="try again") as failure:
        load(room_on_the_wire, files, SET_ASIDE)
    assert not isinstance(failure.value, BadFiles)
