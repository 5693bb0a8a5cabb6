"""Dates as text: strftime's and strptime's directives, made to lead back to the same date."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

#: What a date without a format is written as.
ISO = "%Y-%m-%d"

_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)
_YEARS = frozenset("YyGcxD")
_WEEKDAYS = frozenset("uwaA")
#: A leap day, the ends of years that belong to another ISO year, and an ordinary day.
_SAMPLES = (date(2024, 2, 29), date(2024, 12, 31), date(2027, 1, 1), date(2025, 7, 16))


def write_date(value: date, pattern: str) -> str:
    """Write the date with strftime's directives; years have four digits on every platform."""
    years = {"Y": value.year, "G": value.isocalendar().year}
    return value.strftime(
        _DIRECTIVE.sub(lambda found: f"{years[found[1]]:04d}" if found[1] in years else found[0], pattern)
    )


def read_date(text: str, pattern: str) -> date:
    """Read a date with strptime's directives; a week without a weekday is its Monday.

    Raises ValueError when the text does not follow the pattern.
    """
    if directives(pattern) >= {"G", "V"} and not directives(pattern) & _WEEKDAYS:
        text, pattern = f"{text} 1", f"{pattern} %u"
    return datetime.strptime(text, pattern).replace(tzinfo=UTC).date()


def directives(pattern: str) -> set[str]:
    """The letters after each `%` of the pattern."""
    return set(_DIRECTIVE.findall(pattern)) - {"%"}


def problem_of_format(pattern: str) -> str | None:
    """Why this pattern cannot stand for a date; None when it can."""
    if not directives(pattern) & _YEARS:
        return f"the date format '{pattern}' names no year; write one like '%Y-%m'"
    try:
        for sample in _SAMPLES:
            written = write_date(sample, pattern)
            if write_date(read_date(written, pattern), pattern) != written:
                return f"the date format '{pattern}' does not lead back to the same date"
    except ValueError as error:
        return f"the date format '{pattern}' cannot be read back: {error}"
    return None
