"""The rows of a JSON file, which are objects: one a line, or the elements of one array."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Self

from run.files.contract import MOST_COLUMNS
from run.files.reading import LONGEST, Text, Unreadable
from run.files.rows import NOTHING, Dialect

#: The cell that holds, as JSON, what a row has beside the columns of the contract.
MORE = "more"
_PIECE = 256 * 1024
#: A number or a word that is cut off is an error in its last characters.
_LONGEST_TOKEN = 400
_SPACE = re.compile(r"[ \t\r\n]*")
_WORDS = {True: "true", False: "false"}


class _Number(float):
    """A number with the digits that it was written with."""

    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


_DECODER = json.JSONDecoder(parse_float=_Number, parse_constant=_refuse_constant)


class JsonRows:
    """The objects of a file; `found` are the keys that were seen in any of them, as far as a table has columns."""

    dialect = Dialect()

    def __init__(self, text: Text, columns: tuple[str, ...], *, keeps_more: bool) -> None:
        """The cells of other keys are empty unless they are to be kept."""
        self.names = (*columns, MORE)
        self.found: dict[str, None] = {}
        self._text = text
        self._columns = columns
        self._keeps_more = keeps_more

    def __iter__(self) -> Iterator[str]:
        nothing = [NOTHING] * len(self.names)
        for line, value in self._values():
            problem, cells = _problem(value), nothing
            try:
                cells = nothing if problem else self._cells(value)
            except RecursionError:
                problem = "has objects in objects, too deep to be read"
            problem = problem or _problem_of_text(cells)
            yield self.dialect.row(line, problem, nothing if problem else cells)

    def _values(self) -> Iterator[tuple[int, Any]]:
        """Every object with the line on which it begins, or the error in its place."""
        for first in iter(self._text.line, ""):
            if first.lstrip().startswith("["):
                return iter(_Array(self._text, first))
            if first.strip():
                return self._of_lines(first)
            self._text.number += 1
        return iter(())

    def _of_lines(self, first: str) -> Iterator[tuple[int, Any]]:
        if len(first) == LONGEST:
            raise Unreadable(f"has a line of {LONGEST:,} characters or more", self._text.number + 1)
        self._text.number += 1
        lines: Iterable[str] = chain([first], self._text.lines())
        for line in lines:
            stripped = line.strip()
            if stripped:
                yield self._text.number, _decoded(stripped)

    def _cells(self, value: dict[str, Any]) -> list[str]:
        if not value.keys() <= self.found.keys():
            self._find(value)
        cells = [_cell(value.pop(name, None)) for name in self._columns]
        if not self._keeps_more:
            return [*cells, NOTHING]
        more = {name: _cell(left) for name, left in value.items() if left is not None}
        return [*cells, json.dumps(more, ensure_ascii=False) if more else NOTHING]

    def _find(self, names: Iterable[str]) -> None:
        # Objects that are maps of something have other keys in every row, and those would fill the memory.
        for name in names:
            if name in self._columns or len(self.found) < MOST_COLUMNS + len(self._columns):
                self.found[name] = None


def _decoded(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        return error


def _problem(value: Any) -> str:
    if isinstance(value, Exception):
        return f"is no JSON: {value}"
    if not isinstance(value, dict):
        return f"is no JSON object but {json.dumps(value)[:50]}"
    return ""


def _problem_of_text(cells: Iterable[str]) -> str:
    text = "".join(cells)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half of a pair of surrogates, which is no character"
    return "has a NUL character" if "\0" in text else ""


def _cell(value: Any) -> str:
    match value:
        case None:
            return NOTHING
        case str():
            return value
        case bool():
            return _WORDS[value]
        case _Number():
            return value.text
        case int():
            return str(value)
        case _:
            return _text_of(value)


def _text_of(value: Any) -> str:
    """The JSON of a value, its numbers with the digits that they were written with."""
    match value:
        case dict():
            return "{" + ", ".join([f"{_text_of(name)}: {_text_of(one)}" for name, one in value.items()]) + "}"
        case list():
            return "[" + ", ".join([_text_of(one) for one in value]) + "]"
        case _Number():
            return value.text
        case _:
            return json.dumps(value, ensure_ascii=False)


class _Array:
    """The elements of an array that begins in `first`, each with its line; read piece by piece."""

    def __init__(self, text: Text, first: str) -> None:
        self._text = text
        self._buffer = first
        self._at = 0
        self._line = text.number + 1

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        self._take("[")
        if self._next() == "]":
            self._take("]")
        else:
            yield from self._elements()
        if self._next():
            raise Unreadable("has something behind the end of its array", self._line)

    def _elements(self) -> Iterator[tuple[int, Any]]:
        more = True
        while more:
            self._next()
            yield self._line, self._element()
            more = self._take(",]") == ","

    def _element(self) -> Any:
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if self._is_whole(error) or not self._read_more():
                    line = self._line + self._buffer.count("\n", self._at, error.pos)
                    raise Unreadable(f"is no JSON: {error.msg}", line) from None
            except (ValueError, RecursionError) as error:
                raise Unreadable(f"is no JSON: {error}", self._line) from None
            else:
                self._pass(end)
                return value

    def _is_whole(self, error: json.JSONDecodeError) -> bool:
        """Whether the error is in the element, and not that its end has not been read yet."""
        if len(self._buffer) - self._at > LONGEST:
            raise Unreadable(f"has an element of more than {LONGEST:,} characters", self._line)
        return not error.msg.startswith("Unterminated") and error.pos < len(self._buffer) - _LONGEST_TOKEN

    def _next(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            self._pass(space.end() if space else self._at)
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._read_more():
                return ""

    def _take(self, wanted: str) -> str:
        found = self._next()
        if not found or found not in wanted:
            what = repr(found) if found else "the end of the file"
            raise Unreadable(f"is no JSON array: {what} where {' or '.join(wanted)} should be", self._line)
        self._pass(self._at + 1)
        return found

    def _pass(self, end: int) -> None:
        self._line += self._buffer.count("\n", self._at, end)
        self._at = end

    def _read_more(self) -> bool:
        # As much again as there is, so that a long element is not decoded from its start too often.
        left = self._buffer[self._at :]
        piece = self._text.piece(max(_PIECE, len(left)))
        self._buffer, self._at = left + piece, 0
        return bool(piece)
