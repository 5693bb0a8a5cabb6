"""What was checked becomes Parquet, once, and loads."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest

from run.clients import Clients
from run.errors import PermanentFailure, Unavailable
from run.kinds.convert_file import KEY, MAKER, ROWS
from run.kinds.kind import Finished, ObjectVersion
from run.settings import Settings
from tests.faults.kill.http_proxy import HttpProxy, Request
from tests.integration.kinds.room import DATA, Room

CONTRACT: dict[str, Any] = {
    "columns": [
        {"name": "id", "type": "INT64", "required": True},
        {"name": "day", "type": "DATE"},
        {"name": "amount", "type": "NUMERIC(10, 2)", "min": 0},
    ],
    "unique": "id",
}
GOOD = b"id,day,amount\n1,2024-03-01,1.50\n2,,\n"
MORE = GOOD + b"3,,\n"


def convert(room: Room, attempt: int = 1, **config: Any) -> Finished:
    return room.start("convert_file", {**CONTRACT, **config}, room.work("load", attempt=attempt))


def made(finished: Finished) -> ObjectVersion:
    assert finished.made is not None
    return finished.made


def rows(room: Room, finished: Finished) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = pq.read_table(io.BytesIO(room.read(made(finished)))).to_pylist()
    return read


def is_upload(request: Request) -> bool:
    return request.method == "POST" and "/upload/" in request.path


@pytest.fixture
def proxy(servers: tuple[str, str]) -> Iterator[HttpProxy]:
    with HttpProxy(servers[0]) as proxy:
        yield proxy


@pytest.fixture
def disturbed(room: Room, servers: tuple[str, str], proxy: HttpProxy) -> Room:
    """The same room, in which the kinds meet Cloud Storage through the proxy."""
    settings = Settings(
        database_url="postgresql://nobody@localhost/none",
        project="local",
        landing_bucket="landing",
        storage_emulator_host=proxy.url,
        bigquery_emulator_host=servers[1],
    )
    return replace(room, clients=Clients(settings))


def test_a_file_becomes_parquet_with_the_types_of_its_contract(room: Room) -> None:
    file = room.land("load", "a.csv", GOOD)
    finished = convert(room)
    table = pq.read_table(io.BytesIO(room.read(made(finished))))
    assert {field.name: str(field.type) for field in table.schema} == {
        "id": "int64",
        "day": "date32[day]",
        "amount": "decimal128(10, 2)",
    }
    assert table.num_rows == finished.details["rows"] == 2
    assert made(finished).uri == f"gs://landing/processed/{room.name[:40]}/2024-03/load/a.parquet"
    assert finished.details["destination"] == made(finished).uri
    assert room.read(file.place) == GOOD


def test_a_file_that_breaks_its_contract_becomes_nothing(room: Room) -> None:
    file = room.land("load", "a.csv", b"id,day,amount\n1,2024-03-01,1.50\n2,yesterday,-1\n")
    with pytest.raises(PermanentFailure, match="2 errors, the first on line 3 in column 'day'"):
        convert(room)
    assert room.clients.storage.list_page("landing", f"processed/{room.name[:40]}").objects == ()
    assert room.read(file.place).endswith(b"-1\n")


@pytest.mark.parametrize("content", [b"id,day,amount\n", b"id,day,amount"])
def test_a_file_that_is_all_header_becomes_an_empty_table(room: Room, content: bytes) -> None:
    room.land("load", "a.csv", content)
    finished = convert(room)
    assert (rows(room, finished), finished.details["rows"]) == ([], 0)


def test_what_was_made_loads_with_its_types(room: Room) -> None:
    room.land("raw", "penguins.json", (DATA / "penguins.json").read_bytes())
    contract = {
        "from": "raw",
        "columns": [
            {"name": "species", "header": "Species", "required": True},
            {"name": "beak", "header": "Beak Length (mm)", "type": "NUMERIC"},
            {"name": "mass", "header": "Body Mass (g)", "type": "INT64"},
        ],
        "drift": "ignore",
    }
    finished = room.start("convert_file", contract, room.work("convert"))
    place = made(finished)
    room.files["convert"] = replace(room.files["raw"], landed=place, place=place)
    loaded = room.start("load_file", {"from": "convert", "table": "{dataset}.penguins"}, room.work("load"))
    assert loaded.details["source"] == place.uri
    penguins = json.loads((DATA / "penguins.json").read_text())
    [found] = room.rows("SELECT COUNT(*) AS n, SUM(mass) AS mass, MAX(beak) AS beak FROM {dataset}.penguins")
    assert (found["n"], found["mass"]) == (344, sum(one["Body Mass (g)"] or 0 for one in penguins))
    assert float(found["beak"]) == max(one["Beak Length (mm)"] or 0 for one in penguins)


def test_all_types_load(room: Room) -> None:
    room.land("load", "a.csv", b"d,t,m,f,b,c,j\n2024-03-16 10:30,2024-03-16T10:30:00+02:00,2.5,1e3,yes,10:30,{}\n")
    kinds = {"d": "DATETIME", "t": "TIMESTAMP", "m": "NUMERIC", "f": "FLOAT64", "b": "BOOL", "c": "TIME", "j": "JSON"}
    columns = [{"name": name, "type": kind} for name, kind in kinds.items()]
    place = made(room.start("convert_file", {"columns": columns}, room.work("load")))
    room.files["made"] = replace(room.files["load"], landed=place, place=place)
    room.start("load_file", {"from": "made", "table": "{dataset}.a"}, room.work("other"))
    [row] = room.rows("SELECT CAST(d AS STRING) d, UNIX_SECONDS(t) t, m, f, b, CAST(c AS STRING) c FROM {dataset}.a")
    assert (row["d"][:16], row["t"], float(row["m"]), row["f"], row["b"], row["c"][:5]) == (
        *("2024-03-16 10:30", 1710577800, 2.5, 1000.0, True, "10:30"),
    )


def test_new_columns_are_added_behind_the_others(room: Room) -> None:
    room.land("load", "a.csv", b"id,day,amount,city\n1,,,Ulm\n")
    finished = convert(room, drift="add")
    assert rows(room, finished) == [{"id": 1, "day": None, "amount": None, "city": "Ulm"}]
    assert finished.details["drift"] == {"new": ["city"], "missing": [], "retyped": []}


def test_a_second_worker_of_the_attempt_adopts_what_the_first_has_written(room: Room) -> None:
    file = room.land("load", "a.csv", GOOD)
    first = convert(room)
    # Whatever has become of the raw file: its rows are there.
    room.clients.storage.delete(file.place.bucket, file.place.name, file.place.generation)
    second = convert(room)
    assert (second.made, second.details["rows"]) == (first.made, 2)


def test_another_attempt_replaces_what_an_earlier_one_has_made(room: Room) -> None:
    room.land("load", "a.csv", GOOD)
    first = convert(room)
    room.land("load", "a.csv", MORE)
    second = convert(room, attempt=2)
    assert made(second).generation != made(first).generation
    assert len(rows(room, second)) == 3


def test_an_earlier_attempt_that_wakes_up_replaces_nothing(room: Room) -> None:
    room.land("load", "a.csv", GOOD)
    second = convert(room, attempt=2)
    with pytest.raises(PermanentFailure, match="was made by attempt 2, which is later than this one"):
        convert(room, attempt=1)
    assert len(rows(room, second)) == 2


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({}, "something that no task converted"),
        ({MAKER: "other/2024-03/load", KEY: "x/1", ROWS: "5"}, "the task other/2024-03/load"),
    ],
)
def test_a_place_that_is_taken_is_left_as_it_is(room: Room, metadata: dict[str, str], owner: str) -> None:
    room.land("load", "a.csv", GOOD)
    blob = room.storage.bucket("landing").blob(f"processed/{room.name[:40]}/2024-03/load/a.parquet")
    blob.metadata = metadata
    blob.upload_from_string(b"theirs", timeout=10)
    with pytest.raises(PermanentFailure, match=rf"is taken by {owner}"):
        convert(room)
    assert blob.download_as_bytes(timeout=10) == b"theirs"


def test_the_place_of_the_file_itself_is_none(room: Room) -> None:
    room.land("load", "a.csv", GOOD)
    with pytest.raises(PermanentFailure, match="is where the file itself lies"):
        convert(room, to="gs://landing/{dataset}/{file_name}")


def test_an_answer_that_was_lost_after_the_write_is_made_good(disturbed: Room, proxy: HttpProxy) -> None:
    disturbed.land("load", "a.csv", GOOD)
    proxy.lose_answer(is_upload)
    finished = convert(disturbed)
    assert len(proxy.lost) == 1
    assert len(rows(disturbed, finished)) == 2
    page = disturbed.clients.storage.list_page("landing", f"processed/{disturbed.name[:40]}")
    assert [one.generation for one in page.objects] == [made(finished).generation]


def test_what_appears_between_the_look_and_the_write_is_never_overwritten(disturbed: Room, proxy: HttpProxy) -> None:
    disturbed.land("load", "a.csv", GOOD)
    name = f"processed/{disturbed.name[:40]}/2024-03/load/a.parquet"

    def put_first(request: Request) -> bool:
        if is_upload(request):
            disturbed.put("landing", name, b"theirs")
        return False

    proxy.hold(put_first)
    with pytest.raises(PermanentFailure, match="is taken by something that no task converted"):
        convert(disturbed)
    assert disturbed.storage.bucket("landing").blob(name).download_as_bytes(timeout=10) == b"theirs"


def test_an_attempt_that_was_taken_away_writes_nothing(room: Room) -> None:
    room.land("load", "a.csv", GOOD)
    work = replace(room.work("load"), is_lost=lambda: True)
    with pytest.raises(Unavailable, match="taken away"):
        room.start("convert_file", CONTRACT, work)
    assert room.clients.storage.list_page("landing", f"processed/{room.name[:40]}").objects == ()
