"""What kinds have in common whose work is one query job: its SQL, its parameters, and the life of the job."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from run.clients.bigquery import End, FinishedJob, Job, RunningJob
from run.kinds.bigquery_names import filled, job_id, labels
from run.kinds.job_steps import Step, goes_on, seconds_until_next_look
from run.kinds.kind import Finished, Kind, KindConfig, Progress, Work
from run.kinds.query_parameters import known_parameters, query_parameters, unknown_parameters
from run.workflows.companion_files import read_companion
from run.workflows.scope import Scope
from run.workflows.templates import template_problems, texts_in

_OWN_LABELS = ("workflow", "task")
_QUERY = Step("query")


def _label_key(key: str) -> str:
    # https://docs.cloud.google.com/bigquery/docs/labels-intro
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key):
        raise ValueError("a label's key is at most 63 lower case letters, digits, '_' and '-', a letter first")
    if key in _OWN_LABELS:
        raise ValueError("every job has the labels workflow and task already")
    return key


class OneQueryConfig(KindConfig):
    """The keys of every such task; `sql_file` is read when the workflow is checked and kept as `sql`."""

    sql: str | None = None
    sql_file: str | None = None
    parameters: dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], Any] = Field(default_factory=dict)
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


QueryConfigT = TypeVar("QueryConfigT", bound=OneQueryConfig)


class OneQuery(Kind[QueryConfigT]):
    """A kind whose attempt is one query job; a subclass says what its end means."""

    #: What the client did not understand says nothing of the job, so it must not begin another attempt.
    passing: ClassVar[tuple[type[Exception], ...]] = ()

    def problems(self, config: QueryConfigT, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        for reason in template_problems(config.sql or "", scope.names):
            yield "sql", reason
        known = {*known_parameters(config.sql or "", scope), *config.parameters}
        if unknown := unknown_parameters(config.sql or "", known):
            yield "sql", unknown
        yield from _problems_of_parameters(config, scope)

    def start(self, config: QueryConfigT, work: Work) -> Progress:
        """Submit the SQL, or adopt the job of a worker that was before us."""
        return self._progress(config, work, self.clients.bigquery.query(_id(work), self._configuration(config, work)))

    def poll(self, config: QueryConfigT, work: Work, handle: Mapping[str, Any]) -> Progress:  # noqa: ARG002
        """Ask for the job."""
        job = self.clients.bigquery.find_job(_id(work))
        return self.start(config, work) if job is None else self._progress(config, work, job)

    def cancel(self, config: QueryConfigT, work: Work, handle: Mapping[str, Any] | None) -> bool:  # noqa: ARG002
        """End the job, or take its id when it has not begun."""
        return self.clients.bigquery.end_job(_id(work), labels(work, config.labels)) is not End.not_yet

    @abstractmethod
    def finished(self, config: QueryConfigT, work: Work, job: FinishedJob) -> Finished:
        """What the task log keeps of the job, which has succeeded; raises what `start` raises."""

    def destination(self, config: QueryConfigT, work: Work) -> Mapping[str, Any]:  # noqa: ARG002  # For subclasses.
        """Where the result goes: fields of REST's JobConfigurationQuery; nothing when it goes nowhere."""
        return {}

    def _progress(self, config: QueryConfigT, work: Work, job: Job) -> Progress:
        if isinstance(job, RunningJob):
            return goes_on(_QUERY, job.id, seconds_until_next_look(job))
        return self.finished(config, work, job)

    def _configuration(self, config: QueryConfigT, work: Work) -> dict[str, Any]:
        sql = filled(config.sql or "", work.values)
        query: dict[str, Any] = {"query": sql, "useLegacySql": False, **self.destination(config, work)}
        parameters = query_parameters(sql, work, config.parameters)
        if parameters:
            query |= {"parameterMode": "NAMED", "queryParameters": parameters}
        if config.maximum_bytes_billed:
            query["maximumBytesBilled"] = str(config.maximum_bytes_billed)
        return {"query": query, "labels": labels(work, config.labels)}


def _problems_of_parameters(config: OneQueryConfig, scope: Scope) -> Iterator[tuple[str, str]]:
    # BigQuery does not tell upper case from lower in their names.
    known = {name.lower() for name in scope.parameter_names}
    for name, value in config.parameters.items():
        if name.lower() in known:
            yield "parameters", f"@{name} has a value already, by the batch or by the params"
        for text in texts_in(value):
            for reason in template_problems(text, scope.names):
                yield "parameters", reason


def _id(work: Work) -> str:
    return job_id(work, str(_QUERY))
