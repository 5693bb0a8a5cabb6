"""JSON lines and arrays are rows, each with its line, and numbers keep their digits."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from run.files.reading import LONGEST
from tests.unit.files.checked import checked, contract, converted, places

COLUMNS: list[Any] = [{"name": "id", "type": "INT64", "required": True}, "name", {"name": "price", "type": "NUMERIC"}]
WANTED = contract(*COLUMNS, format="json")
ROWS = [{"id": 1, "name": 'Zoë, "the"\nfirst', "price": 0.1}, {"id": "2", "name": None}, {"name": 7, "id": 3}]
READ = [
    {"id": 1, "name": 'Zoë, "the"\nfirst', "price": Decimal("0.1")},
    {"id": 2, "name": None, "price": None},
    {"id": 3, "name": "7", "price": None},
]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(map(json.dumps, ROWS)),
        "\n\n" + "\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\r\n",
        json.dumps(ROWS),
        "  \n " + json.dumps(ROWS, indent=2, ensure_ascii=False) + "\n",
    ],
)
def test_objects_are_rows_one_a_line_or_in_one_array(tmp_path: Path, text: str) -> None:
    assert converted(text, WANTED, tmp_path) == READ


def test_numbers_keep_the_digits_that_they_were_written_with(tmp_path: Path) -> None:
    wanted = contract({"name": "n", "type": "NUMERIC"}, {"name": "t"}, {"name": "j", "type": "JSON"}, format="json")
    text = '{"n": 1234567890123.123456789, "t": 1.10, "j": {"a": [1, 2.5, null], "b": "ü"}}'
    assert converted(text, wanted, tmp_path) == [
        {"n": Decimal("1234567890123.123456789"), "t": "1.10", "j": '{"a": [1, 2.5, null], "b": "ü"}'}
    ]


def test_numbers_in_objects_and_lists_keep_their_digits_too(tmp_path: Path) -> None:
    wanted = contract("t", {"name": "j", "type": "JSON"}, format="json")
    nested = '{"a": [1.10, 12345678901234567890.5], "b": {"c": 1e400, "d": "\\u00fc\\n", "e": [true, null, {}, []]}}'
    told = nested.replace("\\u00fc", "ü")
    assert converted(f'{{"t": {nested}, "j": {nested}}}', wanted, tmp_path) == [{"t": told, "j": told}]


def test_words_of_json_are_booleans_and_nothing(tmp_path: Path) -> None:
    wanted = contract({"name": "b", "type": "BOOL"}, {"name": "t"}, format="json")
    assert converted('[{"b": true, "t": false}, {"b": null, "t": ""}]', wanted, tmp_path) == [
        {"b": True, "t": "false"},
        {"b": None, "t": ""},
    ]


def test_errors_of_lines_have_their_lines() -> None:
    bad = [
        '{"id": 1}',
        "",
        '{"id": }',
        "[1]",
        '{"id": "x"}',
        '{"name": "\\ud83d"}',
        '{"name": "\\u0000"}',
        '{"id": NaN}',
    ]
    outcome = checked("\n".join(bad), WANTED)
    told = [(one["line"], one["row"], one["column"], one["reason"]) for one in outcome["first_errors"]]
    assert told == [
        (3, 2, None, "is no JSON: Expecting value: line 1 column 8 (char 7)"),
        (4, 3, None, "is no JSON object but [1]"),
        (5, 4, "id", "is no INT64"),
        (6, 5, None, "has half of a pair of surrogates, which is no character"),
        (7, 6, None, "has a NUL character"),
        (8, 7, None, "is no JSON: NaN is no JSON"),
    ]


def test_errors_of_elements_have_the_line_on_which_they_begin() -> None:
    text = json.dumps([{"id": 1}, {"id": "x"}, {"id": 2}, {"name": "y"}], indent=1)
    assert places(checked(text, WANTED)) == [(5, "id"), (11, "id")]
    assert [one["row"] for one in checked(text, WANTED)["first_errors"]] == [2, 4]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"id": 1},\n {"id": 2', "is no JSON: Expecting ',' delimiter (line 2)"),
        ('[{"id": 1},\n\n {"id": "2', "is no JSON: Unterminated string starting at (line 3)"),
        ('[{"id": 1}\n {"id": 2}]', "is no JSON array: '{' where , or ] should be (line 2)"),
        ('[{"id": 1}]\n, ', "has something behind the end of its array (line 2)"),
        ('[{"id": 1},', "is no JSON: Expecting value (line 1)"),
        ('[{"id": 1}', "is no JSON array: the end of the file where , or ] should be (line 1)"),
        ('[{"id": 1},\n{"id": x},' + '{"id": 3},' * 300_000, "is no JSON: Expecting value (line 2)"),
        ('[{"id": 1}, {"name": "' + "x" * LONGEST, "has an element of more than 4,000,000 characters (line 1)"),
    ],
)
def test_an_array_with_an_error_in_its_syntax_is_refused_with_the_line(text: str, reason: str) -> None:
    assert checked(text, WANTED) == {"outcome": "unreadable", "reasons": [reason]}


def test_an_array_of_one_line_may_be_longer_than_what_is_read_at_a_time(tmp_path: Path) -> None:
    rows = [{"id": number, "name": "ü" * 200, "price": 0.5} for number in range(20_000)]
    read = converted(json.dumps(rows, ensure_ascii=False), WANTED, tmp_path)
    assert [row["id"] for row in read] == list(range(20_000))


@pytest.mark.parametrize("text", ["[]", " [ ] ", "\n \n"])
def test_a_file_without_rows_has_no_rows_and_no_drift(text: str) -> None:
    assert checked(text, WANTED) == {"outcome": "sound", "rows": 0}
