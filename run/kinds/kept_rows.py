"""Rows of a result as the task log keeps them: JSON values, and not too many of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

_MOST_CHARACTERS = 10_000


def row_as_json(row: Mapping[str, Any] | None) -> Any:
    """The row, or a sentence when it has more than 10,000 characters."""
    text = _json_text(row)
    return _value_of(text) if len(text) <= _MOST_CHARACTERS else _left_out(text)


def rows_as_json(rows: Iterable[Mapping[str, Any]]) -> list[Any]:
    """The first rows that have 10,000 characters together; a sentence in the place of the first that is too much."""
    kept: list[Any] = []
    room = _MOST_CHARACTERS
    for row in rows:
        text = _json_text(row)
        room -= len(text)
        if room < 0:
            return [*kept, _left_out(text)]
        kept.append(_value_of(text))
    return kept


def _left_out(text: str) -> str:
    return f"left out: it has {len(text)} characters"


def _json_text(row: Mapping[str, Any] | None) -> str:
    return json.dumps(row, default=_json_value)


def _value_of(text: str) -> Any:
    # JSON has no NaN and no Infinity, and the database takes only JSON: they are kept as words.
    return json.loads(text, parse_constant=str)


def _json_value(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
