"""What a check may expect, and how its result is judged."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from run.clients.bigquery import Result
from run.errors import PermanentFailure
from run.kinds.bigquery_check import BigQueryCheckConfig
from run.kinds.expectation import Expected, finding


def one(value: Any) -> Result:
    return Result(("share",), 1, ({"share": value},))


def rows(count: int) -> Result:
    return Result(("id", "name"), count, tuple({"id": number, "name": "x"} for number in range(min(count, 20))))


@pytest.mark.parametrize(("count", "found"), [(0, None), (1, "1 row came back"), (5_000, "5000 rows came back")])
def test_no_row_may_come_back(count: int, found: str | None) -> None:
    said = finding(rows(count), None)
    assert said == (None if found is None else f"{found}, and none is expected")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.95, {"min": 0.95}),
        (Decimal("0.95"), {"min": 0.95, "max": 0.95}),
        (Decimal("0.1"), {"equals": 0.1}),
        (0.1, {"equals": 0.1}),
        (3, {"min": 3, "max": 3}),
        (3, {"equals": 3.0}),
        (2**63 - 1, {"equals": 2**63 - 1}),
        (0, {"equals": 0}),
        (math.inf, {"min": 1}),
        (False, {"equals": False}),
        ("nord", {"equals": "nord"}),
        (date(2024, 3, 31), {"equals": "2024-03-31"}),
        (datetime(2024, 3, 31, tzinfo=UTC), {"equals": "2024-03-31T00:00:00+00:00"}),
    ],
)
def test_a_value_that_is_as_expected_is_no_finding(value: Any, expected: dict[str, Any]) -> None:
    assert finding(one(value), Expected.model_validate(expected)) is None


@pytest.mark.parametrize(
    ("value", "expected", "wanted"),
    [
        (0.94999, {"min": 0.95}, "at least 0.95"),
        (11, {"max": 10}, "at most 10"),
        (Decimal("0.10000000000000000001"), {"max": 0.1}, "at most 0.1"),
        (11, {"min": 1, "max": 10}, "at least 1 and at most 10"),
        (2**63 - 1, {"equals": 2**63 - 2}, str(2**63 - 2)),
        (math.nan, {"min": 0}, "at least 0"),
        (math.nan, {"max": 0}, "at most 0"),
        (math.nan, {"equals": 0}, "0"),
        (True, {"equals": False}, "False"),
        ("süd", {"equals": "nord"}, "'nord'"),
    ],
)
def test_a_value_that_is_not_is_one_which_says_what_is_expected(
    value: Any, expected: dict[str, Any], wanted: str
) -> None:
    assert finding(one(value), Expected.model_validate(expected)) == f"share is {value}, and {wanted} is expected"


def test_a_long_value_is_shown_in_part() -> None:
    said = finding(one("x" * 1_000), Expected(equals="y"))
    assert said == f"share is {'x' * 200}..., and 'y' is expected"


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (one(None), "share is NULL"),
        (rows(1), "selects 2 columns: id, name"),
        (Result(("share",), 0, ()), "gave 0 rows of share"),
        (Result(("share",), 2, ({"share": 1}, {"share": 1})), "gave 2 rows of share"),
        (Result((), 0, ()), "selects 0 columns"),
        (one("1"), "share is '1', and a number is expected"),
        (one(True), "and a number is expected"),
        (one([1]), "and a number is expected"),
        (one({"a": 1}), "and a number is expected"),
    ],
)
@pytest.mark.parametrize("expected", [{"min": 0}, {"max": 10}, {"equals": 1}])
def test_a_result_that_is_no_number_is_never_fine(result: Result, reason: str, expected: dict[str, Any]) -> None:
    with pytest.raises(PermanentFailure, match=reason):
        finding(result, Expected.model_validate(expected))


@pytest.mark.parametrize(("value", "equals"), [(1, True), ("true", True), (3, "3"), (b"3", "3"), (True, "true")])
def test_values_of_different_types_are_not_compared(value: Any, equals: Any) -> None:
    with pytest.raises(PermanentFailure, match=r"share is .* is expected"):
        finding(one(value), Expected(equals=equals))


@pytest.mark.parametrize(
    ("expect", "reason"),
    [
        ({}, "write equals, min or max"),
        ({"equals": 1, "min": 0}, "not both"),
        ({"min": 2, "max": 1}, "no value is at least 2 and at most 1"),
        ({"min": "2"}, "must be a number"),
        ({"min": True}, "must be a number"),
        ({"max": math.nan}, "must be a number"),
        ({"equals": math.inf}, "must be a number"),
        ({"equals": [1]}, "one number, text, true or false"),
        ({"least": 1}, "Extra inputs"),
        ("norows", "write no_rows, or"),
        (None, "write no_rows, or"),
        (1, "write no_rows, or"),
    ],
)
def test_an_expectation_that_cannot_be_meant_is_refused(expect: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        BigQueryCheckConfig.model_validate({"sql": "SELECT 1", "expect": expect})


@pytest.mark.parametrize("expect", ["no_rows", {"min": 0.5, "max": 3}, {"equals": True}, {"equals": "a"}])
def test_an_expectation_is_stored_as_it_is_written(expect: Any) -> None:
    config = BigQueryCheckConfig.model_validate({"sql": "SELECT 1", "expect": expect})
    stored = config.model_dump(mode="json", by_alias=True)
    assert stored["expect"] == expect
    assert BigQueryCheckConfig.model_validate(stored) == config
