"""Rows as they come out of a file, whatever its format, and as they go to DuckDB: lines of CSV."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

#: Stands for a value that is not there. No file has it, because nobody can guess it; and letters and digits delimit no
#: cells.
NOTHING = secrets.token_hex(8)


@dataclass(frozen=True)
class Dialect:
    """The two characters that tell cells from each other; a quote inside a quoted cell is doubled."""

    delimiter: str = ","
    quote: str = '"'

    def row(self, line: int, problem: str, cells: Iterable[str]) -> str:
        """The row that begins on this line of its file, and what is wrong with the whole of it, or ""."""
        quote, twice = self.quote, self.quote * 2
        quoted = [f"{quote}{cell.replace(quote, twice)}{quote}" for cell in (problem, *cells)]
        return f"{line}{self.delimiter}{self.delimiter.join(quoted)}\n"


class Rows(Protocol):
    """The rows of one file; to be iterated once."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the cells of every row."""

    @property
    def dialect(self) -> Dialect:
        """How the rows are written."""

    def __iter__(self) -> Iterator[str]:
        """Yield each row with its line in front, as `Dialect.row` writes it or in a way that is read as the same."""
