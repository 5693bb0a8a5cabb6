"""The rows of a CSV file (RFC 4180), each with the line on which it begins."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator

from run.files.contract import CsvForm
from run.files.reading import Text, Unreadable
from run.files.rows import NOTHING

#: The most characters of a cell: more than that is a quote that nobody has closed.
LONGEST_CELL = 1_000_000
_NEVER_CLOSED = "unexpected end of data"


class CsvRows:
    """The rows below the header; lines without anything on them are no rows."""

    def __init__(self, text: Text, form: CsvForm, columns: tuple[str, ...]) -> None:
        csv.field_size_limit(LONGEST_CELL)
        self._reader = csv.reader(text.lines(), delimiter=form.delimiter, quotechar=form.quote, strict=True)
        #: The names in the header, or those of the contract where there is none.
        self.names = self._header() if form.header else columns
        self.in_file = frozenset(self.names)

    def _header(self) -> tuple[str, ...]:
        try:
            names = next((tuple(cells) for cells in self._reader if cells), ())
        except csv.Error as error:
            raise Unreadable(f"has no header that can be read: {error}", self._reader.line_num) from None
        if not names:
            raise Unreadable("has nothing but empty lines, not even a header")
        twice = [name for name, count in Counter(name.lower() for name in names).items() if count > 1]
        if "" in names or twice:
            what = f"two columns '{twice[0]}'" if twice else f"no name for column {names.index('') + 1}"
            raise Unreadable(f"has a header with {what}", self._reader.line_num)
        return names

    def __iter__(self) -> Iterator[list[int | str]]:
        width, nothing = len(self.names), [NOTHING] * len(self.names)
        reader, begins = self._reader, self._reader.line_num + 1
        while True:
            try:
                for cells in reader:
                    if len(cells) == width:
                        yield [begins, "", *cells]
                    elif cells:
                        yield [begins, f"has {len(cells)} cells, and the header has {width}", *nothing]
                    begins = reader.line_num + 1
                break
            except csv.Error as error:
                # The reader goes on with the line after the one that it could not understand.
                yield [begins, self._problem(error, begins), *nothing]
                begins = reader.line_num + 1

    @staticmethod
    def _problem(error: csv.Error, begins: int) -> str:
        if str(error).startswith("field larger"):
            raise Unreadable(
                f"has a cell of more than {LONGEST_CELL:,} characters; is a quote not closed?", begins
            ) from None
        if str(error) == _NEVER_CLOSED:
            return "has a quote that is never closed"
        return f"is no CSV: {error}"
