"""Workflows and their versions, to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from database.errors import Missing


@dataclass(frozen=True)
class ListedWorkflow:
    """A workflow and its newest version."""

    workflow: str
    version: int
    batch_template: str
    tasks: int
    applied_at: datetime


_WORKFLOWS = text("""
    SELECT w.name AS workflow, v.version, v.batch_template,
           (SELECT count(*) FROM task_version tv WHERE tv.version_id = v.version_id) AS tasks,
           v.created_at AS applied_at
      FROM workflow w JOIN workflow_version v ON v.workflow_id = w.workflow_id AND v.version = w.version
     ORDER BY w.name LIMIT :most
""")


def list_workflows(tx: Connection, *, most: int) -> list[ListedWorkflow]:
    """The workflows by name."""
    return [ListedWorkflow(**row._asdict()) for row in tx.execute(_WORKFLOWS, {"most": most})]


@dataclass(frozen=True)
class ListedVersion:
    """One version of a workflow; `newest` is the one that new batches get."""

    workflow: str
    version: int
    newest: int
    applied_at: datetime
    digest: str
    definition: Mapping[str, Any]


_VERSION = text("""
    SELECT w.name AS workflow, v.version, w.version AS newest, v.created_at AS applied_at, v.digest, v.definition
      FROM workflow w
      JOIN workflow_version v ON v.workflow_id = w.workflow_id
                             AND v.version = COALESCE(CAST(:version AS bigint), w.version)
     WHERE w.name = :workflow
""")
_NEWEST = text("SELECT version FROM workflow WHERE name = :workflow")


def show_version(tx: Connection, workflow: str, version: int | None = None) -> ListedVersion:
    """A version of a workflow, the newest unless one is named; raises Missing."""
    row = tx.execute(_VERSION, {"workflow": workflow, "version": version}).one_or_none()
    if row is not None:
        return ListedVersion(**row._asdict())
    newest = newest_version(tx, workflow)
    raise Missing(f"workflow {workflow} has no version {version}; its newest is {newest}")


def newest_version(tx: Connection, workflow: str) -> int:
    """The number of the newest version of a workflow; raises Missing when there is no such workflow."""
    newest: int | None = tx.execute(_NEWEST, {"workflow": workflow}).scalar_one_or_none()
    if newest is None:
        raise Missing(f"there is no workflow {workflow!r}")
    return newest
