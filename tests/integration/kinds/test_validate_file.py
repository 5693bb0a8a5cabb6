"""A file keeps its contract, or the task says where it does not, beside the file."""

from __future__ import annotations

import csv
import gzip
import io
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from run.clients import Clients
from run.clients.storage import Storage, StoredObject
from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.kinds.checked_file import FileCheck
from run.kinds.contract import ContractConfig
from run.kinds.kind import Finished, TakenFile
from run.kinds.own_objects import REPORT_MARKER, is_ours
from tests.integration.kinds.room import DATA, Room

CONTRACT: dict[str, Any] = {
    "columns": [{"name": "id", "type": "INT64"}, {"name": "name", "required": True}],
    "unique": "id",
}
GOOD = b"id,name\n1,a\n2,b\n"
BAD = b"id,name\n1,a\nx,b\n3,\n"


def validate(room: Room, **config: Any) -> Finished:
    return room.start("validate_file", {**CONTRACT, **config}, room.work("load"))


def refused(room: Room, **config: Any) -> PermanentFailure:
    with pytest.raises(PermanentFailure) as caught:
        validate(room, **config)
    return caught.value


def report(room: Room, file: TakenFile) -> list[dict[str, str]]:
    found = room.clients.storage.find("landing", f"{file.place.name}.errors.csv")
    assert found is not None
    assert is_ours(found.uri, found.metadata)
    content = b"".join(room.clients.storage.read(found)).decode()
    return list(csv.DictReader(io.StringIO(content)))


def objects(room: Room) -> list[str]:
    return [one.name.rpartition("/")[2] for one in room.clients.storage.list_page("landing", f"{room.name}/").objects]


def test_a_sound_file_is_counted_and_nothing_is_written(room: Room) -> None:
    file = room.land("load", "a.csv", GOOD)
    details = dict(validate(room).details)
    assert 0 < details.pop("peak_mib") < 256
    assert details == {"source": file.place.uri, "generation": file.place.generation, "outcome": "sound", "rows": 2}
    assert objects(room) == ["a.csv"]


def test_the_first_error_is_in_the_message_and_all_are_beside_the_file(room: Room) -> None:
    file = room.land("load", "a.csv", BAD)
    failure = refused(room)
    assert str(failure) == (
        f"{file.place.uri} breaks its contract: 2 errors, the first on line 3 in column 'id': 'x' is no INT64; "
        f"all of them are in {file.place.uri}.errors.csv"
    )
    assert report(room, file) == [
        {"line": "3", "row": "2", "column": "id", "position": "1", "value": "x", "reason": "is no INT64"},
        {
            "line": "4",
            "row": "3",
            "column": "name",
            "position": "2",
            "value": "",
            "reason": "is missing, and the column is required",
        },
    ]
    told = failure.details
    assert (told["outcome"], told["errors"], told["rows"]) == ("broken", 2, 3)
    assert told["first_errors"][0] == {
        "line": 3,
        "row": 2,
        "column": "id",
        "position": 1,
        "value": "x",
        "reason": "is no INT64",
    }


def test_of_many_errors_twenty_are_told_and_all_are_beside_the_file(room: Room) -> None:
    file = room.land("load", "a.csv", b"id,name\n" + b"1,a\n" + b"x,b\n" * 500)
    failure = refused(room)
    assert (failure.details["errors"], len(failure.details["first_errors"])) == (500, 20)
    assert [int(one["line"]) for one in report(room, file)] == list(range(3, 503))


def test_a_report_is_replaced_and_goes_away_when_the_file_is_sound(room: Room) -> None:
    room.land("load", "a.csv", BAD)
    refused(room)
    file = room.land("load", "a.csv", b"id,name\n1,\n")
    refused(room)
    assert [one["line"] for one in report(room, file)] == ["2"]
    room.land("load", "a.csv", GOOD)
    validate(room)
    assert objects(room) == ["a.csv"]


def test_a_worker_that_has_lost_its_attempt_takes_no_report_away(room: Room, tmp_path: Path) -> None:
    file = room.land("load", "a.csv", GOOD)
    uri = f"{file.place.uri}.errors.csv"
    asked: list[int] = []

    class Reported(Storage):
        """Has the report of a newer attempt before this one looks for it."""

        def find(self, bucket: str, name: str) -> StoredObject | None:
            if name.endswith(".errors.csv"):
                (tmp_path / "report").write_text("line,reason\n")
                found = room.clients.storage.write(
                    tmp_path / "report", bucket, name, "text/csv", {REPORT_MARKER: uri}, 0
                )
                asked.append(found.generation)
                return found
            return room.clients.storage.find(bucket, name)

    storage = Reported("local", room.clients._settings.storage_emulator_host)
    work = replace(room.work("load"), is_lost=lambda: bool(asked))
    with pytest.raises(Unavailable, match="taken away"):
        FileCheck(storage, ContractConfig.model_validate(CONTRACT), work, tmp_path).run(writes=False)
    held = room.clients.storage.find("landing", f"{file.place.name}.errors.csv")
    assert held is not None
    assert [held.generation] == asked


def test_what_somebody_else_has_put_in_the_reports_place_stays(room: Room) -> None:
    file = room.land("load", "a.csv", BAD)
    other = room.put("landing", f"{file.place.name}.errors.csv", b"mine")
    failure = refused(room)
    assert "none of our reports; it stays" in failure.details["errors_file_problem"]
    assert "2 errors, the first on line 3" in str(failure)
    assert room.read(other) == b"mine"
    room.land("load", "a.csv", GOOD)
    validate(room)
    assert room.read(other) == b"mine"


@pytest.mark.parametrize(
    ("content", "outcome", "words"),
    [
        (b"", "unreadable", "cannot be read: is empty"),
        (b"id,name\n1,Zo\xeb\n", "unreadable", "cannot be read: has bytes (eb) that are no utf-8"),
        (b"id,name,new\n1,a,b\n", "drifted", "has drifted from its contract: 'new' is new"),
        (b"id,name\n1\n", "broken", "1 error, the first on line 2: the row has 1 cells, and there are 2 columns"),
    ],
)
def test_each_outcome_has_its_words(room: Room, content: bytes, outcome: str, words: str) -> None:
    room.land("load", "a.csv", content)
    failure = refused(room)
    assert words in str(failure)
    assert failure.details["outcome"] == outcome


def test_a_bound_of_rows_is_an_error_of_the_file(room: Room) -> None:
    file = room.land("load", "a.csv", GOOD)
    assert "1 error, the first the file has 2 rows, and at least 3 are wanted" in str(refused(room, rows={"min": 3}))
    assert [one["line"] for one in report(room, file)] == [""]


def test_gzip_is_unpacked_and_told_by_what_is_inside(room: Room) -> None:
    room.land("load", "a.csv", gzip.compress(GOOD))
    assert validate(room).details["rows"] == 2


def test_an_object_that_is_stored_packed_is_read_as_it_is_stored(room: Room) -> None:
    blob = room.storage.bucket("landing").blob(f"{room.name}/a.csv")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(GOOD), content_type="text/csv", timeout=10)
    file = room.land("load", "b.csv", b"")
    place = replace(file.place, name=blob.name, generation=int(blob.generation))
    room.files["load"] = replace(file, landed=place, place=place)
    assert validate(room).details["rows"] == 2


def test_a_real_file_is_checked_from_end_to_end(room: Room) -> None:
    room.land("load", "gapminder.json", (DATA / "gapminder.json").read_bytes())
    columns = [
        {"name": "year", "type": "INT64", "required": True, "min": 1955, "max": 2005},
        {"name": "country", "required": True},
        *({"name": name, "type": "INT64"} for name in ("cluster", "pop")),
        *({"name": name, "type": "NUMERIC"} for name in ("life_expect", "fertility")),
    ]
    assert validate(room, columns=columns, unique=["year", "country"]).details["rows"] == 682


def test_another_tasks_file_may_be_the_one(room: Room) -> None:
    room.land("raw", "a.csv", GOOD)
    assert validate(room, **{"from": "raw"}).details["rows"] == 2
    with pytest.raises(PermanentFailure, match="no file of batch '2024-03' belongs to task 'other'"):
        validate(room, **{"from": "other"})


def test_a_file_that_has_changed_is_not_checked(room: Room) -> None:
    old = room.land("load", "a.csv", GOOD)
    room.put("landing", old.place.name, BAD)
    with pytest.raises(PermanentFailure, match="was to be checked; the newer one has a notification of its own"):
        validate(room)


def test_a_file_that_is_gone_is_looked_for_again(room: Room) -> None:
    file = room.land("load", "a.csv", GOOD)
    room.clients.storage.delete(file.place.bucket, file.place.name, file.place.generation)
    with pytest.raises(PassingFailure, match="A new attempt looks for it"):
        validate(room)


def test_a_name_that_tells_no_format_is_refused(room: Room) -> None:
    room.land("load", "a.txt", GOOD)
    assert "tells neither CSV nor JSON; write format: csv, or json" in str(refused(room))
    assert validate(room, format="csv").details["rows"] == 2


def test_more_memory_than_allowed_ends_the_task_with_the_reason(room: Room, tmp_path: Path) -> None:
    room.land("load", "a.csv", GOOD)
    config = ContractConfig.model_validate(CONTRACT).model_copy(update={"memory_mib": 20})
    check = FileCheck(room.clients.storage, config, room.work("load"), tmp_path)
    with pytest.raises(PermanentFailure, match=r"^killed: used more than 20 MiB$"):
        check.run(writes=False)


def test_a_storage_that_does_not_answer_lets_the_attempt_go_on_later(room: Room) -> None:
    room.land("load", "a.csv", GOOD)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        clients = Clients(room.clients._settings)
        clients._storage = Storage(
            "p", f"http://127.0.0.1:{taken.getsockname()[1]}", call_seconds=0.2, retry_seconds=0.5
        )
        with pytest.raises(Unavailable, match="no answer"):
            validate(replace(room, clients=clients))
