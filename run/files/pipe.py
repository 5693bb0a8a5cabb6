"""Brings rows into DuckDB through a pipe, so that no file and no list of them is needed in between.

Python's csv module and json module read the file, because they know on which line a row begins, and DuckDB does not.
What goes through the pipe is CSV of our own that has no second reading: every row has its line, and all have one width.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import duckdb

from run.files.checks import literal
from run.files.reading import Unreadable
from run.files.rows import NOTHING, Rows

_BUFFER = 1024 * 1024
#: The longest row in bytes; DuckDB keeps a few buffers of this size.
LONGEST_ROW = 8_000_000
_LONGEST_LINE = 8 * 1024 * 1024
#: A row of so many characters is not too long, whatever they are.
_SHORT_ENOUGH = LONGEST_ROW // 4


def cell(number: int) -> str:
    """The column of the source that holds this cell of every row."""
    return f"c{number}"


@dataclass
class Pipe:
    """The rows of a file on their way, once."""

    rows: Rows
    #: How many characters have gone through it.
    characters: int = 0
    _error: Exception | None = None

    def run(self, database: duckdb.DuckDBPyConnection, sql: Callable[[str], str]) -> None:
        """Execute the SQL that reads a source with the columns line, problem and all cells.

        Raises what reading the rows raises.
        """
        reads, writes = os.pipe()
        writer = threading.Thread(target=self._write, args=(writes,), name="rows")
        writer.start()
        try:
            database.execute(sql(self._source(reads)))
        except duckdb.Error:
            if self._error is None:
                raise
        finally:
            # Without a reader the writer ends, too.
            os.close(reads)
            writer.join()
        if self._error is not None:
            raise self._error

    def _source(self, reads: int) -> str:
        cells = "".join(f", '{cell(number)}': 'VARCHAR'" for number in range(len(self.rows.names)))
        quote = literal(self.rows.dialect.quote)
        return f"""read_csv(
            '/dev/fd/{reads}', auto_detect = false, header = false, parallel = false, encoding = 'utf-8',
            columns = {{'line': 'BIGINT', 'problem': 'VARCHAR'{cells}}}, nullstr = {literal(NOTHING)},
            delim = {literal(self.rows.dialect.delimiter)}, quote = {quote}, escape = {quote}, new_line = '\\n',
            max_line_size = {_LONGEST_LINE}, buffer_size = {2 * _LONGEST_LINE}
        )"""

    def _write(self, writes: int) -> None:
        try:
            with suppress(BrokenPipeError), io.FileIO(writes, "w") as raw:
                text = io.TextIOWrapper(io.BufferedWriter(raw, _BUFFER), "utf-8", newline="")
                text.writelines(self._counted())
                text.flush()
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for the rows
            self._error = error

    def _counted(self) -> Iterator[str]:
        for row in self.rows:
            characters = len(row)
            self.characters += characters
            if characters > _SHORT_ENOUGH and len(row.encode()) > LONGEST_ROW:
                line = int(row.partition(self.rows.dialect.delimiter)[0])
                raise Unreadable(f"has a row of more than {LONGEST_ROW:,} bytes", line)
            yield row
