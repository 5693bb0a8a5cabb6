"""What one attempt of a `load_file` task is going to do: which files, which tables, under which ids, in which words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from run.errors import PermanentFailure
from run.kinds.bigquery_names import TableName, digest, filled, job_id, labels, literal, table_name
from run.kinds.kind import TakenFile, Work
from run.kinds.load_options import PARTITION_DIGITS, CsvOptions, FileFormat, LoadFileConfig
from run.kinds.load_sources import format_of_all


@dataclass(frozen=True)
class LoadPlan:
    """One attempt; `staging` is where the rows wait for the target, None when they go to a partition of it."""

    config: LoadFileConfig
    work: Work
    files: tuple[TakenFile, ...]
    format: FileFormat
    target: TableName
    staging: TableName | None

    @property
    def labels(self) -> dict[str, str]:
        return labels(self.work)

    def id_of(self, step: str) -> str:
        """The id of the job of that step; the same for every worker of this attempt."""
        return job_id(self.work, step)

    @property
    def marks(self) -> dict[str, str]:
        """The columns that tell whose rows they are, with the values that are ours; none when rows are only added."""
        if self.config.write == "append":
            return {}
        loader = f"{self.work.workflow}.{self.work.task}"
        return {self.config.batch_column_name: self.work.batch_id, self.config.loader_column_name: loader}

    def create_sql(self, staging: TableName) -> str:
        """Make the target, empty, with the columns of the staging table and our own."""
        marks = "".join(f", CAST(NULL AS STRING) AS `{mark}`" for mark in self.marks)
        return f"CREATE TABLE IF NOT EXISTS {self.target.quoted} AS SELECT *{marks} FROM {staging.quoted} LIMIT 0"

    def add_columns_sql(self, added: Sequence[str]) -> str:
        columns = ", ".join(f"ADD COLUMN IF NOT EXISTS {one}" for one in added)
        return f"ALTER TABLE {self.target.quoted} {columns}"

    def write_sql(self, staging: TableName, columns: Sequence[str]) -> str:
        """Insert the staged rows; unless they are only added, delete those that are ours first, or do neither."""
        names = ", ".join(f"`{name}`" for name in [*columns, *self.marks])
        values = ", ".join([*(f"`{name}`" for name in columns), *(literal(value) for value in self.marks.values())])
        insert = f"INSERT INTO {self.target.quoted} ({names}) SELECT {values} FROM {staging.quoted};"
        if not self.marks:
            return insert
        ours = " AND ".join(f"`{mark}` = {literal(value)}" for mark, value in self.marks.items())
        delete = f"DELETE FROM {self.target.quoted} WHERE {ours};"
        return f"BEGIN TRANSACTION;\n{delete}\n{insert}\nCOMMIT TRANSACTION;"

    @property
    def configuration(self) -> dict[str, Any]:
        """The REST JobConfiguration: https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job"""
        load: dict[str, Any] = {
            "sourceUris": [file.place.uri for file in self.files],
            "sourceFormat": self.format.source_format,
            "destinationTable": (self.staging or self.target).resource,
            "createDisposition": "CREATE_IF_NEEDED",
            "writeDisposition": "WRITE_TRUNCATE",
            **_reading(self.config, self.format),
        }
        if self.config.partition_by:
            field = {"field": self.config.partition_field} if self.config.partition_field else {}
            load["timePartitioning"] = {"type": self.config.partition_by, **field}
        if self.staging is None:
            load["schemaUpdateOptions"] = ["ALLOW_FIELD_ADDITION"]
        return {"load": load, "labels": self.labels}


def plan_of(config: LoadFileConfig, work: Work, project: str) -> LoadPlan:
    """The plan; raises PermanentFailure where a file or a value of this batch makes it impossible, or BadFiles."""
    task = config.source or work.task
    files = work.files_of(task)
    if not files:
        raise PermanentFailure(f"no file of batch '{work.batch_id}' belongs to task '{task}'")
    kind = format_of_all(config, files)
    target = table_name(config.table, work.values, project)
    if config.partition:
        partition = TableName(target.project, target.dataset, target.table, _partition(config, work))
        return LoadPlan(config, work, files, kind, partition, staging=None)
    return LoadPlan(config, work, files, kind, target, staging_of(config, work, project))


def staging_of(config: LoadFileConfig, work: Work, project: str) -> TableName:
    """The staging table of the attempt, which needs no file to be known; raises PermanentFailure."""
    return table_name(config.table, work.values, project).beside(f"staging_{digest(work.key)}")


def _partition(config: LoadFileConfig, work: Work) -> str:
    text = filled(config.partition or "", work.values)
    digits = PARTITION_DIGITS[config.partition_by or "DAY"]
    if not re.fullmatch(rf"[0-9]{{{digits}}}", text):
        raise PermanentFailure(f"'{text}' is no partition by {config.partition_by}, which has {digits} digits")
    return text


def _reading(config: LoadFileConfig, kind: FileFormat) -> dict[str, Any]:
    reading: dict[str, Any] = {}
    if config.columns != "detect":
        reading["schema"] = {"fields": [one.resource for one in config.columns]}
    elif not kind.describes_itself:
        reading["autodetect"] = True
    if not kind.describes_itself:
        reading["maxBadRecords"] = config.max_bad_records
    return reading | _reading_of_format(config, kind)


def _reading_of_format(config: LoadFileConfig, kind: FileFormat) -> dict[str, Any]:
    match kind:
        case FileFormat.csv:
            return _csv(config.csv or CsvOptions())
        case FileFormat.avro:
            # Dates, times and decimals as such, not as the numbers and bytes that hold them.
            return {"useAvroLogicalTypes": True}
        case FileFormat.parquet:
            # Lists as arrays, not as records of records.
            return {"parquetOptions": {"enableListInference": True}}
        case FileFormat.json | FileFormat.orc:
            return {}
        case _:
            assert_never(kind)


def _csv(options: CsvOptions) -> dict[str, Any]:
    return {
        "fieldDelimiter": options.delimiter,
        "skipLeadingRows": options.skip_rows,
        "quote": options.quote,
        "nullMarker": options.null_marker,
        "encoding": options.encoding,
        "allowQuotedNewlines": options.quoted_newlines,
    }
