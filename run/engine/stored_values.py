"""How values are kept: those of templates, and whatever a task says about its outcome."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from run.workflows.results import UNSTORABLE
from run.workflows.templates import Value

#: What is nested deeper is left out: nobody reads it, and Python does not go down into everything that it can read.
_DEEPEST_NESTING = 100
_LEFT_OUT = f"left out: nested more than {_DEEPEST_NESTING} levels deep"


def storable(value: Any, levels: int = _DEEPEST_NESTING) -> Any:
    """The value as Postgres can hold it in JSON, whatever it is: an outcome must never be lost for how it is told."""
    if isinstance(value, str):
        return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _storable_members(value, levels - 1) if levels else _LEFT_OUT
    return storable(str(value))


def _storable_members(value: Mapping[Any, Any] | Iterable[Any], levels: int) -> Any:
    if isinstance(value, Mapping):
        return {storable(str(name)): storable(member, levels) for name, member in value.items()}
    return [storable(member, levels) for member in value]


def to_json(values: Mapping[str, Value]) -> dict[str, Any]:
    """Template values as JSON: a text as itself, a date as {"date": "2024-03-01"}."""
    return {name: {"date": value.isoformat()} if isinstance(value, date) else value for name, value in values.items()}


def from_json(stored: Mapping[str, Any]) -> dict[str, Value]:
    """The values that `to_json` has stored."""
    return {
        name: date.fromisoformat(value["date"]) if isinstance(value, dict) else value for name, value in stored.items()
    }
