"""The rows of a CSV file (RFC 4180), each with the line on which it begins."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from run.files.contract import CsvForm
from run.files.reading import Text, Unreadable
from run.files.rows import NOTHING, Dialect

#: The most characters of a cell: more than that is a quote that nobody has closed.
LONGEST_CELL = 1_000_000
_NEVER_CLOSED = "unexpected end of data"


class CsvRows:
    """The rows below the header; lines without anything on them are no rows."""

    def __init__(self, text: Text, form: CsvForm, columns: tuple[str, ...]) -> None:
        csv.field_size_limit(LONGEST_CELL)
        self.dialect = Dialect(form.delimiter, form.quote)
        self._text = text
        self._lines = text.lines()
        #: The names in the header, or those of the contract where there is none.
        self.names = self._header() if form.header else columns

    def __iter__(self) -> Iterator[str]:
        delimiter, quote = self.dialect.delimiter, self.dialect.quote
        ends = len(self.names) - 1
        for line in self._lines:
            if quote in line:
                yield self._quoted(line)
                continue
            # Without a quote every delimiter ends a cell, so the line is a row as it is.
            row = line.rstrip("\r\n")
            if row.count(delimiter) != ends:
                if row:
                    yield self._ragged(self._text.number, row.count(delimiter) + 1)
            elif row or ends:
                yield f"{self._text.number}{delimiter}{delimiter}{row}\n"

    def _quoted(self, line: str) -> str:
        begins = self._text.number
        try:
            cells = self._record(line)
        except csv.Error as error:
            # The next row is looked for on the line after the one that could not be understood.
            return self._problem(begins, _words(error, begins))
        if len(cells) != len(self.names):
            return self._ragged(begins, len(cells))
        return self.dialect.row(begins, "", cells)

    def _record(self, line: str) -> list[str]:
        """The cells of the row that begins with this line and goes on as long as a quote is open."""
        delimiter, quote = self.dialect.delimiter, self.dialect.quote
        return next(csv.reader(chain((line,), self._lines), delimiter=delimiter, quotechar=quote, strict=True))

    def _ragged(self, line: int, cells: int) -> str:
        return self._problem(line, f"has {cells} cells, and there are {len(self.names)} columns")

    def _problem(self, line: int, problem: str) -> str:
        return self.dialect.row(line, problem, [NOTHING] * len(self.names))

    def _header(self) -> tuple[str, ...]:
        first = next((line for line in self._lines if line.rstrip("\r\n")), None)
        if first is None:
            raise Unreadable("has nothing but empty lines, not even a header")
        line = self._text.number
        try:
            names = tuple(self._record(first))
        except csv.Error as error:
            raise Unreadable(f"has a header that {_words(error, line)}", line) from None
        twice = [name for name, count in Counter(name.lower() for name in names).items() if count > 1]
        if "" in names or twice:
            what = f"two columns '{twice[0]}'" if twice else f"no name for column {names.index('') + 1}"
            raise Unreadable(f"has a header with {what}", line)
        return names


def _words(error: csv.Error, line: int) -> str:
    if str(error).startswith("field larger"):
        raise Unreadable(f"has a cell of more than {LONGEST_CELL:,} characters; is a quote not closed?", line) from None
    return "has a quote that is never closed" if str(error) == _NEVER_CLOSED else f"is no CSV: {error}"
