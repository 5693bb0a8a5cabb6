"""Task messages: run that task of that batch; or an outside system says that its work is done."""

from __future__ import annotations

import logging
from functools import lru_cache

from database.completions import StoredCompletion
from database.keys import WHOLE, TaskKey
from database.sessions import Database, Transaction
from database.statuses import Status
from database.workflows import NamedTask, find_task, find_task_by_name
from run.engine.completions import take_completion
from run.engine.life import TaskLife
from run.engine.stored_values import storable
from run.errors import Rejected
from run.pubsub.envelope import Delivery
from run.pubsub.messages import CompletedMessage, TaskAddress, TaskMessage

logger = logging.getLogger(__name__)


class TaskHandler:
    """Finds the task that a message means, and lets it live."""

    def __init__(self, database: Database, life: TaskLife) -> None:
        self._database = database
        self._life = life
        # A task's ids and names never change, so that a found one may be remembered.
        self._find = lru_cache(maxsize=10_000)(self._find_in_database)

    def execute(self, message: TaskMessage, _delivery: Delivery) -> None:
        """Run the task if it may start; raises Rejected when there is no such task or batch."""
        self._life.execute(_key(self._find(message.task), message))

    def completed(self, message: CompletedMessage, _delivery: Delivery) -> None:
        """End the attempt that the message is about, or keep what it says until that attempt waits for it.

        Raises Rejected, and nothing changes, when it cannot be the outcome of an attempt that is open or to come.
        """
        task = self._find(message.task)
        key = _key(task, message)
        error = message.error if message.status == Status.ERROR else None
        said = StoredCompletion(message.status, storable(message.result), storable(error))
        checked = self._database.transact(lambda tx: take_completion(tx, key, message.attempt, said))
        names = {"workflow": task.workflow, "batch": key.batch_id, "task": task.task}
        logger.info("%s is said to be %s", task.task, message.status, extra=names)
        self._life.publish(key.batch_id, checked.released, checked.elements)

    def _find_in_database(self, address: TaskAddress) -> NamedTask:
        def find(tx: Transaction) -> NamedTask | None:
            if address.task_id is not None:
                return find_task(tx, address.task_id)
            return find_task_by_name(tx, address.workflow or "", address.task_name or "")

        found = self._database.run_alone(find)
        if found is None:
            raise Rejected(f"there is no task {_words(address)}")
        return found


def _key(task: NamedTask, message: TaskMessage | CompletedMessage) -> TaskKey:
    element = WHOLE if message.element is None else message.element
    return TaskKey(task.workflow_id, message.batch_id, task.task_id, element)


def _words(address: TaskAddress) -> str:
    return f"{address.workflow}.{address.task_name}" if address.task_id is None else str(address.task_id)
