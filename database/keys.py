"""What a batch and a batch task are called everywhere: in statements, messages and logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

#: What stands for the task itself where an element of a mapped task could stand.
WHOLE = -1


class Span(NamedTuple):
    """Which rows of a task are meant: those of the elements from `first` to `last`, or that of the task itself."""

    first: int
    last: int


THE_TASK = Span(WHOLE, WHOLE)
ALL_ELEMENTS = Span(0, 2**31 - 1)


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
    """One task of one batch, or one element of a mapped one; elements are counted from 0."""

    workflow_id: int
    batch_id: str
    task_id: int
    element: int = WHOLE

    @property
    def batch(self) -> BatchKey:
        return BatchKey(self.workflow_id, self.batch_id)

    @property
    def columns(self) -> dict[str, Any]:
        return {
            "workflow_id": self.workflow_id,
            "batch_id": self.batch_id,
            "task_id": self.task_id,
            "element": self.element,
        }

    @property
    def span(self) -> Span:
        """Its own row alone."""
        return Span(self.element, self.element)

    @property
    def is_element(self) -> bool:
        """Whether it is one element of a mapped task."""
        return self.element != WHOLE

    @property
    def whole(self) -> TaskKey:
        """The task itself, of which it may be an element."""
        return TaskKey(self.workflow_id, self.batch_id, self.task_id)
