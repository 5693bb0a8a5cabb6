"""Task messages: run that task of that batch; or an outside system says that its work is done."""

from __future__ import annotations

import logging
from functools import lru_cache

from database.completions import StoredCompletion
from database.keys import WHOLE, TaskKey
from database.sessions import Database
from database.statuses import Status
from database.workflows import NamedTask, find_task_by_name, tasks_from
from run.engine.completions import take_completion
from run.engine.life import TaskLife
from run.engine.stored_values import storable
from run.errors import Rejected
from run.pubsub.envelope import Delivery
from run.pubsub.messages import CompletedMessage, TaskAddress, TaskMessage

logger = logging.getLogger(__name__)

#: So many tasks are remembered, and hardly more.
MOST_KNOWN = 10_000


class TaskHandler:
    """Finds the task that a message means, and lets it live."""

    def __init__(self, database: Database, life: TaskLife) -> None:
        self._database = database
        self._life = life
        # A task's ids and names never change, so that found ones may be remembered.
        self._known: dict[int, NamedTask] = {}
        self._find_by_name = lru_cache(maxsize=MOST_KNOWN)(self._find_by_name_in_database)

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

    def _find(self, address: TaskAddress) -> NamedTask:
        return self._find_by_name(address) if address.task_id is None else self._find_by_id(address.task_id)

    def _find_by_id(self, task_id: int) -> NamedTask:
        known = self._known.get(task_id)
        if known is not None:
            return known
        found = {task.task_id: task for task in self._database.run_alone(lambda tx: tasks_from(tx, task_id))}
        if task_id not in found:
            raise Rejected(f"there is no task {task_id}")
        kept = self._known if len(self._known) < MOST_KNOWN else {}
        self._known = {**kept, **found}
        return found[task_id]

    def _find_by_name_in_database(self, address: TaskAddress) -> NamedTask:
        workflow, name = address.workflow or "", address.task_name or ""
        found = self._database.run_alone(lambda tx: find_task_by_name(tx, workflow, name))
        if found is None:
            raise Rejected(f"there is no task {workflow}.{name}")
        return found


def _key(task: NamedTask, message: TaskMessage | CompletedMessage) -> TaskKey:
    element = WHOLE if message.element is None else message.element
    return TaskKey(task.workflow_id, message.batch_id, task.task_id, element)
