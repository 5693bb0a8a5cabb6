"""Nothing waits without a name, at any moment of the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import text

from database.errors import DatabaseError
from database.facts import OpenTask, open_tasks, stuck_tasks
from database.keys import WHOLE, BatchKey
from database.sessions import Transaction
from run.engine.reasons import reasons_of
from tests.faults.chaos.room import Room
from tests.faults.chaos.world import Address

_OPEN_BATCHES = "SELECT workflow_id, batch_id FROM task_batch WHERE status = 'PROCESSING'"


@dataclass
class Watcher:
    """Asks of every open task, and of every element that may be stuck, again and again, what it waits for."""

    room: Room
    #: How many tasks were looked at.
    looks: int = 0
    #: What was seen of tasks that waited for nothing.
    nameless: dict[Address, str] = field(default_factory=dict)

    def look(self) -> None:
        """Look at all that is open now."""
        # The database may be down for a moment.
        with suppress(DatabaseError):
            for task in self.room.database.transact(lambda tx: list(_open(tx))):
                self.looks += 1
                self._ask(task)
            for task in self.room.database.transact(lambda tx: stuck_tasks(tx, seconds=0)):
                if task.element != WHOLE:
                    self._ask(task)

    def _ask(self, task: OpenTask) -> None:
        if not reasons_of(task):
            self.nameless[Address(task.workflow, task.batch_id, task.task, task.element)] = str(task)

    def waits(self) -> dict[Address, str]:
        """What each open task waits for."""
        return {
            Address(task.workflow, task.batch_id, task.task): _words(task)
            for task in self.room.database.transact(lambda tx: list(_open(tx)))
        }


def _open(tx: Transaction) -> Iterator[OpenTask]:
    for batch in tx.execute(text(_OPEN_BATCHES)).all():
        yield from open_tasks(tx, BatchKey(batch.workflow_id, batch.batch_id))


def _words(task: OpenTask) -> str:
    return "; ".join(f"{reason.kind} {', '.join(reason.ids)}, until {reason.until}" for reason in reasons_of(task))
