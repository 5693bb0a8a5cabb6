"""A value is of its type as it is, or it is an error with its place."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.files.checked import checked, contract, converted, places, reasons

GOOD = [
    ("INT64", "-7", -7),
    ("INT64", "+9223372036854775807", 9223372036854775807),
    ("FLOAT64", "1.5e-3", 0.0015),
    ("FLOAT64", ".5", 0.5),
    ("NUMERIC", "0.123456789", Decimal("0.123456789")),
    ("NUMERIC(5, 2)", "999.99", Decimal("999.99")),
    ("NUMERIC(5, 2)", "1.5000", Decimal("1.50")),
    ("BOOL", "Yes", True),
    ("BOOL", "0", False),
    ("DATE", "2024-02-29", date(2024, 2, 29)),
    ("DATETIME", "2024-03-16T10:30", datetime(2024, 3, 16, 10, 30)),  # noqa: DTZ001
    ("TIMESTAMP", "2024-03-16 10:30:00.25", datetime(2024, 3, 16, 10, 30, 0, 250000, UTC)),
    ("TIMESTAMP", "2024-03-16T10:30:00+02:00", datetime(2024, 3, 16, 8, 30, tzinfo=UTC)),
    ("TIMESTAMP", "2024-03-16T10:30:00Z", datetime(2024, 3, 16, 10, 30, tzinfo=UTC)),
    ("TIME", "23:59:59", time(23, 59, 59)),
    ("STRING(3)", "äöü", "äöü"),
    ("STRING", " as it is ", " as it is "),
    ("JSON", '"{""a"": [1]}"', '{"a": [1]}'),
]
BAD = [
    *(("INT64", text) for text in ("1.0", "1,5", " 1", "1 ", "1e3", "0x1", "1_000", "9223372036854775808", "abc")),
    *(("FLOAT64", text) for text in ("nan", "inf", "1,5", "1e", "1e999", "--1")),
    *(("NUMERIC(5, 2)", text) for text in ("1.239", "1000", "1e2", ".")),
    *(("BOOL", text) for text in ("2", "maybe", "ja")),
    *(("DATE", text) for text in ("2024-02-30", "2024-2-3", "16.03.2024", "2024-03-16 00:00", "today")),
    *(("DATETIME", text) for text in ("2024-03-16", "2024-03-16 25:00", "2024-03-16T10:30Z")),
    *(("TIMESTAMP", text) for text in ("2024-03-16 10:30 Berlin", "1710585000", "2024-03-16 10:30+01")),
    *(("TIME", text) for text in ("24:01", "7:00")),
    ("JSON", "{a}"),
]


@pytest.mark.parametrize(("kind", "text", "value"), GOOD)
def test_a_text_of_the_type_becomes_its_value(tmp_path: Path, kind: str, text: str, value: Any) -> None:
    assert converted(f"x,y\n{text},1\n", contract({"name": "x", "type": kind}, "y"), tmp_path) == [
        {"x": value, "y": "1"}
    ]


@pytest.mark.parametrize(
    "text", [" 16.03.2024", "16.03.2024 ", "16.03.2024\n", "16.03.24", "31.02.2024", "16.03.2024x"]
)
def test_a_date_of_a_format_is_nothing_but_that_with_a_whole_year(text: str) -> None:
    [reason] = reasons(f'x,y\n"{text}",1\n', contract({"name": "x", "type": "DATE", "format": "%d.%m.%Y"}, "y"))
    assert reason == "is no DATE of the format %d.%m.%Y"


@pytest.mark.parametrize(
    ("kind", "form", "text", "value"),
    [
        ("DATE", "%d.%m.%Y", "6.3.2024", date(2024, 3, 6)),
        ("DATE", "%d.%m.%y", "16.03.24", date(2024, 3, 16)),
        ("DATE", "%Y%m%d", "20240316", date(2024, 3, 16)),
        ("DATETIME", "%d/%b/%Y %H:%M", "16/Mar/2024 10:30", datetime(2024, 3, 16, 10, 30)),  # noqa: DTZ001
    ],
)
def test_a_date_of_a_format_is_read(tmp_path: Path, kind: str, form: str, text: str, value: Any) -> None:
    wanted = contract({"name": "x", "type": kind, "format": form}, "y")
    assert converted(f"x,y\n{text},1\n", wanted, tmp_path) == [{"x": value, "y": "1"}]


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_a_text_of_another_type_is_an_error(kind: str, text: str) -> None:
    [reason] = reasons(f'x,y\n"{text}",1\n', contract({"name": "x", "type": kind}, "y"))
    assert reason == f"is no {kind}"


@pytest.mark.parametrize(
    ("column", "good", "bad", "reason"),
    [
        ({"required": True}, "a", "", "is missing, and the column is required"),
        ({"type": "STRING(2)"}, "ab", "abc", "has more than 2 characters"),
        ({"type": "INT64", "min": 10}, "10", "9", "is less than 10"),
        ({"type": "NUMERIC", "max": "0.5"}, "0.5", "0.50001", "is more than 0.5"),
        ({"type": "DATE", "min": date(2024, 3, 1)}, "2024-03-01", "2024-02-29", "is less than 2024-03-01"),
        (
            *({"type": "TIMESTAMP", "max": datetime(2024, 3, 1, 12)}, "2024-03-01 13:00:00+01", "2024-03-01 12:00:01"),  # noqa: DTZ001
            "is more than 2024-03-01 12:00:00",
        ),
        ({"allowed": ["open", "it's paid"]}, "it's paid", "sent", "is none of open, it's paid"),
        ({"type": "INT64", "allowed": [1, 2]}, "02", "3", "is none of 1, 2"),
        ({"pattern": r"[A-Z]{3}-\d+"}, "ABC-1", "xABC-1", r"does not match [A-Z]{3}-\d+"),
        ({"pattern": "{source}"}, "{source}", "read_csv", "does not match {source}"),
        ({"type": "DATE", "format": "%d.%m.%Y"}, "29.02.2024", "2024-02-29", "is no DATE of the format %d.%m.%Y"),
        ({"type": "DATETIME", "format": "%b %d %Y"}, "Jun 12 1998", "Juni 12", "is no DATETIME of the format %b %d %Y"),
    ],
)
def test_a_check_lets_pass_what_keeps_it_and_names_what_does_not(
    column: dict[str, Any], good: str, bad: str, reason: str
) -> None:
    outcome = checked(f'y,x\n1,"{good}"\n2,"{bad}"\n', contract("y", {"name": "x", **column}))
    [error] = outcome["first_errors"]
    assert (error["line"], error["row"], error["column"], error["position"]) == (3, 2, "x", 2)
    assert (error["reason"], error["value"]) == (reason, bad or None)
    assert (outcome["outcome"], outcome["errors"], outcome["rows"]) == ("broken", 1, 2)


def test_what_is_missing_breaks_no_check_but_required(tmp_path: Path) -> None:
    checks = {"type": "INT64", "min": 1, "allowed": [5]}
    assert converted("x,y\n,1\n", contract({"name": "x", **checks}, "y"), tmp_path) == [{"x": None, "y": "1"}]


def test_every_cell_is_told_once_and_the_first_twenty_one_by_one() -> None:
    wanted = contract({"name": "x", "type": "INT64", "min": 5, "allowed": [7]}, {"name": "y", "required": True})
    outcome = checked("x,y\n7,a\n" + "1,\n" * 15, wanted)
    assert outcome["errors"] == 30
    assert places(outcome) == [(line, column) for line in range(3, 13) for column in ("x", "y")]


def test_a_long_value_is_told_in_part() -> None:
    [error] = checked("x\n" + "1" * 500 + "\n", contract({"name": "x", "type": "INT64"}))["first_errors"]
    assert error["value"] == "1" * 200


def test_a_name_that_bigquery_would_not_take_is_mapped(tmp_path: Path) -> None:
    column = {"name": "beak_mm", "header": "Beak Length (mm)", "type": "INT64"}
    wanted = contract(column, unique=[["beak_mm"]])
    assert converted("Beak Length (mm)\n39\n", wanted, tmp_path) == [{"beak_mm": 39}]
    assert places(checked("Beak Length (mm)\n39\n39\n", wanted)) == [(3, "Beak Length (mm)")]


@pytest.mark.parametrize(
    ("unique", "found"),
    [
        (
            [["a"]],
            [("is the key of line 2 (row 1) too", 4, "a", "1"), ("is the key of line 2 (row 1) too", 5, "a", "1")],
        ),
        ([["a", "b"]], [("is the key of line 2 (row 1) too", 5, "a, b", "1, x")]),
        ([["b"], ["a", "b"]], None),
    ],
)
def test_a_key_that_is_there_again_is_told_with_its_first_line(
    unique: list[list[str]], found: list[tuple[str, int, str, str]] | None
) -> None:
    wanted = contract({"name": "a", "type": "INT64"}, "b", unique=unique)
    outcome = checked("a,b\n1,x\n2,x\n01,y\n1,x\n,x\n,x\n", wanted)
    told = [(one["reason"], one["line"], one["column"], one["value"]) for one in outcome["first_errors"]]
    if found is None:
        assert (len(told), outcome["errors"]) == (5, 5)
    else:
        assert told == found


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ({"min": 3}, "the file has 2 rows, and at least 3 are wanted"),
        ({"max": 1}, "the file has 2 rows, and at most 1 are wanted"),
        ({"min": 2, "max": 2}, None),
    ],
)
def test_the_number_of_rows_has_bounds(bounds: dict[str, int], reason: str | None) -> None:
    outcome = checked("a\n1\n2\n", contract("a", rows=bounds))
    assert outcome["outcome"] == ("sound" if reason is None else "broken")
    assert [error["reason"] for error in outcome.get("first_errors", [])] == ([reason] if reason else [])
