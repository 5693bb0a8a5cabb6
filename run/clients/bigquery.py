"""BigQuery: jobs under ids of our own, and the schemas of tables; every call has a timeout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from google.api_core import exceptions as api
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from run.clients.google_failures import job_failure, translated
from run.errors import PassingFailure, PermanentFailure, Unavailable

_ROLE = "roles/bigquery.jobUser on the project or roles/bigquery.dataEditor on the dataset"
#: A job that another worker has just inserted may be unknown to `jobs.get` for a moment.
_FRESH_JOB_SECONDS = 10.0
#: What a job does that holds an id, so that the job which was to have it cannot begin any more. It is known by this
#: text; its label `fence` is for people.
_FENCE = 'SELECT "this id is taken, so that its job cannot begin any more" AS fence'


@dataclass(frozen=True)
class Column:
    """One column of a table; `type` is BigQuery's name of it as the REST API answers, `fields` those of a RECORD."""

    name: str
    type: str
    mode: str = "NULLABLE"
    fields: tuple[Column, ...] = ()


@dataclass(frozen=True)
class RunningJob:
    """A job that BigQuery has taken and that is not done; `seconds` is how long ago it took it."""

    id: str
    state: str
    seconds: float


@dataclass(frozen=True)
class FinishedJob:
    """A job that BigQuery has confirmed to be done without an error.

    `statistics` is the REST resource's, numbers as numbers; `errors` are those that did not end the job, such as
    skipped rows.
    """

    id: str
    location: str | None
    statistics: Mapping[str, Any]
    errors: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Result:
    """The first rows of a query's result, and how many it has in all; a query that selects nothing has no columns."""

    columns: tuple[str, ...]
    total: int
    rows: tuple[Mapping[str, Any], ...]


Job = RunningJob | FinishedJob


class End(StrEnum):
    """What has become of a job that was to be ended."""

    not_yet = "not_yet"  # It was asked to stop and has not stopped yet.
    succeeded = "succeeded"
    failed = "failed"
    prevented = "prevented"  # It had not begun, and cannot any more.


class BigQuery:
    """A thin client; no method waits for a job. Every method raises PermanentFailure when BigQuery refuses.

    When it does not answer, Unavailable is raised: what was submitted may go on, so the attempt is not over, and
    whoever continues it adopts the job. The end of a job, if it is an error, is a PermanentFailure or, where BigQuery
    says that trying again may help, a PassingFailure.

    `endpoint` is the address of a local server, which is met without credentials.
    """

    def __init__(
        self,
        project: str,
        location: str | None = None,
        endpoint: str | None = None,
        *,
        call_seconds: float = 60,
        retry_seconds: float = 60,
    ) -> None:
        self.project = project
        self._limits: dict[str, Any] = {"timeout": call_seconds, "retry": DEFAULT_RETRY.with_timeout(retry_seconds)}
        with _answered("connecting to BigQuery"):
            self._client = bigquery.Client(
                project=project,
                location=location,
                credentials=AnonymousCredentials() if endpoint else None,  # type: ignore[no-untyped-call]
                client_options=ClientOptions(api_endpoint=endpoint) if endpoint else None,
            )

    def load(self, job_id: str, configuration: Mapping[str, Any]) -> Job:
        """Submit a load job, or adopt the one of this id; `configuration` is a REST JobConfiguration with `load`."""
        load = dict(configuration["load"])
        uris, target = load.pop("sourceUris"), bigquery.TableReference.from_api_repr(load.pop("destinationTable"))
        config: Any = bigquery.LoadJobConfig.from_api_repr({**configuration, "load": load})

        def submit() -> Any:
            return self._client.load_table_from_uri(uris, target, job_id=job_id, job_config=config, **self._limits)

        return self._seen(self._submitted(job_id, submit))

    def query(self, job_id: str, configuration: Mapping[str, Any]) -> Job:
        """Submit a query job, or adopt the one of this id; `configuration` is a REST JobConfiguration with `query`."""
        return self._seen(self._submitted_query(job_id, configuration))

    def find_job(self, job_id: str) -> Job | None:
        """The job of this id as it is now; None when there is none."""
        job = self._look_for(job_id)
        return None if job is None else self._seen(job)

    def result(self, job: FinishedJob, *, most_rows: int) -> Result:
        """The first rows of what a query job has selected; BigQuery keeps the result for about a day."""
        known = {
            "jobReference": {"projectId": self.project, "jobId": job.id, "location": job.location},
            "configuration": {"query": {}},
            "status": {"state": "DONE"},
        }
        with _answered(f"reading the result of BigQuery job {job.id}"):
            found = bigquery.QueryJob.from_api_repr(known, self._client).result(max_results=most_rows, **self._limits)
            rows = tuple(dict(row.items()) for row in found)
        return Result(tuple(column.name for column in found.schema or ()), found.total_rows or 0, rows)

    def end_job(self, job_id: str, labels: Mapping[str, str]) -> End:
        """End the job of this id; when there is none, take its id, so that whoever is late cannot begin it.

        Called again until the answer is not `not_yet`. `labels` are those of the job that takes the id.
        """
        fence = {"query": {"query": _FENCE, "useLegacySql": False}, "labels": {**labels, "fence": "true"}}
        # Taking the id is the question whether it is taken: between a look and an insert somebody could come.
        job = self._submitted_query(job_id, fence)
        if _is_fence(job):
            return End.prevented
        if job.state != "DONE":
            # One that was submitted a moment ago may not be known yet to those who are to stop it.
            with _answered(f"ending BigQuery job {job_id}"), suppress(api.NotFound):
                job.cancel(**self._limits)
                job.reload(**self._limits)
        if job.state != "DONE":
            return End.not_yet
        return End.failed if job.error_result else End.succeeded

    def columns(self, table: str) -> tuple[Column, ...] | None:
        """The columns of `project.dataset.table`, or None when there is no such table."""
        with _answered(f"reading the schema of {table}"):
            try:
                found = self._client.get_table(table, **self._limits)
            except api.NotFound:
                return None
        return tuple(_column(one) for one in found.schema)

    def expire(self, table: str, at: datetime) -> None:
        """Let BigQuery delete the table at that time; one that is gone, or that another worker changes, is no error."""
        with _answered(f"setting the expiry of {table}"):
            try:
                found = self._client.get_table(table, **self._limits)
                found.expires = at
                self._client.update_table(found, ["expires"], **self._limits)
            except (api.NotFound, api.PreconditionFailed):
                return

    def drop(self, table: str) -> None:
        """Delete the table; one that is gone is no error."""
        with _answered(f"dropping {table}"):
            self._client.delete_table(table, not_found_ok=True, **self._limits)

    def _submitted_query(self, job_id: str, configuration: Mapping[str, Any]) -> Any:
        query = dict(configuration["query"])
        sql = query.pop("query")
        config: Any = bigquery.QueryJobConfig.from_api_repr({**configuration, "query": query})

        def submit() -> Any:
            return self._client.query(sql, job_id=job_id, job_config=config, job_retry=None, **self._limits)

        return self._submitted(job_id, submit)

    def _submitted(self, job_id: str, submit: Callable[[], Any]) -> Any:
        with _answered(f"BigQuery job {job_id}"):
            try:
                return submit()
            except api.Conflict:
                # Another worker of the attempt was first, or it was us, in a call whose answer was lost.
                return self._known_job(job_id)

    def _look_for(self, job_id: str) -> Any | None:
        with _answered(f"looking for BigQuery job {job_id}"):
            try:
                return self._client.get_job(job_id, **self._limits)
            except api.NotFound:
                return None

    def _known_job(self, job_id: str) -> Any:
        deadline = time.monotonic() + _FRESH_JOB_SECONDS
        while True:
            if job := self._look_for(job_id):
                return job
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"BigQuery knows job {job_id} and does not find it; is BIGQUERY_LOCATION where the dataset is?"
                )
            time.sleep(0.5)

    def _seen(self, job: Any) -> Job:
        doing = f"BigQuery job {job.job_id}"
        if _is_fence(job):
            raise PermanentFailure(f"{doing}: this attempt was cancelled before the job began")
        if job.state != "DONE":
            seconds = (datetime.now(UTC) - job.created).total_seconds() if job.created else 0.0
            return RunningJob(job.job_id, job.state, max(seconds, 0.0))
        errors = tuple(dict(one) for one in job.errors or ())
        if job.error_result:
            details = {"job_id": job.job_id, "reason": job.error_result.get("reason"), "errors": list(errors)}
            raise job_failure(doing, job.error_result, details)
        statistics = _numbers(dict(job._properties.get("statistics", {})))  # noqa: SLF001  # The resource as it came.
        return FinishedJob(job.job_id, job.location, statistics, errors)


def _is_fence(job: Any) -> bool:
    return isinstance(job, bigquery.QueryJob) and job.query == _FENCE


@contextmanager
def _answered(doing: str) -> Iterator[None]:
    """No answer says nothing about what goes on at BigQuery, so it must not end an attempt."""
    try:
        with translated(doing, _ROLE):
            yield
    except PassingFailure as failure:
        raise Unavailable(str(failure)) from failure


def _column(found: bigquery.SchemaField) -> Column:
    return Column(found.name, found.field_type, found.mode or "NULLABLE", tuple(_column(one) for one in found.fields))


def _numbers(value: Any) -> Any:
    # The REST API writes int64 as text.
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return int(value) if isinstance(value, str) and value.isdecimal() else value
