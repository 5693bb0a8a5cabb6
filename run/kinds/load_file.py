"""`load_file`: one file from Cloud Storage into a table of BigQuery."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from run.clients.bigquery import BigQuery, FinishedJob
from run.errors import PassingFailure, PermanentFailure
from run.kinds.bigquery_names import TableName, digest, filled, job_id, labels, literal, table_name
from run.kinds.kind import Finished, Kind, ObjectVersion, TakenFile, Work
from run.kinds.load_options import (
    PARTITION_DIGITS,
    ColumnOptions,
    CsvOptions,
    FileFormat,
    LoadFileConfig,
    format_of,
    load_problems,
)
from run.kinds.staging import additions
from run.workflows.scope import Scope

_STAGING_DAYS = 1
#: Transactions of other batches on the same table can undo ours; each try is a job of its own.
_TRANSACTION_TRIES = 6


class LoadFile(Kind[LoadFileConfig]):
    """Loads the file that the task took; what the same batch loaded before is replaced unless `write` is append."""

    name = "load_file"
    config = LoadFileConfig
    takes_file = True

    def problems(self, config: LoadFileConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        return load_problems(config, scope)

    def start(self, config: LoadFileConfig, work: Work) -> Finished:
        """Load the file as it is now; fails when its generation is not the one that arrived."""
        plan = _plan(config, work, self.clients.bigquery.project)
        self._check_generation(plan)
        load = self.clients.bigquery.load(plan.load_id, plan.configuration)
        self._check_generation(plan)
        details = _details(plan, load)
        if plan.staging:
            details |= self._replace_rows(plan, plan.staging)
        return Finished(details)

    def _check_generation(self, plan: _Plan) -> None:
        wanted = plan.file.place
        found = self.clients.storage.find(wanted.bucket, wanted.name)
        if found is None:
            raise PermanentFailure(f"{wanted.uri} is gone; its generation {wanted.generation} was to be loaded")
        if found.generation != wanted.generation:
            raise PermanentFailure(
                f"{wanted.uri} has changed: its generation is {found.generation}, and {wanted.generation} was to be "
                "loaded; the newer one has a notification of its own",
                {"wanted_generation": wanted.generation, "found_generation": found.generation},
            )

    def _replace_rows(self, plan: _Plan, staging: TableName) -> dict[str, Any]:
        done = self._known_transaction(plan)
        if done is None:
            self._bigquery.expire(str(staging), datetime.now(UTC) + timedelta(days=_STAGING_DAYS))
            done = self._transaction(plan, self._prepare_target(plan, staging))
        self._bigquery.drop(str(staging))
        return {"transaction_job_id": done.id}

    def _known_transaction(self, plan: _Plan) -> FinishedJob | None:
        # After a takeover the staging table may be gone already, because the last owner's transaction was done.
        for number in range(1, _TRANSACTION_TRIES + 1):
            try:
                return self._bigquery.find_job(plan.transaction_id(number))
            except PassingFailure as failure:
                if "job_id" not in failure.details:
                    raise
        return None

    def _prepare_target(self, plan: _Plan, staging: TableName) -> list[str]:
        loaded = self._bigquery.columns(str(staging))
        if loaded is None:
            raise PermanentFailure(f"the staging table {staging} is gone; run the task again")
        target = self._bigquery.columns(str(plan.target))
        batch_column = plan.config.batch_column_name
        added = additions(loaded, target, batch_column, str(plan.target))
        if target is None:
            self._run(plan, "create", plan.create_sql(staging))
        elif added:
            columns = ", ".join(f"ADD COLUMN IF NOT EXISTS {one}" for one in added)
            self._run(plan, "add-columns", f"ALTER TABLE {plan.target.quoted} {columns}")
        return [column.name for column in loaded]

    def _transaction(self, plan: _Plan, columns: list[str]) -> FinishedJob:
        sql = plan.transaction_sql(columns)
        for number in range(1, _TRANSACTION_TRIES + 1):
            try:
                return self._run(plan, f"replace-{number}", sql)
            except PassingFailure as failure:
                if number == _TRANSACTION_TRIES or "job_id" not in failure.details:
                    raise
                time.sleep(min(0.5 * 2**number, 10))
        raise AssertionError  # The last try returned or raised.

    def _run(self, plan: _Plan, step: str, sql: str) -> FinishedJob:
        configuration = {"query": {"query": sql, "useLegacySql": False}, "labels": plan.labels}
        return self._bigquery.query(plan.id_of(step), configuration)

    @property
    def _bigquery(self) -> BigQuery:
        return self.clients.bigquery


@dataclass(frozen=True)
class _Plan:
    config: LoadFileConfig
    work: Work
    file: TakenFile
    format: FileFormat
    target: TableName
    staging: TableName | None

    @property
    def labels(self) -> dict[str, str]:
        return labels(self.work)

    @property
    def load_id(self) -> str:
        return self.id_of("load")

    def transaction_id(self, number: int) -> str:
        return self.id_of(f"replace-{number}")

    def id_of(self, step: str) -> str:
        return job_id(self.work, step)

    def create_sql(self, staging: TableName) -> str:
        column = f"CAST(NULL AS STRING) AS `{self.config.batch_column_name}`"
        return f"CREATE TABLE IF NOT EXISTS {self.target.quoted} AS SELECT *, {column} FROM {staging.quoted} LIMIT 0"

    def transaction_sql(self, columns: list[str]) -> str:
        """Delete this batch's rows and insert the staged ones, or neither."""
        if self.staging is None:
            raise AssertionError
        batch, batch_column = literal(self.work.batch_id), f"`{self.config.batch_column_name}`"
        names = ", ".join(f"`{name}`" for name in columns)
        return (
            "BEGIN TRANSACTION;\n"
            f"DELETE FROM {self.target.quoted} WHERE {batch_column} = {batch};\n"
            f"INSERT INTO {self.target.quoted} ({names}, {batch_column})"
            f" SELECT {names}, {batch} FROM {self.staging.quoted};\n"
            "COMMIT TRANSACTION;"
        )

    @property
    def configuration(self) -> dict[str, Any]:
        """The REST JobConfiguration: https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job"""
        load: dict[str, Any] = {
            "sourceUris": [self.file.place.uri],
            "sourceFormat": self.format.source_format,
            "destinationTable": (self.staging or self.target).resource,
            "createDisposition": "CREATE_IF_NEEDED",
            "writeDisposition": "WRITE_APPEND" if self.config.write == "append" else "WRITE_TRUNCATE",
            **_reading(self.config, self.format),
        }
        if self.config.partition_by:
            field = {"field": self.config.partition_field} if self.config.partition_field else {}
            load["timePartitioning"] = {"type": self.config.partition_by, **field}
        if self.staging is None:
            load["schemaUpdateOptions"] = ["ALLOW_FIELD_ADDITION"]
        return {"load": load, "labels": self.labels}


def _plan(config: LoadFileConfig, work: Work, project: str) -> _Plan:
    file = work.files.get(work.task)
    if file is None:
        raise PermanentFailure(f"no file of batch '{work.batch_id}' belongs to task '{work.task}'")
    kind = config.format or format_of(file.landed.name)
    if kind is None:
        raise PermanentFailure(f"the name of {file.landed.uri} does not tell its format; write format: csv, or another")
    _check_name(file.place, kind)
    target = table_name(config.table, work.values, project)
    if config.partition:
        target = TableName(target.project, target.dataset, target.table, _partition(config, work))
    staged = config.write == "replace" and config.partition is None
    staging = target.beside(f"staging_{digest(work.key)}") if staged else None
    return _Plan(config, work, file, kind, target, staging)


def _check_name(place: ObjectVersion, kind: FileFormat) -> None:
    if "*" in place.name:
        raise PermanentFailure(f"{place.uri}: BigQuery reads '*' as a wildcard and cannot load this name; rename it")
    if "//" in place.name:
        raise PermanentFailure(f"{place.uri}: BigQuery cannot load a name with '//' in it; rename it")
    if place.name.lower().endswith(".gz") and kind.describes_itself:
        raise PermanentFailure(f"{place.uri}: BigQuery reads gzip for CSV and JSON only, and this is {kind}")


def _partition(config: LoadFileConfig, work: Work) -> str:
    text = filled(config.partition or "", work.values)
    digits = PARTITION_DIGITS[config.partition_by or "DAY"]
    if not re.fullmatch(rf"[0-9]{{{digits}}}", text):
        raise PermanentFailure(f"'{text}' is no partition by {config.partition_by}, which has {digits} digits")
    return text


def _reading(config: LoadFileConfig, kind: FileFormat) -> dict[str, Any]:
    reading: dict[str, Any] = {}
    if config.columns != "detect":
        reading["schema"] = {"fields": [_field(one) for one in config.columns]}
    elif not kind.describes_itself:
        reading["autodetect"] = True
    if not kind.describes_itself:
        reading["maxBadRecords"] = config.max_bad_records
    return reading | (_csv(config.csv or CsvOptions()) if kind is FileFormat.csv else {})


def _csv(options: CsvOptions) -> dict[str, Any]:
    return {
        "fieldDelimiter": options.delimiter,
        "skipLeadingRows": options.skip_rows,
        "quote": options.quote,
        "nullMarker": options.null_marker,
        "encoding": options.encoding,
        "allowQuotedNewlines": options.quoted_newlines,
    }


def _field(column: ColumnOptions) -> dict[str, Any]:
    field: dict[str, Any] = {"name": column.name, "type": column.type.upper(), "mode": column.mode}
    return field | ({"fields": [_field(one) for one in column.fields]} if column.fields else {})


def _details(plan: _Plan, job: FinishedJob) -> dict[str, Any]:
    counts: Mapping[str, Any] = job.statistics.get("load", {})
    return {
        "source": plan.file.place.uri,
        "generation": plan.file.place.generation,
        "destination": str(plan.target),
        "job_id": job.id,
        "rows": counts.get("outputRows"),
        "bytes": counts.get("outputBytes"),
        "bad_records": counts.get("badRecords", 0),
        "errors": [dict(error) for error in job.errors],
        "adopted": job.adopted,
    }
