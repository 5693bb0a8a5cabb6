"""`bigquery_query`: SQL in BigQuery, with the batch's values as query parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from run.clients.bigquery import FinishedJob
from run.kinds.appending import append_problems
from run.kinds.bigquery_names import TableName, table_name, table_problems
from run.kinds.kept_rows import row_as_json
from run.kinds.kind import Finished, Work
from run.kinds.one_query import OneQuery, OneQueryConfig
from run.workflows.scope import Scope

_WRITE = {"truncate": "WRITE_TRUNCATE", "append": "WRITE_APPEND", "empty": "WRITE_EMPTY"}
_WITH_ROWS = ("SELECT", "SCRIPT")


class BigQueryQueryConfig(OneQueryConfig):
    """The keys of a `bigquery_query` task beside those of its SQL."""

    destination: str | None = None
    write: Literal["truncate", "append", "empty"] | None = None


class BigQueryQuery(OneQuery[BigQueryQueryConfig]):
    """Runs one SQL text, which may be a script of several statements."""

    name = "bigquery_query"
    config = BigQueryQueryConfig

    def problems(self, config: BigQueryQueryConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        yield from super().problems(config, scope)
        if config.destination is not None:
            for reason in table_problems(config.destination, scope.names):
                yield "destination", reason
        elif config.write:
            yield "write", "says how the destination is written, and there is none"
        if config.write == "append":
            for reason in append_problems(scope):
                yield "write", f"{reason}, or write: truncate"

    def destination(self, config: BigQueryQueryConfig, work: Work) -> Mapping[str, Any]:
        """The table that takes the result, and how."""
        target = self._target(config, work)
        if target is None:
            return {}
        return {"destinationTable": target.resource, "writeDisposition": _WRITE[config.write or "truncate"]}

    def finished(self, config: BigQueryQueryConfig, work: Work, job: FinishedJob) -> Finished:
        """What the query has done."""
        query: Mapping[str, Any] = job.statistics.get("query", {})
        target = self._target(config, work)
        return Finished(
            {
                "job_id": job.id,
                "destination": str(target) if target else None,
                "statement": query.get("statementType"),
                "rows_affected": query.get("numDmlAffectedRows"),
                "bytes_processed": query.get("totalBytesProcessed"),
                "bytes_billed": query.get("totalBytesBilled"),
                "first_row": self._first_row(job) if query.get("statementType") in _WITH_ROWS else None,
            }
        )

    def _first_row(self, job: FinishedJob) -> Any:
        try:
            rows = self.clients.bigquery.result(job, most_rows=1).rows
        except Exception as error:  # noqa: BLE001  # The job is done, and nothing about reading it can undo that.
            return f"could not be read: {type(error).__name__}: {error}"
        return row_as_json(rows[0]) if rows else None

    def _target(self, config: BigQueryQueryConfig, work: Work) -> TableName | None:
        if config.destination is None:
            return None
        return table_name(config.destination, work.values, self.clients.bigquery.project)
