"""What people move, who they are, and what has come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from database.batches import find_batch
from database.dependencies import Locked, lock_with_elements
from database.errors import Missing
from database.keys import WHOLE, BatchKey, TaskKey
from database.sessions import Transaction
from database.statuses import Status
from database.workflows import current_version, find_task_by_name, names_of_tasks
from run.engine.dependency_checker import Checked, Elements
from run.errors import Refused


@dataclass(frozen=True)
class TaskOfBatch:
    """A task of a batch, or an element of it, by its names."""

    workflow: str
    batch_id: str
    task: str
    element: int | None = None

    @property
    def name(self) -> str:
        """What people call it: `load`, or `load[3]`."""
        return self.task if self.element is None else f"{self.task}[{self.element}]"

    @property
    def subject(self) -> str:
        """What the audit calls it."""
        return f"task {self.workflow} {self.batch_id} {self.name}"

    def find(self, tx: Transaction) -> TaskKey:
        """Its key, with its row and its task's elements locked; raises Missing."""
        batch = batch_of(tx, self.workflow, self.batch_id)
        found = find_task_by_name(tx, self.workflow, self.task)
        if found is None:
            raise Missing(f"workflow {self.workflow} has no task {self.task!r}")
        # Twice: the first may wait for a move to another version, and only the second sees what that has made of it.
        lock_with_elements(tx, batch, [found.task_id])
        if not lock_with_elements(tx, batch, [found.task_id]):
            raise Missing(f"batch {self.batch_id} of workflow {self.workflow} has no task {self.task!r} in its version")
        element = WHOLE if self.element is None else self.element
        return TaskKey(batch.workflow_id, batch.batch_id, found.task_id, element)


def batch_of(tx: Transaction, workflow: str, batch_id: str) -> BatchKey:
    """The key of the batch of these names; raises Missing."""
    current = current_version(tx, workflow)
    if current is None:
        raise Missing(f"there is no workflow {workflow!r}")
    key = BatchKey(current.workflow_id, batch_id)
    if find_batch(tx, key) is None:
        raise Missing(f"workflow {workflow} has no batch {batch_id!r}")
    return key


@dataclass(frozen=True)
class Who:
    """Who makes a move, and why, for the audit."""

    actor: str
    reason: str | None = None

    @property
    def as_details(self) -> dict[str, Any]:
        """What the log of an attempt keeps that they have taken away."""
        return {"cancelled_by": self.actor, "reason": self.reason}


def refuse_if_it_starts_anyway(own: Locked, name: str) -> None:
    """Raise Refused when the task, or element, of this name is to have a new attempt without anybody's doing."""
    if own.status is Status.NEW:
        raise Refused(f"{name} is about to start; its message is on the way")
    if own.status is Status.WAITING and own.is_due:
        raise Refused(f"{name} waits already; it starts as soon as it may")


@dataclass(frozen=True)
class MoveResult:
    """What a move has changed: names of tasks, those among them that may start now, and how the batch stands."""

    changed: tuple[str, ...]
    released: tuple[str, ...]
    batch_status: str


@dataclass(frozen=True)
class Moved:
    """The tasks that a move has changed, in order, and what the check has made of it."""

    batch: BatchKey
    changed: Sequence[int]
    checked: Checked
    #: The task of which only one element was meant, and what that is called.
    called: Mapping[int, str] = field(default_factory=dict)

    def told(self, tx: Transaction) -> MoveResult:
        """The same by names."""
        names = names_of_tasks(tx, self.batch.workflow_id)
        now = find_batch(tx, self.batch)
        changed = tuple(self.called.get(task_id, names[task_id]) for task_id in self.changed)
        released = [*(names[task_id] for task_id in self.checked.released), *_names_of(self.checked.elements, names)]
        return MoveResult(changed, tuple(released), now.status if now is not None else "")


def _names_of(released: Sequence[Elements], names: Mapping[int, str]) -> Iterator[str]:
    for one in released:
        match one.numbers:
            case []:
                continue
            case [only]:
                yield f"{names[one.task_id]}[{only}]"
            case _:
                yield f"{names[one.task_id]} ({len(one.numbers):,} elements)"
