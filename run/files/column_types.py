"""The types that a column of a contract may have: BigQuery's words, and what each means for text in a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal

_NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_SECONDS = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
_TIME = rf"([0-9]{{2}}:[0-9]{{2}}|{_SECONDS})"
_MOMENT = rf"{_DATE}[ T]{_TIME}"
#: NUMERIC without digits: https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
_PLAIN_NUMERIC = (38, 9)
_MOST_BEFORE, _MOST_BEHIND = 29, 9
_TYPE = re.compile(r"(?P<name>[A-Z][A-Z0-9]*)(?:\( *(?P<first>[0-9]{1,9}) *(?:, *(?P<second>[0-9]{1,9}) *)?\))?")


@dataclass(frozen=True)
class ColumnType:
    """One type: DuckDB's word for it, and the pattern of the texts that are of it."""

    name: str
    storage: str
    pattern: str | None = None
    #: How the bounds `min` and `max` are read; None where there is no order to speak of.
    bound: Callable[[str], object] | None = None
    #: Whether `format` may say how it is written.
    takes_format: bool = False
    #: The most characters of a text.
    longest: int | None = None

    def reads(self, text: str) -> bool:
        """Whether a value of this type may be written so in a workflow."""
        if self.pattern is not None and not re.fullmatch(self.pattern, text):
            return False
        try:
            if self.bound is not None:
                self.bound(text)
        except (ValueError, ArithmeticError):
            return False
        return True


_TYPES = {
    "STRING": ColumnType("STRING", "VARCHAR"),
    "INT64": ColumnType("INT64", "BIGINT", "[+-]?[0-9]+", int),
    "FLOAT64": ColumnType("FLOAT64", "DOUBLE", rf"{_NUMBER}([eE][+-]?[0-9]+)?", float),
    "BOOL": ColumnType("BOOL", "BOOLEAN", "(?i)true|false|t|f|yes|no|y|n|1|0"),
    "DATE": ColumnType("DATE", "DATE", _DATE, date.fromisoformat, takes_format=True),
    "DATETIME": ColumnType("DATETIME", "TIMESTAMP", _MOMENT, datetime.fromisoformat, takes_format=True),
    "TIMESTAMP": ColumnType(
        *("TIMESTAMP", "TIMESTAMPTZ", rf"{_MOMENT}|{_DATE}[ T]{_SECONDS}(Z|[+-][0-9]{{2}}(:[0-9]{{2}})?)"),
        *(datetime.fromisoformat, True),
    ),
    "TIME": ColumnType("TIME", "TIME", _TIME, time.fromisoformat),
    "JSON": ColumnType("JSON", "VARCHAR"),
}
_OTHER_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


def column_type(text: str) -> ColumnType:
    """The type of that name; raises ValueError with what would be right."""
    found = _TYPE.fullmatch(text.strip().upper())
    if found is None:
        raise _unknown(text)
    name, first, second = found["name"], found["first"], found["second"]
    if name == "NUMERIC":
        return _numeric(text, first, second)
    known = _TYPES.get(_OTHER_NAMES.get(name, name))
    if known is None or second is not None or (first is not None and name != "STRING"):
        raise _unknown(text)
    if first is None:
        return known
    return ColumnType(f"STRING({first})", known.storage, longest=int(first))


def _numeric(text: str, first: str | None, second: str | None) -> ColumnType:
    precision, scale = _PLAIN_NUMERIC if first is None else (int(first), int(second or 0))
    if scale > _MOST_BEHIND or not max(1, scale) <= precision <= scale + _MOST_BEFORE:
        raise ValueError(f"'{text}' is no NUMERIC; it has up to 29 digits before the point and 9 behind it")
    # More digits behind the point than the type has would be rounded away, zeros apart.
    pattern = rf"[+-]?([0-9]+(\.[0-9]{{0,{scale}}}0*)?|\.[0-9]{{0,{scale}}}0*)"
    name = "NUMERIC" if first is None else f"NUMERIC({precision}, {scale})"
    return ColumnType(name, f"DECIMAL({precision}, {scale})", pattern, Decimal)


def _unknown(text: str) -> ValueError:
    known = ", ".join([*_TYPES, "STRING(length)", "NUMERIC", "NUMERIC(digits, digits behind the point)"])
    return ValueError(f"'{text}' is no type of a column; known are {known}")
