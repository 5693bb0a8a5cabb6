"""JSON values as a condition gets them: few enough, not too deep, and with numbers that CEL has."""

from __future__ import annotations

from typing import Any

from run.workflows.results import UNSTORABLE

#: What a condition reads may weigh so much: each value 8 and each text its signs. It bounds the time of an evaluation,
#: during which no other thread of the process goes on.
MOST_WEIGHT = 500_000
#: What its loops may look at as a whole in each of their turns, of which there are up to 10,000; and what map and
#: filter go through, because the library keeps a list for each of their turns.
MOST_WEIGHT_IN_LOOPS = 10_000
#: The library reads values by recursion in C++, where too deep a one would end the process.
_DEEPEST = 64
_LARGEST_INT = 2**63 - 1


def own_values(read: dict[str, Any], most: int = MOST_WEIGHT) -> dict[str, Any]:
    """A copy of what is read; a whole number beyond 64 bits becomes one with a fraction, as in other JSON readers.

    Raises ValueError when it is too much, too deep, or no JSON.
    """
    copy: dict[str, Any] = _Copying(most).copy(read, 0)
    return copy


class _Copying:
    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def copy(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"what it reads is nested more than {_DEEPEST} levels deep")
        if isinstance(value, str) and UNSTORABLE.search(value):
            # The library ends a text at its first NUL.
            raise ValueError("what it reads has a text with NUL or half of a surrogate pair")
        self._take(8 + (len(value) if isinstance(value, str) else 0))
        match value:
            case None | bool() | str() | float():
                return value
            case int():
                return value if abs(value) <= _LARGEST_INT else _with_fraction(value)
            case list() | tuple():
                return [self.copy(member, depth + 1) for member in value]
            case dict():
                return {self.copy(key, depth + 1): self.copy(member, depth + 1) for key, member in value.items()}
        raise ValueError(f"what it reads holds a {type(value).__name__}, which is no JSON")

    def _take(self, weight: int) -> None:
        self._left -= weight
        if self._left < 0:
            where = "in loops" if self._most < MOST_WEIGHT else "at all"
            raise ValueError(f"it reads more than a condition may {where}, about {self._most:,} signs of JSON")


def _with_fraction(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError("what it reads has a number too large to compare") from None
