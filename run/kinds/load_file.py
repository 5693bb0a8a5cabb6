"""`load_file`: a file from Cloud Storage, or many at once, into a table of BigQuery."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from run.clients.bigquery import BigQuery, End, FinishedJob
from run.errors import PermanentFailure, TaskFailure
from run.kinds.bigquery_names import TableName, job_id, labels
from run.kinds.job_steps import Later, Step, finished, goes_on
from run.kinds.kind import Finished, Kind, Progress, Work
from run.kinds.load_options import LoadFileConfig, load_problems
from run.kinds.load_plan import LoadPlan, plan_of, staging_of
from run.kinds.load_sources import check_generations, named_in, refusal
from run.kinds.sources import SOURCE_KEY
from run.kinds.target_table import FIRST_STEP, TargetTable, end_tries
from run.workflows.scope import Scope

logger = logging.getLogger(__name__)

_STAGING_DAYS = 1
#: As many sources as the task log spells out.
_MOST_SOURCES = 100
_LOAD = Step("load")


class LoadFile(Kind[LoadFileConfig]):
    """Loads what the task took; what this task loaded for the batch before is replaced unless it appends."""

    name = "load_file"
    config = LoadFileConfig
    takes_file = True
    takes_many_files = True
    source_key = SOURCE_KEY
    #: What the client did not understand says nothing of the job, so it must not begin another attempt.
    passing: ClassVar[tuple[type[Exception], ...]] = ()

    def problems(self, config: LoadFileConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        return load_problems(config, scope)

    def start(self, config: LoadFileConfig, work: Work) -> Progress:
        """Load what is there now; fails when a generation is not the one that arrived."""
        return self._progress(config, work, _LOAD)

    def poll(self, config: LoadFileConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        """Ask for the job of the handle, and go on with what follows it."""
        return self._progress(config, work, Step.of(handle))

    def cancel(self, config: LoadFileConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:  # noqa: ARG002
        """End the jobs of the attempt, whichever of them has begun, and take the ids of those that have not."""
        load = self._bigquery.end_job(job_id(work, str(_LOAD)), labels(work))
        if load is not End.succeeded or config.partition:
            # Nothing follows a load that did not happen, or that was all there was to do.
            return load is not End.not_yet
        if not end_tries(self._bigquery, work):
            return False
        with suppress(TaskFailure):  # The table expires.
            self._bigquery.drop(str(staging_of(config, work, self._bigquery.project)))
        return True

    def _progress(self, config: LoadFileConfig, work: Work, at: Step) -> Progress:
        plan = plan_of(config, work, self._bigquery.project)
        try:
            return self._finished(plan, at)
        except Later as later:
            return goes_on(later.step, plan.id_of(str(later.step)), later.seconds)

    def _finished(self, plan: LoadPlan, at: Step) -> Finished:
        if plan.staging is None:
            load = self._load(plan)
            self._check_generation(plan)
            return Finished(_details(plan, load))
        loaded = self._load(plan) if at == _LOAD else None
        written = self._write(plan, plan.staging, at)
        return Finished(_details(plan, loaded or self._load(plan)) | {"write_job_id": written.id})

    def _load(self, plan: LoadPlan) -> FinishedJob:
        try:
            return self._loaded(plan)
        except PermanentFailure as failure:
            wrong = named_in(failure.details.get("errors", ()), plan.files)
            raise refusal(plan.config, plan.files, wrong, failure) from failure

    def _loaded(self, plan: LoadPlan) -> FinishedJob:
        # Another worker's job is met before the file is looked at: it may be running, whatever became of the file.
        job = self._bigquery.find_job(plan.id_of(str(_LOAD)))
        if job is None:
            self._check_generation(plan)
            job = self._bigquery.load(plan.id_of(str(_LOAD)), plan.configuration)
        return finished(_LOAD, job)

    def _check_generation(self, plan: LoadPlan) -> None:
        check_generations(self.clients.storage, [file.place for file in plan.files])

    def _write(self, plan: LoadPlan, staging: TableName, at: Step) -> FinishedJob:
        target = TargetTable(self._bigquery, plan, staging)
        try:
            written = self._written(plan, staging, target) if at == _LOAD else target.go_on(at)
        except TaskFailure:
            # The attempt ends, so a worker of it that wakes later must find no rows to write. One that was faster
            # may have written them already.
            self._drop(staging)
            faster = target.written()
            if faster is None:
                raise
            return faster
        self._drop(staging)
        return written

    def _written(self, plan: LoadPlan, staging: TableName, target: TargetTable) -> FinishedJob:
        self._bigquery.expire(str(staging), datetime.now(UTC) + timedelta(days=_STAGING_DAYS))
        done = target.written()
        if done is not None:
            return done
        self._check_generation(plan)
        return target.go_on(FIRST_STEP)

    def _drop(self, staging: TableName) -> None:
        try:
            self._bigquery.drop(str(staging))
        except PermanentFailure as failure:
            # Nothing of the attempt depends on it, and the table expires.
            logger.warning("%s", failure)

    @property
    def _bigquery(self) -> BigQuery:
        return self.clients.bigquery


def _details(plan: LoadPlan, job: FinishedJob) -> dict[str, Any]:
    counts: Mapping[str, Any] = job.statistics.get("load", {})
    return {
        **_sources(plan),
        "destination": str(plan.target),
        "job_id": job.id,
        "rows": counts.get("outputRows"),
        "bytes": counts.get("outputBytes"),
        "bad_records": counts.get("badRecords", 0),
        "errors": [dict(error) for error in job.errors],
    }


def _sources(plan: LoadPlan) -> dict[str, Any]:
    places = [file.place for file in plan.files]
    if (plan.config.source or plan.work.task) in plan.work.files:
        return {"source": places[0].uri, "generation": places[0].generation}
    told = [{"source": place.uri, "generation": place.generation} for place in places[:_MOST_SOURCES]]
    return {"files": len(places), "sources": told}
