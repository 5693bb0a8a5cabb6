"""The first rows of a result are kept in the task log, whose database takes only JSON."""

from __future__ import annotations

import json
import math
from datetime import date
from decimal import Decimal

from run.kinds.kept_rows import row_as_json, rows_as_json


def test_numbers_that_are_not_finite_are_kept_as_words() -> None:
    row = {"n": math.nan, "least": -math.inf, "most": [math.inf, 1.5], "in": {"n": math.nan}}

    kept = row_as_json(row)

    assert kept == {"n": "NaN", "least": "-Infinity", "most": ["Infinity", 1.5], "in": {"n": "NaN"}}
    json.dumps(kept, allow_nan=False)


def test_what_json_does_not_know_is_kept_as_text() -> None:
    assert row_as_json({"d": date(2024, 3, 1), "m": Decimal("1.10"), "b": b"\xff"}) == {
        "d": "2024-03-01",
        "m": "1.10",
        "b": "/w==",
    }


def test_rows_are_kept_as_long_as_there_is_room() -> None:
    rows = [{"x": "a" * 6_000}, {"x": "b" * 6_000}, {"x": "c"}]
    assert rows_as_json(rows) == [rows[0], "left out: it has 6009 characters"]
    assert rows_as_json(rows[1:]) == rows[1:]
