"""Which objects in a bucket are ours, told by their metadata, so that they start nothing."""

from __future__ import annotations

from collections.abc import Mapping

from run.clients.result_objects import RESULT_MARKER
from run.kinds.archive_file import is_archived

#: Custom metadata of a report: its own address, so that a copy of it elsewhere is a new file.
REPORT_MARKER = "cloud-accelerator-report-at"


def is_ours(uri: str, metadata: Mapping[str, str] | None) -> bool:
    """Whether the object at this `gs://` address was archived, reported or kept there by a task of ours."""
    return is_archived(uri, metadata) or uri in {
        (metadata or {}).get(marker) for marker in (REPORT_MARKER, RESULT_MARKER)
    }
