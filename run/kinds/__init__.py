"""The kinds of tasks. A new kind is one module and one line here."""

from __future__ import annotations

from typing import Any

from run.clients import Clients
from run.kinds.archive_file import ArchiveFile
from run.kinds.bigquery_query import BigQueryQuery
from run.kinds.convert_file import ConvertFile
from run.kinds.external import External
from run.kinds.kind import Kind
from run.kinds.load_file import LoadFile
from run.kinds.validate_file import ValidateFile

KINDS: tuple[type[Kind[Any]], ...] = (
    ValidateFile,
    ConvertFile,
    LoadFile,
    BigQueryQuery,
    ArchiveFile,
    External,
)


def build_kinds(clients: Clients) -> dict[str, Kind[Any]]:
    """Every kind by its name, as workflow files write it."""
    return {kind.name: kind(clients) for kind in KINDS}
