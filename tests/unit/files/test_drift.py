"""Columns that differ are an outcome of their own, with the difference, and a policy for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.files.checked import checked, contract, converted

COLUMNS: list[Any] = [{"name": "id", "type": "INT64", "required": True}, {"name": "paid", "type": "DATE"}]
NEW = [{"id": 1, "paid": "2024-03-01", "Total €": "x"}]
ADDED = [{"id": 1, "paid": None, "city": "Ulm"}, {"id": 2, "paid": None, "city": "Bonn"}]
MISSING = [{"id": 1}, {"id": 2}]
RETYPED = [{"id": 1, "paid": "yes"}, {"id": 2, "paid": "no"}]


def written(rows: list[dict[str, Any]], form: str) -> str:
    if form == "json":
        return json.dumps(rows)
    lines = [",".join(str(value or "") for value in row.values()) for row in rows]
    return "\n".join([",".join(rows[0]), *lines])


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize(
    ("rows", "policy", "reasons", "drift"),
    [
        (NEW, "fail", ["'Total €' is new"], {"new": ["Total €"]}),
        (NEW, "ignore", None, {"new": ["Total €"]}),
        (NEW, "add", ["'Total €' is new, and no name for a column of a table"], {"new": ["Total €"]}),
        ([{"ID": 1, "id": 2, "paid": None}], "add", None, None),
        (
            [{"id": 2, "PAID": "x"}],
            "add",
            ["'PAID' is new, and differs from a column of the contract only in case"],
            None,
        ),
        (ADDED, "add", None, {"new": ["city"]}),
        (MISSING, "fail", ["'paid' is missing"], {"missing": ["paid"]}),
        (MISSING, "add", None, {"missing": ["paid"]}),
        (MISSING, "ignore", None, {"missing": ["paid"]}),
        ([{"paid": "2024-03-01"}], "ignore", ["'id' is missing, and required"], {"missing": ["id"]}),
        *(
            (
                RETYPED,
                policy,
                ["'paid' is BOOL instead of DATE"],
                {"retyped": [{"column": "paid", "wanted": "DATE", "seen": "BOOL"}]},
            )
            for policy in ("fail", "add", "ignore")
        ),
    ],
)
def test_a_difference_is_named_and_the_policy_decides(
    form: str, rows: list[dict[str, Any]], policy: str, reasons: list[str] | None, drift: dict[str, Any] | None
) -> None:
    outcome = checked(written(rows, form), contract(*COLUMNS, format=form, drift=policy))
    if form == "csv" and "ID" in rows[0]:
        assert outcome["outcome"] == "unreadable"  # Two columns of one name.
        return
    if drift is not None:
        assert outcome["drift"] == {"new": [], "missing": [], "retyped": [], **drift}
    if "ID" in rows[0]:
        reasons = ["'ID' is new, and differs from a column of the contract only in case"]
    assert outcome["outcome"] == ("sound" if reasons is None else "drifted")
    assert outcome.get("reasons") == reasons


@pytest.mark.parametrize("form", ["csv", "json"])
def test_new_columns_are_added_as_text_and_missing_ones_are_without_values(tmp_path: Path, form: str) -> None:
    wanted = contract(*COLUMNS, format=form, drift="add")
    rows = converted(written([{"id": 1, "city": "Ulm"}, {"id": 2, "city": None}], form), wanted, tmp_path)
    assert rows == [{"id": 1, "paid": None, "city": "Ulm"}, {"id": 2, "paid": None, "city": None}]


def test_new_columns_of_json_are_what_stands_in_the_file(tmp_path: Path) -> None:
    rows = '{"id": 1, "paid": null, "n": 1.10, "big": 12345678901234567890.5, "b": true, "o": {"x": [1.50]}, "z": null}'
    [row] = converted(rows, contract(*COLUMNS, format="json", drift="add"), tmp_path)
    assert {name: row[name] for name in ("n", "big", "b", "o", "z")} == {
        "n": "1.10",
        "big": "12345678901234567890.5",
        "b": "true",
        "o": '{"x": [1.50]}',
        "z": None,
    }


def test_new_columns_that_differ_only_in_case_are_no_two_columns_of_a_table() -> None:
    text = '{"id": 1, "paid": null, "City": "Ulm"}\n{"id": 2, "paid": null, "city": "Bonn"}'
    assert checked(text, contract(*COLUMNS, format="json", drift="add"), writes=True)["reasons"] == [
        "'city' is new, and differs from another new column only in case"
    ]
    assert checked(text, contract(*COLUMNS, format="json", drift="ignore"))["outcome"] == "sound"


@pytest.mark.parametrize("policy", ["fail", "ignore", "add"])
def test_of_more_new_columns_than_a_table_may_have_the_first_are_told(policy: str) -> None:
    rows = "\n".join(f'{{"id": {number}, "paid": null, "k{number}": 1}}' for number in range(12_000))
    outcome = checked(rows, contract(*COLUMNS, format="json", drift=policy), writes=True)
    assert outcome["outcome"] == ("sound" if policy == "ignore" else "drifted")
    assert outcome["drift"]["new"] == [f"k{number}" for number in range(100)]
    assert outcome["drift"]["more_new"] == 10_000 - 100
    assert len(json.dumps(outcome)) < 20_000


@pytest.mark.parametrize("form", ["csv", "json"])
def test_ignored_columns_are_left_out(tmp_path: Path, form: str) -> None:
    wanted = contract(*COLUMNS, format=form, drift="ignore")
    assert converted(written(ADDED, form), wanted, tmp_path) == [{"id": 1, "paid": None}, {"id": 2, "paid": None}]


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        (["1.5", "2"], "FLOAT64"),
        (["1", "2"], "INT64"),
        (["2024-03-01 10:00", "2024-03-01T10:00:00Z"], "TIMESTAMP"),
        (["01.03.2024", "2.3.2024"], "STRING"),
        (["x"], None),
        (["x", "2024-03-01"], None),
        ([], None),
    ],
)
def test_a_column_is_retyped_when_none_of_its_values_is_of_its_type(values: list[str], seen: str | None) -> None:
    rows = [f"{number},{value}" for number, value in enumerate([*values, ""])]
    outcome = checked("\n".join(["id,paid", *rows]), contract(*COLUMNS))
    retyped = outcome.get("drift", {}).get("retyped", [])
    assert [one["seen"] for one in retyped] == ([seen] if seen else [])


def test_columns_may_come_in_another_order(tmp_path: Path) -> None:
    assert list(converted("paid,id\n,1\n", contract(*COLUMNS), tmp_path)[0]) == ["id", "paid"]
