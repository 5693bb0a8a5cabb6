"""How many rows a file has does not matter; how wide they are may."""

from __future__ import annotations

import secrets
from pathlib import Path

import pyarrow.parquet as pq

from run.files.outcome import PARQUET
from tests.unit.files.checked import MEMORY, checked, contract


def test_a_file_of_hundreds_of_columns_needs_no_more_memory_than_others(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(250)]
    rows = "".join(",".join(f"v{row * 7 + number}" for number in range(250)) + "\n" for row in range(25_000))
    outcome = checked(f"{','.join(names)}\n{rows}", contract(*names), tmp_path, writes=True)
    assert outcome == {"rows": 25_000, "outcome": "sound"}
    assert pq.read_metadata(tmp_path / PARQUET).num_columns == 250


def test_a_file_of_long_texts_becomes_parquet_in_groups_of_fewer_rows(tmp_path: Path) -> None:
    text = secrets.token_hex(4000)
    rows = "".join(f"{row},{text[row % 97 :]}{row}\n" for row in range(10_000))
    outcome = checked(f"a,b\n{rows}", contract("a", "b"), tmp_path, writes=True)
    assert outcome == {"rows": 10_000, "outcome": "sound"}
    assert pq.read_metadata(tmp_path / PARQUET).num_row_groups >= 2


def test_a_file_that_is_too_wide_for_its_memory_says_what_to_write() -> None:
    names = [f"c{number}" for number in range(1500)]
    rows = (",".join(map(str, range(1500))) + "\n") * 3_000
    outcome = checked(f"{','.join(names)}\n{rows}", contract(*names), memory=MEMORY // 2, writes=True)
    assert outcome["reasons"] == ["needs more memory than 256 MiB to be checked; write a larger memory_mib"]
