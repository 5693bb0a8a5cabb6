"""What a function returns, as the JSON values that other tasks get."""

from __future__ import annotations

import math
import re
from typing import Any

#: The largest result of all, in bytes of JSON.
MOST_BYTES = 64 * 1024 * 1024
#: As deep as the service keeps anything.
_DEEPEST = 100
#: Postgres holds neither NUL nor half of a surrogate pair, in text as in jsonb.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class NotJson(TypeError):
    """A value that is no JSON; the message says which value, where in it, and of which type."""


def as_json(value: Any, what: str) -> Any:
    """A copy of the value, made of text, numbers, true, false, None, lists and mappings; a tuple becomes a list.

    `what` names the value in the error. Raises NotJson for anything else, and for what Postgres cannot hold.
    """
    try:
        return _copy(value, what, _DEEPEST)
    except _TooDeep:
        raise NotJson(f"{what} is nested more than {_DEEPEST} levels deep, or contains itself") from None


def too_large(size: int) -> str | None:
    """Why a result of so many bytes of JSON cannot be kept, and what to do; None when it can."""
    if size <= MOST_BYTES:
        return None
    return (
        f"the result has {size:,} bytes of JSON, and {MOST_BYTES:,} are the most; write it to a file or a table, and "
        "return where that is"
    )


class _TooDeep(Exception):
    """No place is told: its name would be as long as it is deep."""


def _copy(value: Any, place: str, levels: int) -> Any:
    match value:
        case None | True | False:
            return value
        case str():
            return _text(value, place)
        case int():
            return int(value)
        case float() if math.isfinite(value):
            return float(value)
        case float():
            raise NotJson(f"{place} is no JSON: {value} is no number that JSON has")
        case dict() | list() | tuple():
            return _copy_of_members(value, place, levels - 1)
    raise NotJson(
        f"{place} is no JSON: it is of the type {_type(value)}; "
        "JSON has texts, numbers, True, False, None, lists and mappings"
    )


def _copy_of_members(value: dict[Any, Any] | list[Any] | tuple[Any, ...], place: str, levels: int) -> Any:
    if levels < 0:
        raise _TooDeep
    if isinstance(value, dict):
        return {_key(key, place): _copy(member, f"{place}[{key!r}]", levels) for key, member in value.items()}
    return [_copy(member, f"{place}[{index}]", levels) for index, member in enumerate(value)]


def _text(value: str, place: str) -> str:
    if UNSTORABLE.search(value):
        raise NotJson(f"{place} is no JSON: a text with NUL or half of a surrogate pair cannot be stored")
    # Members of an enumeration are texts too, and say something else about themselves.
    return str.__str__(value)


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise NotJson(f"{place} is no JSON: its key {key!r} is of the type {_type(key)}; the keys of JSON are texts")
    return _text(key, place)


def _type(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
