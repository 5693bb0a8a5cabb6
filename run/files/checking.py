"""Checks a file against its contract, and writes it as Parquet; `check` is what the child process runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import duckdb

from run.files.checks import literal
from run.files.contract import Contract
from run.files.csv_rows import CsvRows
from run.files.drift import Drift, drift_of
from run.files.json_rows import JsonRows
from run.files.outcome import ERRORS, PARQUET
from run.files.pipe import Pipe, cell
from run.files.reading import Text, Unreadable
from run.files.table import Table

#: How many errors are told one by one; all of them are in the file.
MOST_TOLD = 20
#: DuckDB's part of the memory that the child may use; Python and the buffers of CSV and Parquet have the rest.
_PART_OF_MEMORY = 0.3
#: Of a table that is being written DuckDB has a block for each column, twice, and a group of rows in memory. Small ones
#: let files of hundreds of columns, and of long texts, do with little.
_BLOCK_BYTES, _ROWS_OF_A_GROUP = 16_384, 16_384
_MIB = 1024 * 1024
#: The pipe gives rows to one thread only; another one would wait for it, and burn as much time as it works.
_THREADS = 1


@dataclass(frozen=True)
class _Job:
    """One file to check in one folder, and whether to write Parquet."""

    database: duckdb.DuckDBPyConnection
    contract: Contract
    folder: Path
    writes: bool

    @property
    def names(self) -> tuple[str, ...]:
        """What the file calls the columns of the contract."""
        return tuple(column.in_file for column in self.contract.columns)

    @property
    def adds(self) -> bool:
        """Whether columns that only the file has are written, too."""
        return self.writes and self.contract.drift == "add"

    def of_csv(self, text: Text) -> dict[str, Any]:
        """The outcome for a CSV file, whose header may settle it."""
        rows = CsvRows(text, self.contract.csv, self.names)
        drift = drift_of(self.contract, rows.names)
        refused = drift.refused(self.contract)
        if refused:
            return {"outcome": "drifted", "reasons": refused, "drift": drift.as_json}
        cells = {name: cell(number) for number, name in enumerate(rows.names)}
        places = {name: number for number, name in enumerate(rows.names, 1)}
        more = {name: cells[name] for name in drift.new} if self.adds else {}
        table = Table(self.database, self.contract, cells, places, list(more.values()), keeps_values=self.writes)
        table.fill(Pipe(rows))
        return self._outcome(table, drift, more)

    def of_json(self, text: Text) -> dict[str, Any]:
        """The outcome for a JSON file, whose columns are known when all of it has been read."""
        rows = JsonRows(text, self.names, keeps_more=self.adds)
        cells = {name: cell(number) for number, name in enumerate(self.names)}
        others = cell(len(self.names))
        table = Table(self.database, self.contract, cells, {}, [others] if self.adds else [], keeps_values=self.writes)
        table.fill(Pipe(rows))
        drift = drift_of(self.contract, rows.found) if table.count else Drift()
        more = {name: _of_object(others, name) for name in drift.new} if self.adds else {}
        return self._outcome(table, drift, more)

    def _outcome(self, table: Table, drift: Drift, more: Mapping[str, str]) -> dict[str, Any]:
        drift = replace(drift, retyped=tuple(table.retyped()))
        reasons = drift.refused(self.contract)
        found = {"rows": table.count, **({"drift": drift.as_json} if drift else {})}
        if reasons or table.errors:
            table.write_errors(self.folder / ERRORS)
            outcome = {"outcome": "drifted" if reasons else "broken", "reasons": reasons}
            return found | outcome | {"errors": table.errors, "first_errors": table.first_errors(MOST_TOLD)}
        if self.writes:
            table.write_parquet(self.folder / PARQUET, more)
        return found | {"outcome": "sound"}


def check(argument: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Check the file on standard input; `argument` has the contract, the memory in bytes, and whether to write Parquet.

    Returns the outcome, which is "sound", "broken", "drifted" or "unreadable", and what an engineer must know of it.
    """
    contract = Contract.model_validate(argument["contract"])
    return check_stream(sys.stdin.buffer, contract, folder, memory=argument["memory"], writes=argument["writes"])


def check_stream(
    stream: BinaryIO, contract: Contract, folder: Path, *, memory: int, writes: bool = False
) -> dict[str, Any]:
    """Check a file; the same as `check`, for any stream."""
    with _database(folder, memory) as database:
        job = _Job(database, contract, folder, writes)
        try:
            text = Text(stream, contract.encoding)
            return job.of_csv(text) if contract.format == "csv" else job.of_json(text)
        except Unreadable as error:
            reason = str(error)
        except duckdb.OutOfMemoryException:
            reason = f"needs more memory than {memory // _MIB} MiB to be checked; write a larger memory_mib"
    return {"outcome": "unreadable", "reasons": [reason]}


def _of_object(cell: str, key: str) -> str:
    return f"json_extract_string({cell}, '$.\"{key}\"')"


def _database(folder: Path, memory: int) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(
        config={
            "memory_limit": f"{int(memory * _PART_OF_MEMORY)}B",
            "threads": _THREADS,
            "temp_directory": str(folder / "spill"),
        },
    )
    database.execute("SET TimeZone = 'UTC'")
    # In a file, so that what is more than may be in memory goes to the disk.
    sizes = f"BLOCK_SIZE {_BLOCK_BYTES}, ROW_GROUP_SIZE {_ROWS_OF_A_GROUP}"
    database.execute(f"ATTACH {literal(str(folder / 'rows.duckdb'))} AS file ({sizes})")
    database.execute("USE file")
    return database
