"""JSON from outside, read so strictly that whatever passes can be stored in Postgres."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from run.errors import Rejected

LARGEST_INTEGER = 2**63 - 1
DEEPEST_NESTING = 64
_LONGEST_INTEGER = len(str(-LARGEST_INTEGER))

#: Postgres stores neither NUL nor half of a surrogate pair, in text as in jsonb.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def read_json(data: bytes, what: str) -> Any:
    """Return the JSON value in `data`; raises Rejected, naming `what`, unless all of it can be stored.

    Refused are bytes that are not UTF-8 or not JSON, NaN and infinities, integers beyond 64 bits, more than
    DEEPEST_NESTING levels, NUL and unpaired surrogates in any text.
    """
    try:
        value = json.loads(data.decode(), parse_int=_integer, parse_float=_number, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise Rejected(f"{what} is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise Rejected(f"{what} is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise Rejected(_too_deep(what)) from None
    except Rejected as error:
        raise Rejected(f"{what}: {error}") from None
    for text, depth in _texts(value):
        if depth > DEEPEST_NESTING:
            raise Rejected(_too_deep(what))
        if not is_storable(text):
            raise Rejected(f"{what} has a text with a NUL character or half of a surrogate pair")
    return value


def is_storable(text: str) -> bool:
    """Return whether Postgres can hold this text."""
    return _UNSTORABLE.search(text) is None


def _texts(value: Any) -> Iterator[tuple[str, int]]:
    # Not recursive, because the nesting is the sender's. Levels without text count too, hence the empty text.
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, str):
            yield item, depth
        elif isinstance(item, dict):
            yield "".join(item), depth
            waiting.extend((member, depth + 1) for member in item.values())
        elif isinstance(item, list):
            yield "", depth
            waiting.extend((member, depth + 1) for member in item)


def _too_deep(what: str) -> str:
    return f"{what} is nested more than {DEEPEST_NESTING} levels deep"


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER or not -LARGEST_INTEGER - 1 <= int(digits) <= LARGEST_INTEGER:
        raise Rejected("an integer does not fit into 64 bits")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Rejected("a number is too large")
    return value


def _constant(name: str) -> NoReturn:
    raise Rejected(f"{name} is not JSON")
