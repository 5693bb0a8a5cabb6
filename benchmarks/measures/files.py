"""How fast a raw CSV file is checked and converted, and how much memory that takes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figures import Figure
from benchmarks.measures.measuring import Bench
from run.kinds.child_process import MIB, Ended, Limits, run_child
from run.kinds.contract import ContractConfig
from run.kinds.kind import ObjectVersion

MB = 1_000_000
#: What a task may use when it does not say.
MEMORY = 512 * MIB
LONGEST_SECONDS = 1_800
PIECE = 8 * MIB
#: Rows that are written again and again, each time under other numbers.
ROWS_OF_A_BLOCK = 20_000
#: An odd factor gives every row a number of its own, in no order, so that keys cannot be told apart by looking back.
SCATTER, NUMBERS = 2_654_435_761, 2**40
HEADER = "order_id,day,shop,status,sku,amount,rate,note\n"
KEYS: dict[str, Any] = {
    "columns": [
        {"name": "order_id", "type": "INT64", "required": True, "min": 0},
        {"name": "day", "type": "DATE", "required": True},
        {"name": "shop", "required": True},
        {"name": "status", "allowed": ["open", "paid", "sent"]},
        {"name": "sku", "pattern": "[A-C]{3}-[0-9]+"},
        {"name": "amount", "type": "NUMERIC(10, 2)", "min": 0},
        {"name": "rate", "type": "FLOAT64"},
        {"name": "note"},
    ],
    "unique": "order_id",
}


@dataclass(frozen=True)
class _Done:
    """How fast it went, in MB/s, with how much memory at most, in MiB; and on what."""

    rate: float
    peak: float
    note: str


def measure(bench: Bench) -> list[Figure]:
    """One file, checked and then converted; it is read from the disk, and nothing goes over a network."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "orders.csv"
        bench.say(f"writing {bench.file_mb:,} MB")
        rows = _write(path, bench.file_mb * MB)
        bench.say(f"checking {rows:,} rows")
        validated = _timed(path, rows, writes=False)
        bench.say(f"converting {rows:,} rows")
        converted = _timed(path, rows, writes=True)
    return [
        Figure("validate_rate", validated.rate, validated.note),
        Figure("convert_rate", converted.rate, converted.note),
        Figure("file_memory", max(validated.peak, converted.peak), f"{validated.peak:.0f} MiB to check"),
    ]


def _timed(path: Path, rows: int, *, writes: bool) -> _Done:
    began = time.monotonic()
    ended = _run(path, writes=writes)
    seconds = time.monotonic() - began
    if (ended.result["outcome"], ended.result["rows"]) != ("sound", rows):
        raise AssertionError(ended.result)
    size = path.stat().st_size / MB
    note = f"{size:,.0f} MB, {rows:,} rows of 8 columns, one unique key, {seconds:.0f} s"
    return _Done(size / seconds, ended.peak / MIB, note)


def _run(path: Path, *, writes: bool) -> Ended:
    contract = ContractConfig.model_validate(KEYS).contract_of(ObjectVersion("bench", path.name, 1))
    argument = {"contract": contract.model_dump(mode="json"), "memory": MEMORY, "writes": writes}
    with TemporaryDirectory() as folder:
        limits = Limits(MEMORY, LONGEST_SECONDS)
        return run_child("run.files.checking:check", argument, Path(folder), limits, feed=_pieces(path))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _write(path: Path, size: int) -> int:
    """Write so many bytes, to the end of a block; the number of rows."""
    ends = list(_ends(random.Random(1)))  # Not for secrets.
    rows = 0
    with path.open("w", newline="") as file:
        file.write(HEADER)
        while file.tell() < size:
            numbers = ((rows + row) * SCATTER % NUMBERS for row in range(ROWS_OF_A_BLOCK))
            file.writelines(f"{number},{end}" for number, end in zip(numbers, ends, strict=True))
            rows += ROWS_OF_A_BLOCK
    return rows


def _ends(chance: random.Random) -> Iterator[str]:
    """What stands behind the numbers of a block; a third of the rows has a quoted cell."""
    for row in range(ROWS_OF_A_BLOCK):
        note = ("", f"a plain note of {row}", f'"in quotes, {row}"')[row % 3]
        sku = f"{'ABC'[row % 3] * 3}-{chance.randrange(100_000)}"
        money = f"{chance.randrange(10_000_000) / 100:.2f},{chance.random()}"
        status = ("open", "paid", "sent")[row % 3]
        yield f"2024-{row % 12 + 1:02}-{row % 28 + 1:02},shop {row % 500},{status},{sku},{money},{note}\n"
