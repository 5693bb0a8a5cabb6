"""The columns that a `load_file` task says its file has."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from run.kinds.kind import KindConfig

_TEXTS = {"STRING", "BYTES"}
#: The digits behind the point, and the most digits before it:
#: https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-types#parameterized_decimal_type
_DECIMALS = {"NUMERIC": (9, 29), "BIGNUMERIC": (38, 38)}
_RECORDS = {"RECORD", "STRUCT"}
#: https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema.FIELDS.type
_PLAIN = {
    *("INTEGER", "INT64", "FLOAT", "FLOAT64", "BOOLEAN", "BOOL"),
    *("TIMESTAMP", "DATE", "TIME", "DATETIME", "GEOGRAPHY", "JSON"),
}
_TYPES = _TEXTS | _DECIMALS.keys() | _RECORDS | _PLAIN
_TYPE = re.compile(r"(?P<name>[A-Z][A-Z0-9]*)(?:\( *(?P<first>[0-9]{1,18}) *(?:, *(?P<second>[0-9]{1,9}) *)?\))?")


class ColumnOptions(KindConfig):
    """One column; `type` and `mode` are BigQuery's words, `fields` are the columns of a RECORD."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,299}$")
    type: str
    mode: Literal["NULLABLE", "REQUIRED", "REPEATED"] = "NULLABLE"
    fields: tuple[ColumnOptions, ...] = ()

    @field_validator("type")
    @classmethod
    def _known_type(cls, text: str) -> str:
        _parameters(text)
        return text

    @field_validator("fields")
    @classmethod
    def _different_fields(cls, fields: tuple[ColumnOptions, ...]) -> tuple[ColumnOptions, ...]:
        return different_columns(fields)

    @model_validator(mode="after")
    def _fields_of_a_record(self) -> Self:
        if (self.type.upper() in _RECORDS) != bool(self.fields):
            raise ValueError("a RECORD has fields, and nothing else has")
        return self

    @property
    def resource(self) -> dict[str, Any]:
        """The REST TableFieldSchema."""
        fields = {"fields": [one.resource for one in self.fields]} if self.fields else {}
        return {"name": self.name, "mode": self.mode, **_parameters(self.type), **fields}


def different_columns(columns: tuple[ColumnOptions, ...]) -> tuple[ColumnOptions, ...]:
    """The columns as they are; raises ValueError when two have one name, in which case does not count."""
    counts = Counter(column.name.lower() for column in columns)
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        raise ValueError(f"there are several columns '{doubled[0]}'; each needs a name of its own")
    return columns


def _parameters(text: str) -> dict[str, str]:
    found = _TYPE.fullmatch(text.strip().upper())
    if found is None or found["name"] not in _TYPES:
        raise ValueError(f"'{text}' is no type of a column; known are {', '.join(sorted(_TYPES))}")
    name, first, second = found["name"], found["first"], found["second"]
    if first is None:
        return {"type": name}
    if name in _TEXTS and second is None:
        return {"type": name, "maxLength": first}
    if name in _DECIMALS and _fits(name, int(first), int(second or 0)):
        return {"type": name, "precision": first, **({"scale": second} if second else {})}
    raise ValueError(f"'{text}' is no type; write STRING(length), BYTES(length), or NUMERIC(digits, digits behind it)")


def _fits(name: str, precision: int, scale: int) -> bool:
    most_behind, most_before = _DECIMALS[name]
    return scale <= most_behind and max(1, scale) <= precision <= scale + most_before
