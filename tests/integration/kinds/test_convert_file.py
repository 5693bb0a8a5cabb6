"""What was checked becomes Parquet, once, and loads."""

from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet as pq
import pytest

from run.errors import PermanentFailure
from run.kinds.kind import Finished
from tests.integration.kinds.room import Room

CONTRACT: dict[str, Any] = {
    "columns": [
        {"name": "id", "type": "INT64", "required": True},
        {"name": "day", "type": "DATE"},
        {"name": "amount", "type": "NUMERIC(10, 2)", "min": 0},
    ],
    "unique": "id",
}
GOOD = b"id,day,amount\n1,2024-03-01,1.50\n2,,\n"


def convert(room: Room, attempt: int = 1, **config: Any) -> Finished:
    return room.start("convert_file", {**CONTRACT, **config}, room.work("load", attempt=attempt))


def test_a_file_becomes_parquet_with_the_types_of_its_contract(room: Room) -> None:
    room.land("load", "a.csv", GOOD)
    finished = convert(room)
    assert finished.made is not None
    table = pq.read_table(io.BytesIO(room.read(finished.made)))
    assert {field.name: str(field.type) for field in table.schema} == {
        "id": "int64",
        "day": "date32[day]",
        "amount": "decimal128(10, 2)",
    }
    assert table.num_rows == finished.details["rows"] == 2
    assert finished.made.uri == f"gs://landing/processed/{room.name[:40]}/2024-03/load/a.parquet"


def test_a_file_that_breaks_its_contract_becomes_nothing(room: Room) -> None:
    room.land("load", "a.csv", b"id,day,amount\n1,2024-03-01,1.50\n2,yesterday,-1\n")
    with pytest.raises(PermanentFailure, match="2 errors, the first on line 3 in column 'day'") as caught:
        convert(room)
    print(caught.value, caught.value.details)
    assert room.clients.storage.list_page("landing", f"processed/{room.name[:40]}").objects == ()
