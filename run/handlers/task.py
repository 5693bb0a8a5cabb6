"""Task messages: run that task of that batch; or an outside system says that its work is done."""

from __future__ import annotations

from functools import lru_cache

from database.keys import TaskKey
from database.sessions import Database, Transaction
from database.workflows import NamedTask, find_task, find_task_by_name
from run.engine.life import TaskLife
from run.errors import Rejected
from run.pubsub.envelope import Delivery
from run.pubsub.messages import CompletedMessage, TaskAddress, TaskMessage


class TaskHandler:
    """Finds the task that a message means, and lets it live."""

    def __init__(self, database: Database, life: TaskLife) -> None:
        self._database = database
        self._life = life
        # A task's ids and names never change, so that a found one may be remembered.
        self._find = lru_cache(maxsize=10_000)(self._find_in_database)

    def execute(self, message: TaskMessage, _delivery: Delivery) -> None:
        """Run the task if it may start; raises Rejected when there is no such task or batch."""
        task = self._find(message.task)
        if message.element is not None:
            raise Rejected(f"task {task.task} of workflow {task.workflow} is not mapped; it has no elements")
        self._life.execute(TaskKey(task.workflow_id, message.batch_id, task.task_id))

    def completed(self, message: CompletedMessage, _delivery: Delivery) -> None:
        """Refuse the completion of a task whose work is not outside; nothing changes."""
        task = self._find(message.task)
        raise Rejected(
            f"task {task.task} of workflow {task.workflow} does its own work; nobody else can say that it is done"
        )

    def _find_in_database(self, address: TaskAddress) -> NamedTask:
        def find(tx: Transaction) -> NamedTask | None:
            if address.task_id is not None:
                return find_task(tx, address.task_id)
            return find_task_by_name(tx, address.workflow or "", address.task_name or "")

        found = self._database.transact(find)
        if found is None:
            raise Rejected(f"there is no task {_words(address)}")
        return found


def _words(address: TaskAddress) -> str:
    return f"{address.workflow}.{address.task_name}" if address.task_id is None else str(address.task_id)
