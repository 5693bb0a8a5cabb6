"""What a `load_file` task may say, and what of it contradicts itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator

from run.kinds.appending import append_problems
from run.kinds.bigquery_names import strict_template_problems, table_problems
from run.kinds.kind import KindConfig
from run.kinds.load_columns import ColumnOptions, different_columns
from run.kinds.sources import SOURCE_KEY, source_problems
from run.workflows.scope import Scope

#: https://docs.cloud.google.com/bigquery/quotas#load_jobs
MOST_FILES = 10_000
BATCH_COLUMN = "batch_id"
LOADER_COLUMN = "loaded_by"
_COLUMN = r"^[A-Za-z_][A-Za-z0-9_]{0,299}$"
_MARKS = ("batch_column", "loader_column")
#: How many digits name a partition: https://docs.cloud.google.com/bigquery/docs/managing-partitioned-tables
PARTITION_DIGITS = {"YEAR": 4, "MONTH": 6, "DAY": 8, "HOUR": 10}


class FileFormat(StrEnum):
    """How a file is written."""

    csv = "csv"
    json = "json"
    parquet = "parquet"
    avro = "avro"
    orc = "orc"

    @property
    def source_format(self) -> str:
        """BigQuery's word."""
        return "NEWLINE_DELIMITED_JSON" if self is FileFormat.json else self.value.upper()

    @property
    def describes_itself(self) -> bool:
        return self not in {FileFormat.csv, FileFormat.json}


_ENDINGS = {
    ".csv": FileFormat.csv,
    ".json": FileFormat.json,
    ".ndjson": FileFormat.json,
    ".jsonl": FileFormat.json,
    ".parquet": FileFormat.parquet,
    ".avro": FileFormat.avro,
    ".orc": FileFormat.orc,
}


def format_of(name: str) -> FileFormat | None:
    """The format that the object's name ends with, compressed or not; None when it tells nothing."""
    lower = name.lower().removesuffix(".gz")
    return next((kind for ending, kind in _ENDINGS.items() if lower.endswith(ending)), None)


class CsvOptions(KindConfig):
    """How a CSV file is written; `skip_rows` counts the lines before the data, the header among them."""

    delimiter: str = Field(default=",", min_length=1, max_length=2)
    skip_rows: int = Field(default=1, ge=0)
    quote: str = Field(default='"', max_length=1)
    null_marker: str = ""
    encoding: Literal["UTF-8", "ISO-8859-1", "UTF-16BE", "UTF-16LE", "UTF-32BE", "UTF-32LE"] = "UTF-8"
    quoted_newlines: bool = False


class LoadFileConfig(KindConfig):
    """The keys of a `load_file` task; docs/kinds/load_file.md explains them."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str | None = Field(default=None, alias=SOURCE_KEY)
    table: str
    format: FileFormat | None = None
    columns: tuple[ColumnOptions, ...] | Literal["detect"] = Field(default="detect", alias="schema")
    csv: CsvOptions | None = None
    max_bad_records: int = Field(default=0, ge=0)
    on_bad_file: Literal["fail", "set_aside"] = "fail"
    write: Literal["replace", "append"] = "replace"
    partition: str | None = None
    partition_by: Literal["HOUR", "DAY", "MONTH", "YEAR"] | None = None
    partition_field: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    batch_column: str | None = Field(default=None, pattern=_COLUMN)
    loader_column: str | None = Field(default=None, pattern=_COLUMN)

    @field_validator("columns")
    @classmethod
    def _different_columns(cls, columns: Any) -> Any:
        return columns if columns == "detect" else different_columns(columns)

    @property
    def batch_column_name(self) -> str:
        return self.batch_column or BATCH_COLUMN

    @property
    def loader_column_name(self) -> str:
        return self.loader_column or LOADER_COLUMN


def load_problems(config: LoadFileConfig, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) for what is wrong with a `load_file` task."""
    yield from source_problems(config.source, scope, takes_many=True)
    for reason in table_problems(config.table, scope.names):
        yield "table", reason
    if config.write == "append":
        yield from _append_problems(scope)
    if config.batch_column_name.lower() == config.loader_column_name.lower():
        yield "loader_column", f"is another column than batch_column, and both are '{config.loader_column_name}'"
    yield from _format_problems(config)
    yield from _problems_of_many(config, scope)
    yield from _partition_problems(config, scope)


def _append_problems(scope: Scope) -> Iterator[tuple[str, str]]:
    if scope.own_file and scope.own_file.on_new_generation == "rerun":
        reason = "'append' would load a file twice when a newer generation of it arrives"
        yield "write", f"{reason}; write on_new_generation: ignore, or write: replace"
    for reason in append_problems(scope):
        yield "write", f"{reason}, or write: replace"


def _format_problems(config: LoadFileConfig) -> Iterator[tuple[str, str]]:
    if config.csv and config.format not in {None, FileFormat.csv}:
        yield "csv", f"is for CSV files, and format is {config.format}"
    if config.format and config.format.describes_itself and config.max_bad_records:
        yield "max_bad_records", f"is for CSV and JSON files, and format is {config.format}"


def _problems_of_many(config: LoadFileConfig, scope: Scope) -> Iterator[tuple[str, str]]:
    until = scope.own_file.until if scope.own_file else None
    if until is not None and (until.count or 0) > MOST_FILES:
        yield "until.count", f"BigQuery loads at most {MOST_FILES:,} files in one job"
    if config.on_bad_file == "set_aside" and until is None:
        yield "on_bad_file", "'set_aside' is for tasks that take many files; write files: many"
    elif config.on_bad_file == "set_aside" and not scope.retries:
        yield (
            "on_bad_file",
            "'set_aside' leaves the other files to the next attempt; write retries: 3, or another number",
        )


def _partition_problems(config: LoadFileConfig, scope: Scope) -> Iterator[tuple[str, str]]:
    if config.partition is None:
        yield from _problems_without_partition(config)
        return
    for reason in strict_template_problems(config.partition, scope.names):
        yield "partition", reason
    if config.write == "append":
        yield "partition", "is for write: replace; append adds to the table as it is"
    if config.partition_by is None:
        yield "partition_by", "is missing; write HOUR, DAY, MONTH or YEAR, as the table is partitioned"
    yield from _problems_of_sharing(config, scope)
    if re.search(r"[^0-9{}]", re.sub(r"\{[^{}]*\}", "", config.partition)):
        yield "partition", f"'{config.partition}' is no partition; write digits, such as '{{period:%Y%m}}'"


def _problems_of_sharing(config: LoadFileConfig, scope: Scope) -> Iterator[tuple[str, str]]:
    for key in _MARKS:
        if getattr(config, key):
            yield key, "is for tables without partition, whose rows are told apart by it"
    for task, keys in scope.same_kind.items():
        if task != scope.task and keys.get("table") == config.table:
            yield "partition", f"'{task}' loads into the same table, and each would remove what the other has loaded"


def _problems_without_partition(config: LoadFileConfig) -> Iterator[tuple[str, str]]:
    for key in ("partition_by", "partition_field"):
        if getattr(config, key):
            yield key, "needs partition, which names the partition that a batch replaces"
    for key in _MARKS:
        if config.write == "append" and getattr(config, key):
            yield key, "is for write: replace, which deletes the batch's rows by it"
