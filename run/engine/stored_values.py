"""How template values are kept in JSON: a text as itself, a date as {"date": "2024-03-01"}."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from run.workflows.templates import Value


def to_json(values: Mapping[str, Value]) -> dict[str, Any]:
    """Values as JSON can hold them."""
    return {name: {"date": value.isoformat()} if isinstance(value, date) else value for name, value in values.items()}


def from_json(stored: Mapping[str, Any]) -> dict[str, Value]:
    """The values that `to_json` has stored."""
    return {
        name: date.fromisoformat(value["date"]) if isinstance(value, dict) else value for name, value in stored.items()
    }
