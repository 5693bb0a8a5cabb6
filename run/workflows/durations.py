"""Durations as people write them: `90s`, `15m`, `2h`, `7d`, or a number of seconds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}

#: Ten years: more is a typing error, and the database's clock could not be moved by it.
_LONGEST = 3650 * _SECONDS["d"]


def read_duration(value: Any) -> int:
    """The seconds of a duration; raises ValueError with what would be right."""
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and (found := re.fullmatch(r"([0-9]{1,12})([smhd]?)", value.strip())):
        seconds = int(found[1]) * _SECONDS[found[2] or "s"]
    else:
        raise ValueError(f"{_shown(value)} is no duration; write 90s, 15m, 2h, 7d or a whole number of seconds")
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"{_shown(value)} is out of range; a duration is at least 0 and at most {written(_LONGEST)}")
    return seconds


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value!r:.60}" if isinstance(value, str | int | float) else "this"


def _not_nothing(seconds: int) -> int:
    if seconds == 0:
        raise ValueError("0 leaves no time at all; leave the key out, or write for example 15m")
    return seconds


def written(seconds: int) -> str:
    """The shortest way to write a duration: 900 is `15m`, 90 is `90s`."""
    unit = next(unit for unit, size in _SECONDS.items() if seconds % size == 0 and (seconds or size == 1))
    return f"{seconds // _SECONDS[unit]}{unit}"


def duration(value: timedelta) -> str:
    """A length of time with its two largest units."""
    seconds = max(0.0, value.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004  # A minute.
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004  # An hour.
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} d {hours % 24:02} h"  # noqa: PLR2004


#: Seconds in Python and in the database, a duration in a workflow file.
Duration = Annotated[int, BeforeValidator(read_duration)]
#: As Duration, but longer than nothing.
TimeLimit = Annotated[int, BeforeValidator(lambda value: _not_nothing(read_duration(value)))]
