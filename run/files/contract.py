"""What a file must be like: its columns and their values, its keys, its size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

import re2
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from run.files.column_types import ColumnType, column_type

#: What a column of BigQuery may be called.
COLUMN_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,299}$"

#: As many columns as a table may have: https://docs.cloud.google.com/bigquery/quotas#standard_tables
MOST_COLUMNS = 10_000

#: The names that a file may have for its encoding, and Python's.
ENCODINGS = {
    "utf-8": "utf-8",
    "utf-16": "utf-16",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "latin-1": "latin-1",
    "iso-8859-1": "latin-1",
    "cp1252": "cp1252",
    "windows-1252": "cp1252",
}
Encoding = Literal["utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "iso-8859-1", "cp1252", "windows-1252"]
Drift = Literal["fail", "add", "ignore"]


def _written(value: Any) -> Any:
    """What YAML has read as a number or a date, as it is written."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | date):
        raise ValueError("must be a number, a date or a text")  # noqa: TRY004 - pydantic's way
    return value.isoformat(" ") if isinstance(value, datetime) else str(value)


Written = Annotated[str, BeforeValidator(_written)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Model):
    """One column, and what its values must be like; a value that is missing breaks only `required`."""

    name: str = Field(pattern=COLUMN_NAME)
    header: str | None = Field(default=None, min_length=1)
    type: str = "STRING"
    required: bool = False
    min: Written | None = None
    max: Written | None = None
    allowed: tuple[Written, ...] = ()
    pattern: str | None = None
    format: str | None = None

    @property
    def in_file(self) -> str:
        """What the file calls it."""
        return self.header or self.name

    @property
    def kind(self) -> ColumnType:
        return column_type(self.type)

    @field_validator("type")
    @classmethod
    def _known_type(cls, text: str) -> str:
        column_type(text)
        return text

    @field_validator("pattern")
    @classmethod
    def _sound_pattern(cls, pattern: str | None) -> str | None:
        options = re2.Options()
        options.log_errors = False
        try:
            re2.compile(pattern or "", options)
        except re2.error as error:
            raise ValueError(f"'{pattern}' is no regular expression of RE2: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _fitting_checks(self) -> Self:
        for problem in _problems(self):
            raise ValueError(f"column '{self.name}': {problem}")
        return self


class CsvForm(_Model):
    """How a CSV file is written."""

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quote: str = Field(default='"', min_length=1, max_length=1)
    header: bool = True
    null_marker: str = ""

    @model_validator(mode="after")
    def _different_characters(self) -> Self:
        if self.delimiter == self.quote or {self.delimiter, self.quote} & {"\n", "\r", "\0"}:
            raise ValueError("delimiter and quote are two different characters, and no ends of lines")
        # Rows go to DuckDB with their numbers between these, and it takes a quote of one byte only.
        if self.delimiter.isalnum() or self.quote.isalnum():
            raise ValueError("delimiter and quote are no letters and no digits")
        if not self.quote.isascii():
            raise ValueError("quote is a character of ASCII")
        return self


class RowBounds(_Model):
    """How many rows a file must have."""

    min: int = Field(default=0, ge=0)
    max: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"min ({self.min}) is more than max ({self.max})")
        return self


class Contract(_Model):
    """What one file must be like, and how it is written; `format` is "csv" or "json"."""

    format: Literal["csv", "json"]
    encoding: Encoding
    csv: CsvForm
    columns: tuple[Column, ...]
    unique: tuple[tuple[str, ...], ...]
    rows: RowBounds
    drift: Drift


def different_columns(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns as they are; raises ValueError when two have one name, in which case does not count."""
    for names in ([column.name for column in columns], [column.in_file for column in columns]):
        for name, count in Counter(name.lower() for name in names).items():
            if count > 1:
                raise ValueError(f"there are {count} columns '{name}'; each needs a name of its own")
    return columns


def _problems(column: Column) -> Iterator[str]:
    kind = column.kind
    for key, bound in (("min", column.min), ("max", column.max)):
        if bound is not None and kind.bound is None:
            yield f"{key} is for numbers, dates and times, and the type is {kind.name}"
        elif bound is not None and not kind.reads(bound):
            yield f"{key} is '{bound}', which is no {kind.name}"
    for value in column.allowed:
        if not kind.reads(value):
            yield f"allowed has '{value}', which is no {kind.name}"
    if column.pattern is not None and kind.name != "JSON" and kind.storage != "VARCHAR":
        yield f"pattern is for STRING, and the type is {kind.name}"
    if column.format is not None:
        yield from _problems_of_format(column.format, kind)


def _problems_of_format(text: str, kind: ColumnType) -> Iterator[str]:
    if not kind.takes_format:
        yield f"format is for DATE, DATETIME and TIMESTAMP, and the type is {kind.name}"
        return
    try:
        datetime.strptime(datetime(2024, 3, 16, 10, 30).strftime(text), text)  # noqa: DTZ001, DTZ007 - only tried
    except ValueError as error:
        yield f"format '{text}' is none: {error}"
    if "%" not in text:
        yield f"format '{text}' has no part of a date, such as %d.%m.%Y"
