"""Rows in are rows out, and one broken cell is found where it is, in whatever sound file."""

from __future__ import annotations

import json
import string
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.files.checked import checked, contract, converted

#: Texts with everything that CSV quotes, and what only looks like it.
TEXTS = st.text(st.sampled_from([*string.printable, *"äß€\u2028\x85😀"]), min_size=1, max_size=12)
ROWS = st.lists(
    st.tuples(TEXTS, st.integers(-(2**63), 2**63 - 1), st.dates().map(str), st.booleans(), TEXTS),
    min_size=1,
    max_size=20,
)
COLUMNS: list[Any] = [
    {"name": "first"},
    {"name": "number", "type": "INT64"},
    {"name": "day", "type": "DATE"},
    {"name": "flag", "type": "BOOL"},
    {"name": "last"},
]
NAMES = [column["name"] for column in COLUMNS]
#: Column, and what is none of its type.
BROKEN = st.sampled_from([(1, "1.5"), (1, "x\ny"), (2, "2024-02-30"), (2, '"'), (3, "perhaps")])
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
LIMITS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def as_csv(rows: list[list[Any]], end: str, *, quotes_all: bool = False) -> str:
    """What RFC 4180 says; Python's writer leaves a carriage return without quotes."""
    return "".join(",".join(quoted(str(cell), always=quotes_all) for cell in row) + end for row in [NAMES, *rows])


def quoted(cell: str, *, always: bool) -> str:
    return '"' + cell.replace('"', '""') + '"' if always or set(cell) & set(',"\r\n') else cell


@LIMITS
@given(rows=ROWS, end=ENDS, quotes_all=st.booleans())
def test_rows_in_are_rows_out(rows: list[tuple[Any, ...]], end: str, quotes_all: bool) -> None:
    wanted = [dict(zip(NAMES, row, strict=True)) for row in rows]
    for wanted_form, text in (
        ("csv", as_csv([list(row) for row in rows], end, quotes_all=quotes_all)),
        ("json", json.dumps(wanted)),
    ):
        with TemporaryDirectory() as folder:
            out = converted(text, contract(*COLUMNS, format=wanted_form), Path(folder))
        assert [{**row, "day": str(row["day"])} for row in out] == wanted


@LIMITS
@given(rows=ROWS, data=st.data(), broken=BROKEN, end=ENDS)
def test_any_single_broken_cell_is_found_with_its_line_and_column(
    rows: list[tuple[Any, ...]], data: Any, broken: tuple[int, str], end: str
) -> None:
    cells = [list(row) for row in rows]
    number = data.draw(st.integers(0, len(rows) - 1))
    column, value = broken
    cells[number][column] = value
    text = as_csv(cells, end)
    before = as_csv(cells[:number], end)
    line = before.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
    outcome = checked(text, contract(*COLUMNS))
    [error] = outcome["first_errors"]
    assert (error["line"], error["row"], error["column"], error["position"], error["value"]) == (
        *(line, number + 1, NAMES[column], column + 1),
        value,
    )
    assert (outcome["errors"], outcome["rows"]) == (1, len(rows))


@pytest.mark.parametrize("indent", [None, 1])
@LIMITS
@given(rows=ROWS, data=st.data(), broken=BROKEN)
def test_any_single_broken_value_of_an_array_is_found(
    indent: int | None, rows: list[tuple[Any, ...]], data: Any, broken: tuple[int, str]
) -> None:
    objects = [dict(zip(NAMES, row, strict=True)) for row in rows]
    number = data.draw(st.integers(0, len(rows) - 1))
    objects[number][NAMES[broken[0]]] = broken[1]
    outcome = checked(json.dumps(objects, indent=indent), contract(*COLUMNS, format="json"))
    [error] = outcome["first_errors"]
    line = 1 if indent is None else 2 + number * (len(NAMES) + 2)
    assert (error["line"], error["row"], error["column"], error["value"]) == (
        line,
        number + 1,
        NAMES[broken[0]],
        broken[1],
    )
