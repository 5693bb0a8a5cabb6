"""`load_file`: one file from Cloud Storage into a table of BigQuery."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from run.clients.bigquery import BigQuery, FinishedJob
from run.errors import PassingFailure, PermanentFailure
from run.kinds.bigquery_names import TableName
from run.kinds.kind import Finished, Kind, Work
from run.kinds.load_options import LoadFileConfig, load_problems
from run.kinds.load_plan import LoadPlan, plan_of
from run.kinds.target_table import TargetTable
from run.workflows.scope import Scope

logger = logging.getLogger(__name__)

_STAGING_DAYS = 1


class LoadFile(Kind[LoadFileConfig]):
    """Loads the file that the task took; what this task loaded for the batch before is replaced unless it appends."""

    name = "load_file"
    config = LoadFileConfig
    takes_file = True

    def problems(self, config: LoadFileConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        return load_problems(config, scope)

    def start(self, config: LoadFileConfig, work: Work) -> Finished:
        """Load the file as it is now; fails when its generation is not the one that arrived."""
        plan, until = plan_of(config, work, self._bigquery.project), self._bigquery.deadline()
        load = self._load(plan, until)
        details = _details(plan, load)
        if plan.staging is None:
            self._check_generation(plan)
            return Finished(details)
        written = self._write(plan, plan.staging, until, is_new=not load.adopted)
        return Finished(details | {"write_job_id": written.id})

    def _load(self, plan: LoadPlan, until: float) -> FinishedJob:
        # Another worker's job is met before the file is looked at: it may be running, whatever became of the file.
        known = self._bigquery.find_job(plan.id_of("load"), until)
        if known is not None:
            return known
        self._check_generation(plan)
        return self._bigquery.load(plan.id_of("load"), plan.configuration, until)

    def _check_generation(self, plan: LoadPlan) -> None:
        wanted = plan.file.place
        found = self.clients.storage.find(wanted.bucket, wanted.name)
        if found is None:
            raise PassingFailure(
                f"{wanted.uri} is gone; its generation {wanted.generation} was to be loaded. "
                "A new attempt looks for it where it was moved to"
            )
        if found.generation != wanted.generation:
            raise PermanentFailure(
                f"{wanted.uri} has changed: its generation is {found.generation}, and {wanted.generation} was to be "
                "loaded; the newer one has a notification of its own",
                {"wanted_generation": wanted.generation, "found_generation": found.generation},
            )

    def _write(self, plan: LoadPlan, staging: TableName, until: float, *, is_new: bool) -> FinishedJob:
        self._bigquery.expire(str(staging), datetime.now(UTC) + timedelta(days=_STAGING_DAYS))
        target = TargetTable(self._bigquery, plan, staging, until)
        written = None if is_new else target.written()
        if written is None:
            self._check_generation(plan)
            written = target.write(is_new=is_new)
        self._drop(staging)
        return written

    def _drop(self, staging: TableName) -> None:
        try:
            self._bigquery.drop(str(staging))
        except PermanentFailure as failure:
            # The rows are in the target, which nothing can undo; the table expires.
            logger.warning("%s", failure)

    @property
    def _bigquery(self) -> BigQuery:
        return self.clients.bigquery


def _details(plan: LoadPlan, job: FinishedJob) -> dict[str, Any]:
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
