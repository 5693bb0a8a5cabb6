"""The kinds of tasks. A new kind is one module and one line here."""

from __future__ import annotations

from typing import Any

from run.clients import Clients
from run.kinds.archive_file import ArchiveFile
from run.kinds.bigquery_check import BigQueryCheck
from run.kinds.bigquery_query import BigQueryQuery
from run.kinds.external import External
from run.kinds.kind import Kind
from run.kinds.load_file import LoadFile

KINDS: tuple[type[Kind[Any]], ...] = (
    LoadFile,
    BigQueryQuery,
    BigQueryCheck,
    ArchiveFile,
    External,
)


def build_kinds(clients: Clients) -> dict[str, Kind[Any]]:
    """Every kind by its name, as workflow files write it."""
    return {kind.name: kind(clients) for kind in KINDS}
