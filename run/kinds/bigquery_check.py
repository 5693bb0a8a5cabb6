"""`bigquery_check`: SQL whose result says whether the data is as it should be."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import field_serializer, field_validator

from run.clients.bigquery import FinishedJob
from run.errors import PermanentFailure
from run.kinds.expectation import Expected, finding
from run.kinds.kept_rows import rows_as_json
from run.kinds.kind import Finished, Work
from run.kinds.one_query import OneQuery, OneQueryConfig

logger = logging.getLogger(__name__)

_MOST_ROWS = 20
_NO_ROWS = "no_rows"


class BigQueryCheckConfig(OneQueryConfig):
    """The keys of a `bigquery_check` task beside those of its SQL; `no_rows` is None here."""

    expect: Expected | None = None
    on_failure: Literal["fail", "warn"] = "fail"

    @field_validator("expect", mode="before")
    @classmethod
    def _without_the_word(cls, raw: Any) -> Any:
        if raw == _NO_ROWS:
            return None
        if isinstance(raw, dict | Expected):
            return raw
        raise ValueError("write no_rows, or what the value must be, as in {min: 1, max: 10} or {equals: 0}")

    @field_serializer("expect")
    def _with_the_word(self, expected: Expected | None) -> Any:
        return _NO_ROWS if expected is None else expected.model_dump(exclude_none=True)


class BigQueryCheck(OneQuery[BigQueryCheckConfig]):
    """Succeeds when the SQL gives what is expected; a result that cannot be judged is never taken for that."""

    name = "bigquery_check"
    config = BigQueryCheckConfig

    def finished(self, config: BigQueryCheckConfig, work: Work, job: FinishedJob) -> Finished:
        """Judge the result; raises PermanentFailure with the first rows when it is not what is expected."""
        query: Mapping[str, Any] = job.statistics.get("query", {})
        if query.get("statementType") != "SELECT":
            raise PermanentFailure(f"a check is one SELECT, and this is {query.get('statementType')}")
        result = self.clients.bigquery.result(job, most_rows=_MOST_ROWS)
        details = {
            "job_id": job.id,
            "bytes_processed": query.get("totalBytesProcessed"),
            "bytes_billed": query.get("totalBytesBilled"),
            "row_count": result.total,
            "rows": rows_as_json(result.rows),
        }
        found = finding(result, config.expect)
        if found is None:
            return Finished(details)
        if config.on_failure == "fail":
            raise PermanentFailure(f"the check has failed: {found}", details)
        names = {"workflow": work.workflow, "batch": work.batch_id, "task": work.task}
        logger.warning("the check of %s has found something: %s", work.task, found, extra=names)
        return Finished({"warning": found, **details})
