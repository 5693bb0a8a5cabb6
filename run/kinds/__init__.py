"""The kinds of tasks. A new kind is one module and one line here."""

from __future__ import annotations

from typing import Any

from run.clients import Clients
from run.kinds.archive_file import ArchiveFile
from run.kinds.bigquery_check import BigQueryCheck
from run.kinds.bigquery_query import BigQueryQuery
from run.kinds.cloud_run_job import CloudRunJob
from run.kinds.convert_file import ConvertFile
from run.kinds.dataform_run import DataformRun
from run.kinds.external import External
from run.kinds.http_request import HttpRequest
from run.kinds.kind import Kind
from run.kinds.load_file import LoadFile
from run.kinds.power_bi_refresh import PowerBiRefresh
from run.kinds.python_function import PythonFunction
from run.kinds.validate_file import ValidateFile

KINDS: tuple[type[Kind[Any]], ...] = (
    ValidateFile,
    ConvertFile,
    LoadFile,
    BigQueryQuery,
    DataformRun,
    BigQueryCheck,
    ArchiveFile,
    External,
    HttpRequest,
    CloudRunJob,
    PowerBiRefresh,
    PythonFunction,
)


def build_kinds(clients: Clients) -> dict[str, Kind[Any]]:
    """Every kind by its name, as workflow files write it."""
    return {kind.name: kind(clients) for kind in KINDS}
