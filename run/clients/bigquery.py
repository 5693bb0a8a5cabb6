"""BigQuery: jobs under ids of our own, and the schemas of tables; every call has a timeout."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.api_core import exceptions as api
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from run.clients.google_failures import job_failure, translated
from run.errors import Unavailable

_ROLE = "roles/bigquery.jobUser on the project or roles/bigquery.dataEditor on the dataset"
#: A push request may run for 600 s; what is left is for the rest of the task's life.
WAIT_SECONDS = 540.0
#: A job that another worker has just inserted may be unknown to `jobs.get` for a moment.
_FRESH_JOB_SECONDS = 10.0


@dataclass(frozen=True)
class Column:
    """One column of a table; `type` is BigQuery's name of it as the REST API answers, `fields` those of a RECORD."""

    name: str
    type: str
    mode: str = "NULLABLE"
    fields: tuple[Column, ...] = ()


@dataclass(frozen=True)
class FinishedJob:
    """A job that BigQuery has confirmed to be done without an error.

    `statistics` is the REST resource's, numbers as numbers; `errors` are those that did not end the job, such as
    skipped rows; `adopted` says that the job had been submitted before.
    """

    id: str
    location: str | None
    statistics: Mapping[str, Any]
    errors: tuple[Mapping[str, Any], ...] = ()
    adopted: bool = False
    first_row: Mapping[str, Any] | None = field(default=None)


class BigQuery:
    """A thin client; every method raises PermanentFailure or PassingFailure when BigQuery refuses or does not answer.

    `endpoint` is the address of a local server, which is met without credentials. A job that is not done after
    `wait_seconds` raises Unavailable: the delivery comes again, and the same attempt adopts the job.
    """

    def __init__(
        self,
        project: str,
        location: str | None = None,
        endpoint: str | None = None,
        *,
        call_seconds: float = 60,
        retry_seconds: float = 60,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.project = project
        self._limits: dict[str, Any] = {"timeout": call_seconds, "retry": DEFAULT_RETRY.with_timeout(retry_seconds)}
        self._wait_seconds = wait_seconds
        with translated("connecting to BigQuery", _ROLE):
            self._client = bigquery.Client(
                project=project,
                location=location,
                credentials=AnonymousCredentials() if endpoint else None,  # type: ignore[no-untyped-call]
                client_options=ClientOptions(api_endpoint=endpoint) if endpoint else None,
            )

    def load(self, job_id: str, configuration: Mapping[str, Any]) -> FinishedJob:
        """Run a load job, or adopt it; `configuration` is a REST JobConfiguration with `load`."""
        load = dict(configuration["load"])
        uris, target = load.pop("sourceUris"), bigquery.TableReference.from_api_repr(load.pop("destinationTable"))
        config: Any = bigquery.LoadJobConfig.from_api_repr({**configuration, "load": load})

        def submit() -> Any:
            return self._client.load_table_from_uri(uris, target, job_id=job_id, job_config=config, **self._limits)

        return self._run(job_id, submit)

    def query(self, job_id: str, configuration: Mapping[str, Any]) -> FinishedJob:
        """Run a query job, or adopt it; `configuration` is a REST JobConfiguration with `query`."""
        query = dict(configuration["query"])
        sql = query.pop("query")
        config: Any = bigquery.QueryJobConfig.from_api_repr({**configuration, "query": query})

        def submit() -> Any:
            return self._client.query(sql, job_id=job_id, job_config=config, job_retry=None, **self._limits)

        return self._run(job_id, submit)

    def find_job(self, job_id: str) -> FinishedJob | None:
        """Adopt a job that was submitted before: wait for its end like `load` and `query`; None when there is none."""
        job = self._look_for(job_id)
        return None if job is None else self._finish(job, adopted=True)

    def columns(self, table: str) -> tuple[Column, ...] | None:
        """The columns of `project.dataset.table`, or None when there is no such table."""
        with translated(f"reading the schema of {table}", _ROLE):
            try:
                found = self._client.get_table(table, **self._limits)
            except api.NotFound:
                return None
        return tuple(_column(one) for one in found.schema)

    def expire(self, table: str, at: datetime) -> None:
        """Let BigQuery delete the table at that time; a table that is gone is no error."""
        with translated(f"setting the expiry of {table}", _ROLE):
            try:
                found = self._client.get_table(table, **self._limits)
                found.expires = at
                self._client.update_table(found, ["expires"], **self._limits)
            except api.NotFound:
                return

    def drop(self, table: str) -> None:
        """Delete the table; one that is gone is no error."""
        with translated(f"dropping {table}", _ROLE):
            self._client.delete_table(table, not_found_ok=True, **self._limits)

    def _run(self, job_id: str, submit: Callable[[], Any]) -> FinishedJob:
        # Looking first is what a takeover does; 409 is the answer when another worker submits at the same moment.
        job, adopted = self._look_for(job_id), True
        if job is None:
            with translated(f"BigQuery job {job_id}", _ROLE):
                try:
                    job, adopted = submit(), False
                except api.Conflict:
                    job = self._known_job(job_id)
        return self._finish(job, adopted=adopted)

    def _look_for(self, job_id: str) -> Any | None:
        with translated(f"looking for BigQuery job {job_id}", _ROLE):
            try:
                return self._client.get_job(job_id, **self._limits)
            except api.NotFound:
                return None

    def _known_job(self, job_id: str) -> Any:
        deadline = time.monotonic() + _FRESH_JOB_SECONDS
        while True:
            try:
                return self._client.get_job(job_id, **self._limits)
            except api.NotFound:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _finish(self, job: Any, *, adopted: bool) -> FinishedJob:
        self._wait(job)
        doing = f"BigQuery job {job.job_id}"
        errors = tuple(dict(one) for one in job.errors or ())
        if job.error_result:
            raise job_failure(doing, job.error_result, {"job_id": job.job_id, "errors": list(errors)})
        statistics = _numbers(dict(job._properties.get("statistics", {})))  # noqa: SLF001  # The resource as it came.
        return FinishedJob(job.job_id, job.location, statistics, errors, adopted, self._first_row(job, doing))

    def _wait(self, job: Any) -> None:
        deadline, pause = time.monotonic() + self._wait_seconds, 0.1
        with translated(f"waiting for BigQuery job {job.job_id}", _ROLE):
            while job.state != "DONE":
                if time.monotonic() > deadline:
                    raise Unavailable(f"BigQuery job {job.job_id} is still {job.state} after {self._wait_seconds:g} s")
                time.sleep(pause)
                pause = min(pause * 1.5, 5)
                job.reload(**self._limits)

    def _first_row(self, job: Any, doing: str) -> Mapping[str, Any] | None:
        if job.job_type != "query" or job.statement_type not in {"SELECT", "SCRIPT"}:
            return None
        with translated(f"reading the result of {doing}", _ROLE):
            row = next(iter(job.result(max_results=1, **self._limits)), None)
        return None if row is None else dict(row.items())


def _column(found: bigquery.SchemaField) -> Column:
    return Column(found.name, found.field_type, found.mode or "NULLABLE", tuple(_column(one) for one in found.fields))


def _numbers(value: Any) -> Any:
    # The REST API writes int64 as text.
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return int(value) if isinstance(value, str) and value.isdecimal() else value
