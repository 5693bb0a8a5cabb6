"""What a batch and a batch task are called everywhere: in statements, messages and logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class BatchKey:
    """One execution of a workflow; `batch_id` is unique within the workflow."""

    workflow_id: int
    batch_id: str

    @property
    def columns(self) -> dict[str, Any]:
        return {"workflow_id": self.workflow_id, "batch_id": self.batch_id}


@dataclass(frozen=True, order=True)
class TaskKey:
    """One task of one batch."""

    workflow_id: int
    batch_id: str
    task_id: int

    @property
    def batch(self) -> BatchKey:
        return BatchKey(self.workflow_id, self.batch_id)

    @property
    def columns(self) -> dict[str, Any]:
        return {"workflow_id": self.workflow_id, "batch_id": self.batch_id, "task_id": self.task_id}
