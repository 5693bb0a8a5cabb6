"""Lets the local BigQuery server read Parquet, Avro and ORC files as they describe themselves.

By itself it makes no table from such a file unless the job names the columns, puts values into columns by their place
instead of their name, and needs libraries for Avro and ORC that are not at hand. Of several files it blames the first,
whichever could not be read; here the error names the right one.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
from bqemulator.api.dependencies import AppContext
from bqemulator.api.routes import jobs
from bqemulator.catalog.models import JobMeta
from bqemulator.domain.errors import DomainError, InvalidQueryError
from bqemulator.jobs import executor
from bqemulator.jobs.avro_reader import read_avro_to_arrow
from pyarrow import orc, parquet

from run.local.bigquery_rows import insert_by_name

Reader = Callable[[str], pa.Table]
_UTC = pa.timestamp("us", tz="UTC")


class Unreadable(Exception):
    """A file that is not what its job says; the server ends the job with this message."""


def install() -> None:
    """Put our readers in the place of the server's."""
    create = executor._maybe_create_load_destination  # noqa: SLF001  There is no public door to these two.
    handlers = executor._LOAD_FORMAT_HANDLERS  # noqa: SLF001

    def create_as_described(*, load_config: dict[str, Any], ctx: AppContext, **rest: Any) -> None:
        create(load_config=_with_columns(load_config, ctx), ctx=ctx, **rest)

    executor._maybe_create_load_destination = create_as_described  # noqa: SLF001
    handlers |= {name: _loading(read) for name, read in _READERS.items()}
    _blame_the_right_file()


def _blame_the_right_file() -> None:
    load_file = executor._load_path_into_target  # noqa: SLF001
    load = jobs._handle_load_job_with_async_envelope  # noqa: SLF001

    def load_or_name(path: str, job: Any, ctx: AppContext) -> None:
        try:
            load_file(path, job, ctx)
        except DomainError:
            raise
        except Exception as error:
            uri = next(uri for uri in job.source_uris if executor._resolve_uri(uri, ctx) == path)  # noqa: SLF001
            raise Unreadable(f"{error}; file: {uri}") from error

    async def load_and_blame(*job: Any, **more: Any) -> JobMeta:
        done = await load(*job, **more)
        blamed = re.search(r"; file: (gs://.*)\Z", (done.error_result or {}).get("message", ""), re.DOTALL)
        if blamed is None:
            return done
        return done.model_copy(update={"error_result": {**(done.error_result or {}), "location": blamed[1]}})

    executor._load_path_into_target = load_or_name  # noqa: SLF001
    jobs._handle_load_job_with_async_envelope = load_and_blame  # noqa: SLF001


def _with_columns(load: dict[str, Any], server: AppContext) -> dict[str, Any]:
    read = _READERS.get(load.get("sourceFormat", "CSV").upper())
    uris = load.get("sourceUris") or []
    if read is None or not uris or (load.get("schema") or {}).get("fields"):
        return load
    path = executor._resolve_uri(uris[0], server)  # noqa: SLF001
    columns = executor.build_response_schema(read(next(_files(path))).schema)
    return {**load, "schema": {"fields": columns}}


def _loading(read: Reader) -> Callable[[str, str, AppContext], None]:
    def load(path: str, target: str, server: AppContext) -> None:
        for file in _files(path):
            insert_by_name(read(file), target, server)

    return load


def _files(path: str) -> Iterator[str]:
    # `*` is the only wildcard of a URI: https://docs.cloud.google.com/bigquery/docs/batch-loading-data
    if "*" not in path:
        yield path
        return
    pattern = glob.escape(path).replace("[*]", "*")
    found = sorted(glob.glob(pattern))  # noqa: PTH207  Path's own takes no absolute pattern.
    if not found:
        raise Unreadable(f"no file is named like {path}")
    yield from found


def _read_parquet(path: str) -> pa.Table:
    file = parquet.ParquetFile(path)
    instants = {column.path for column in file.schema if column.physical_type == "INT96"}
    rows = file.read()
    for index, column in enumerate(rows.schema):
        if column.name in instants:  # BigQuery takes INT96 for a TIMESTAMP, Arrow for a time of no zone.
            rows = rows.set_column(index, column.name, rows.column(index).cast(_UTC, safe=False))
    return rows


def _read_avro(path: str) -> pa.Table:
    try:
        return read_avro_to_arrow(path)
    except InvalidQueryError as error:
        raise Unreadable(error.message) from error


_READERS: Mapping[str, Reader] = {"PARQUET": _read_parquet, "AVRO": _read_avro, "ORC": orc.read_table}
