"""Lets the local BigQuery server write the result of a query to the job's destination table.

By itself it leaves the table as it is and calls the job a success. The words are those of JobConfigurationQuery:
https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationQuery
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import duckdb
from bqemulator.api.dependencies import AppContext
from bqemulator.api.routes import jobs
from bqemulator.catalog.models import JobMeta, TableMeta
from bqemulator.domain.errors import AlreadyExistsError, DomainError, InvalidQueryError
from bqemulator.jobs import executor
from bqemulator.scripting.ast import SqlStmt
from bqemulator.storage.sql_identifiers import quoted_table_ref

from run.local.bigquery_rows import insert_by_name


@dataclass(frozen=True)
class _Destination:
    project: str
    dataset: str
    table: str
    disposition: str

    @classmethod
    def of(cls, query: dict[str, Any], project: str) -> Self | None:
        named = query.get("destinationTable")
        if not named:
            return None
        disposition = query.get("writeDisposition") or "WRITE_EMPTY"
        return cls(named.get("projectId") or project, named["datasetId"], named["tableId"], disposition)

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}.{self.table}"

    @property
    def key(self) -> tuple[str, str, str]:
        return self.project, self.dataset, self.table


def install() -> None:
    """Write to the destination after the server has run a query."""
    run_query = jobs._execute_query_or_failed_meta  # noqa: SLF001  There is no public door to it.

    async def run_and_write(*, query_config: dict[str, Any], **job: Any) -> JobMeta:
        target = _Destination.of(query_config, job["project_id"])
        if target is None:
            return await run_query(query_config=query_config, **job)
        try:
            _refuse_what_selects_nothing(job["bq_sql"], target)
        except DomainError as error:
            return _failed(job, jobs._domain_error_to_error_result(error))  # type: ignore[arg-type]  # noqa: SLF001
        # Without its configuration, for the server would answer as if it had appended.
        done = await run_query(query_config={}, **job)
        return done if done.error_result else await _written(done, target, job)

    jobs._execute_query_or_failed_meta = run_and_write  # noqa: SLF001


def _refuse_what_selects_nothing(sql: str, target: _Destination) -> None:
    if "$" in target.table:
        raise InvalidQueryError(f"{target}: the local server has no partition decorators")
    statements = executor._parse_script_or_raise(sql).statements  # noqa: SLF001
    if len(statements) != 1 or not isinstance(statements[0], SqlStmt):
        raise InvalidQueryError("configuration.query.destinationTable cannot be set for scripts")
    kind = executor.classify_statement_type(sql)
    if kind not in {"SELECT", ""}:
        raise InvalidQueryError(f"Cannot set destination table in jobs with {kind} statements")


async def _written(done: JobMeta, target: _Destination, job: dict[str, Any]) -> JobMeta:
    server: AppContext = job["ctx"]
    try:
        async with server.engine.write_lock():
            _write(done.job_id, target, server)
        # A job's result is what its destination holds then.
        everything = f"SELECT * FROM `{target.project}`.`{target.dataset}`.`{target.table}`"
        await executor.execute_query_job(target.project, done.job_id, everything, None, server, caller=job["caller"])
    except DomainError as error:
        return _failed(job, jobs._domain_error_to_error_result(error))  # type: ignore[arg-type]  # noqa: SLF001
    except duckdb.Error as error:
        return _failed(job, {"reason": "invalid", "message": f"{target}: {error}"})
    done.configuration["query"] |= {
        "destinationTable": job["config"]["query"]["destinationTable"],
        "writeDisposition": target.disposition,
    }
    return done


def _write(job_id: str, target: _Destination, server: AppContext) -> None:
    columns = executor.JOB_SCHEMAS[job_id]
    rows = executor.JOB_RESULTS[job_id].rename_columns([one["name"] for one in columns])
    reference = quoted_table_ref(*target.key)
    known = server.catalog.get_table(*target.key)
    if known and known.table_type != "TABLE":
        raise InvalidQueryError(f"{target} is not allowed for this operation because it is a {known.table_type}")
    if known and target.disposition == "WRITE_EMPTY" and _count(reference, server):
        raise AlreadyExistsError(f"Already Exists: Table {target}")
    if known is None:
        _create(target, columns, server)
    elif target.disposition == "WRITE_TRUNCATE":
        _replace(known, reference, columns, server)
    insert_by_name(rows, reference, server)
    _note_the_change(target, reference, server)


def _create(target: _Destination, columns: list[dict[str, Any]], server: AppContext) -> None:
    executor._maybe_create_load_destination(  # noqa: SLF001
        dest_project=target.project,
        dest_dataset=target.dataset,
        dest_table_id=target.table,
        load_config={"schema": {"fields": columns}},
        now=server.clock.now(),
        ctx=server,
    )


def _replace(known: TableMeta, reference: str, columns: list[dict[str, Any]], server: AppContext) -> None:
    server.engine.execute(f"DROP TABLE {reference}")
    schema = executor._build_explicit_schema(server, reference, columns)  # noqa: SLF001
    server.catalog.update_table(known.model_copy(update={"schema_": schema}))


def _note_the_change(target: _Destination, reference: str, server: AppContext) -> None:
    table = server.catalog.get_table(*target.key)
    if table:
        server.catalog.update_table(table.model_copy(update={"num_rows": _count(reference, server)}))
    server.snapshots.record_change(*target.key)


def _count(reference: str, server: AppContext) -> int:
    (count,) = server.engine.execute(f"SELECT COUNT(*) FROM {reference}").fetchone() or (0,)
    return int(count)


def _failed(job: dict[str, Any], error: dict[str, Any]) -> JobMeta:
    return jobs._failed_job_meta(  # noqa: SLF001
        job["project_id"], job["job_id"], "QUERY", job["config"], error, job["ctx"].clock.now()
    )
