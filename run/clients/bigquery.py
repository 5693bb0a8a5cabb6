"""BigQuery: jobs under ids of our own, and the schemas of tables; every call has a timeout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.api_core import exceptions as api
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from run.clients.google_failures import job_failure, translated
from run.errors import PassingFailure, Unavailable

_ROLE = "roles/bigquery.jobUser on the project or roles/bigquery.dataEditor on the dataset"
#: For all jobs of an attempt together. A push request may run for 600 s, and a last call may take two minutes.
WAIT_SECONDS = 450.0
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
    skipped rows; `adopted` says that the job had been submitted before. `first_row` is a sentence when the result could
    not be read.
    """

    id: str
    location: str | None
    statistics: Mapping[str, Any]
    errors: tuple[Mapping[str, Any], ...] = ()
    adopted: bool = False
    first_row: Mapping[str, Any] | str | None = field(default=None)


class BigQuery:
    """A thin client. Every method raises PermanentFailure when BigQuery refuses.

    When it does not answer, or a job is not done in time, Unavailable is raised: what was submitted may go on, so the
    attempt is not over, and whoever continues it adopts the job. The end of a job, if it is an error, is a
    PermanentFailure or, where BigQuery says that trying again may help, a PassingFailure.

    `endpoint` is the address of a local server, which is met without credentials. `until`, a moment of the monotonic
    clock, is how long to wait for a job; without it that is `wait_seconds` from now.
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
        with _answered("connecting to BigQuery"):
            self._client = bigquery.Client(
                project=project,
                location=location,
                credentials=AnonymousCredentials() if endpoint else None,  # type: ignore[no-untyped-call]
                client_options=ClientOptions(api_endpoint=endpoint) if endpoint else None,
            )

    def deadline(self) -> float:
        """The `until` of an attempt that begins now."""
        return time.monotonic() + self._wait_seconds

    def load(self, job_id: str, configuration: Mapping[str, Any], until: float | None = None) -> FinishedJob:
        """Run a load job, or adopt it; `configuration` is a REST JobConfiguration with `load`."""
        load = dict(configuration["load"])
        uris, target = load.pop("sourceUris"), bigquery.TableReference.from_api_repr(load.pop("destinationTable"))
        config: Any = bigquery.LoadJobConfig.from_api_repr({**configuration, "load": load})

        def submit() -> Any:
            return self._client.load_table_from_uri(uris, target, job_id=job_id, job_config=config, **self._limits)

        return self._run(job_id, submit, until)

    def query(self, job_id: str, configuration: Mapping[str, Any], until: float | None = None) -> FinishedJob:
        """Run a query job, or adopt it; `configuration` is a REST JobConfiguration with `query`."""
        query = dict(configuration["query"])
        sql = query.pop("query")
        config: Any = bigquery.QueryJobConfig.from_api_repr({**configuration, "query": query})

        def submit() -> Any:
            return self._client.query(sql, job_id=job_id, job_config=config, job_retry=None, **self._limits)

        return self._run(job_id, submit, until)

    def find_job(self, job_id: str, until: float | None = None) -> FinishedJob | None:
        """Adopt a job that was submitted before: wait for its end like `load` and `query`; None when there is none."""
        job = self._look_for(job_id)
        return None if job is None else self._finish(job, until, adopted=True)

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

    def _run(self, job_id: str, submit: Callable[[], Any], until: float | None) -> FinishedJob:
        # Looking first is what a takeover does; 409 is the answer when another worker submits at the same moment.
        if until is not None and time.monotonic() > until:
            raise Unavailable(f"no time is left for BigQuery job {job_id}")
        job, adopted = self._look_for(job_id), True
        if job is None:
            with _answered(f"BigQuery job {job_id}"):
                try:
                    job, adopted = submit(), False
                except api.Conflict:
                    job = self._known_job(job_id)
        return self._finish(job, until, adopted=adopted)

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

    def _finish(self, job: Any, until: float | None, *, adopted: bool) -> FinishedJob:
        self._wait(job, until or self.deadline())
        doing = f"BigQuery job {job.job_id}"
        errors = tuple(dict(one) for one in job.errors or ())
        if job.error_result:
            details = {"job_id": job.job_id, "reason": job.error_result.get("reason"), "errors": list(errors)}
            raise job_failure(doing, job.error_result, details)
        statistics = _numbers(dict(job._properties.get("statistics", {})))  # noqa: SLF001  # The resource as it came.
        return FinishedJob(job.job_id, job.location, statistics, errors, adopted, self._first_row(job))

    def _wait(self, job: Any, until: float) -> None:
        pause = 0.1
        with _answered(f"waiting for BigQuery job {job.job_id}"):
            while job.state != "DONE":
                if time.monotonic() > until:
                    raise Unavailable(f"BigQuery job {job.job_id} is still {job.state}; it is looked for again later")
                time.sleep(pause)
                pause = min(pause * 1.5, 5)
                job.reload(**self._limits)

    def _first_row(self, job: Any) -> Mapping[str, Any] | str | None:
        if job.job_type != "query" or job.statement_type not in {"SELECT", "SCRIPT"}:
            return None
        try:
            row = next(iter(job.result(max_results=1, **self._limits)), None)
        except Exception as error:  # noqa: BLE001  # The job is done, and nothing about reading it can undo that.
            return f"could not be read: {type(error).__name__}: {error}"
        return None if row is None else dict(row.items())


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
