from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run.workflows.results import NotJson, as_json

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20)


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


class OldColour(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "OldColour.RED"


@given(JSON)
def test_json_values_are_copied_as_they_are(value: Any) -> None:
    copied = as_json(value, "it")
    assert copied == value
    assert json.loads(json.dumps(copied)) == value


def test_a_copy_shares_nothing() -> None:
    inner: list[Any] = [1]
    value = {"a": inner, "b": inner}
    copied = as_json(value, "it")
    copied["a"].append(2)
    copied["c"] = 3
    assert value == {"a": [1], "b": [1]}
    assert copied["b"] == [1]


def test_what_only_looks_like_a_plain_value_becomes_one() -> None:
    copied = as_json({Colour.RED: (1, Size.SMALL), "old": OldColour("red")}, "it")
    assert copied == {"red": [1, 1], "old": "red"}
    assert {type(one) for one in [*copied["red"], *copied, copied["old"]]} == {int, str}


REFUSED: list[tuple[Any, str]] = [
    (date(2024, 3, 1), "it is no JSON: it is of the type datetime.date"),
    ({"a": [1, Decimal(2)]}, "it['a'][1] is no JSON: it is of the type decimal.Decimal"),
    ({1, 2}, "it is no JSON: it is of the type set"),
    (b"x", "it is no JSON: it is of the type bytes"),
    (object(), "it is no JSON: it is of the type object"),
    ({"a": {7: 1}}, "it['a'] is no JSON: its key 7 is of the type int; the keys of JSON are texts"),
    ([float("nan")], "it[0] is no JSON: nan is no number that JSON has"),
    (float("-inf"), "it is no JSON: -inf is no number"),
    ({"a": "x\0"}, "it['a'] is no JSON: a text with NUL"),
    ({"\ud800": 1}, "it is no JSON: a text with NUL or half of a surrogate pair cannot be stored"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_anything_else_is_refused_naming_the_place_and_the_type(value: Any, reason: str) -> None:
    with pytest.raises(NotJson, match=re.escape(reason)):
        as_json(value, "it")


def test_what_the_service_would_leave_out_for_its_depth_is_refused() -> None:
    def nested(levels: int) -> Any:
        return [nested(levels - 1)] if levels else 1

    assert as_json(nested(100), "it") == nested(100)
    with pytest.raises(NotJson, match="it is nested more than 100 levels deep"):
        as_json(nested(101), "it")


def test_what_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotJson, match="contains itself"):
        as_json(value, "it")
