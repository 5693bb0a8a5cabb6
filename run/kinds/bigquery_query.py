"""`bigquery_query`: SQL in BigQuery, with the batch's values as query parameters."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from run.clients.bigquery import End, FinishedJob, Job, RunningJob
from run.errors import PermanentFailure
from run.kinds.appending import append_problems
from run.kinds.bigquery_names import TableName, filled, job_id, labels, table_name, table_problems
from run.kinds.job_steps import Step, goes_on, seconds_until_next_look
from run.kinds.kind import Finished, Kind, KindConfig, Progress, Work
from run.kinds.sql_text import parameter_names
from run.workflows.companion_files import read_companion
from run.workflows.scope import Scope
from run.workflows.templates import template_problems

_WRITE = {"truncate": "WRITE_TRUNCATE", "append": "WRITE_APPEND", "empty": "WRITE_EMPTY"}
_FIRST_ROW_CHARACTERS = 10_000
_OWN_LABELS = ("workflow", "task")
_QUERY = Step("query")


def _label_key(key: str) -> str:
    # https://docs.cloud.google.com/bigquery/docs/labels-intro
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key):
        raise ValueError("a label's key is at most 63 lower case letters, digits, '_' and '-', a letter first")
    if key in _OWN_LABELS:
        raise ValueError("every job has the labels workflow and task already")
    return key


class BigQueryQueryConfig(KindConfig):
    """The keys of a `bigquery_query` task; `sql_file` is read when the workflow is checked and kept as `sql`."""

    sql: str | None = None
    sql_file: str | None = None
    destination: str | None = None
    write: Literal["truncate", "append", "empty"] | None = None
    maximum_bytes_billed: int | None = Field(default=None, gt=0)
    labels: dict[Annotated[str, AfterValidator(_label_key)], str] = Field(default_factory=dict, max_length=60)

    @model_validator(mode="before")
    @classmethod
    def _with_the_file(cls, raw: Any, info: ValidationInfo) -> Any:
        given = raw if isinstance(raw, dict) else {}
        name = given.get("sql_file")
        if not isinstance(name, str) or given.get("sql") is not None:
            return raw
        text = read_companion((info.context or {}).get("folder"), name)
        return {**given, "sql": text, "sql_file": None}

    @model_validator(mode="after")
    def _with_one_sql(self) -> Self:
        if self.sql_file is not None:
            raise ValueError("write sql or sql_file, not both")
        if not (self.sql or "").strip():
            raise ValueError("write sql, or sql_file with a file beside the workflow")
        return self


class BigQueryQuery(Kind[BigQueryQueryConfig]):
    """Runs one SQL text, which may be a script of several statements."""

    name = "bigquery_query"
    config = BigQueryQueryConfig
    #: What the client did not understand says nothing of the job, so it must not begin another attempt.
    passing: ClassVar[tuple[type[Exception], ...]] = ()

    def problems(self, config: BigQueryQueryConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        for reason in template_problems(config.sql or "", scope.names):
            yield "sql", reason
        if unknown := _unknown_parameters(config.sql or "", scope.parameter_names):
            yield "sql", unknown
        if config.destination is not None:
            for reason in table_problems(config.destination, scope.names):
                yield "destination", reason
        elif config.write:
            yield "write", "says how the destination is written, and there is none"
        if config.write == "append":
            for reason in append_problems(scope):
                yield "write", f"{reason}, or write: truncate"

    def start(self, config: BigQueryQueryConfig, work: Work) -> Progress:
        """Submit the SQL, or adopt the job of a worker that was before us."""
        target = self._target(config, work)
        return _progress(self.clients.bigquery.query(_id(work), _configuration(config, work, target)), target)

    def poll(self, config: BigQueryQueryConfig, work: Work, handle: Mapping[str, Any]) -> Progress:  # noqa: ARG002
        """Ask for the job."""
        job = self.clients.bigquery.find_job(_id(work))
        return self.start(config, work) if job is None else _progress(job, self._target(config, work))

    def cancel(self, config: BigQueryQueryConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:  # noqa: ARG002
        """End the job, or take its id when it has not begun."""
        return self.clients.bigquery.end_job(_id(work), labels(work, config.labels)) is not End.not_yet

    def _target(self, config: BigQueryQueryConfig, work: Work) -> TableName | None:
        if config.destination is None:
            return None
        return table_name(config.destination, work.values, self.clients.bigquery.project)


def _id(work: Work) -> str:
    return job_id(work, str(_QUERY))


def _progress(job: Job, target: TableName | None) -> Progress:
    if isinstance(job, RunningJob):
        return goes_on(_QUERY, job.id, seconds_until_next_look(job))
    return Finished(_details(job, target))


def _configuration(config: BigQueryQueryConfig, work: Work, target: TableName | None) -> dict[str, Any]:
    sql = filled(config.sql or "", work.values)
    query: dict[str, Any] = {"query": sql, "useLegacySql": False}
    parameters = query_parameters(sql, work)
    if parameters:
        query |= {"parameterMode": "NAMED", "queryParameters": parameters}
    if target:
        query |= {"destinationTable": target.resource, "writeDisposition": _WRITE[config.write or "truncate"]}
    if config.maximum_bytes_billed:
        query["maximumBytesBilled"] = str(config.maximum_bytes_billed)
    return {"query": query, "labels": labels(work, config.labels)}


def query_parameters(sql: str, work: Work) -> list[dict[str, Any]]:
    """The REST QueryParameters that the SQL uses; raises PermanentFailure when one has no value or none that fits."""
    known: dict[str, Any] = {**work.params, **work.batch_values, "batch_id": work.batch_id}
    if unknown := _unknown_parameters(sql, known):
        raise PermanentFailure(unknown)
    # BigQuery does not tell upper case from lower in the name of a parameter, so each is given once.
    values = {name.lower(): value for name, value in known.items()}
    wanted = {name.lower(): name for name in sorted(parameter_names(sql), key=str.lower)}
    return [{"name": name, **_parameter(name, values[lower])} for lower, name in wanted.items()]


def _unknown_parameters(sql: str, known: Iterable[str]) -> str | None:
    """What is wrong with the parameters that the SQL uses; None when all of them have values."""
    names = sorted(known)
    lower = {name.lower() for name in names}
    unknown = [f"@{name}" for name in sorted(parameter_names(sql)) if name.lower() not in lower]
    if not unknown:
        return None
    return f"the SQL uses {', '.join(unknown)}, and only these have values: {', '.join(f'@{name}' for name in names)}"


def _parameter(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, list | tuple):
        kinds = {_type(name, one) for one in value} or {"STRING"}
        if kinds == {"INT64", "FLOAT64"}:
            kinds = {"FLOAT64"}
        if len(kinds) > 1:
            raise PermanentFailure(
                f"@{name} has items of several types ({', '.join(sorted(kinds))}); BigQuery takes one"
            )
        return {
            "parameterType": {"type": "ARRAY", "arrayType": {"type": kinds.pop()}},
            "parameterValue": {"arrayValues": [{"value": _text(one)} for one in value]},
        }
    return {"parameterType": {"type": _type(name, value)}, "parameterValue": {"value": _text(value)}}


def _type(name: str, value: Any) -> str:
    match value:
        case bool():
            return "BOOL"
        case int():
            return "INT64"
        case float():
            return "FLOAT64"
        case date():
            return "DATE"
        case str() | None:
            return "STRING"
    raise PermanentFailure(
        f"@{name} is {type(value).__name__}; BigQuery takes text, numbers, booleans and lists of them"
    )


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _details(job: FinishedJob, target: TableName | None) -> dict[str, Any]:
    query: Mapping[str, Any] = job.statistics.get("query", {})
    return {
        "job_id": job.id,
        "destination": str(target) if target else None,
        "statement": query.get("statementType"),
        "rows_affected": query.get("numDmlAffectedRows"),
        "bytes_processed": query.get("totalBytesProcessed"),
        "bytes_billed": query.get("totalBytesBilled"),
        "first_row": first_row_as_json(job.first_row),
    }


def first_row_as_json(row: Mapping[str, Any] | str | None) -> Any:
    """The row as the task log keeps it: JSON values, or a sentence when it has more than 10,000 characters."""
    text = json.dumps(row, default=_json_value)
    if len(text) > _FIRST_ROW_CHARACTERS:
        return f"left out: it has {len(text)} characters"
    # JSON has no NaN and no Infinity, and the database takes only JSON: they are kept as words.
    return json.loads(text, parse_constant=str)


def _json_value(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
