"""The once-a-minute kick: messages that may have been lost are published again, dead workers' attempts too."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable

from database.sessions import Database
from database.sweeping import ToPublish, dead_attempts, due_messages
from run.engine.life import TaskLife
from run.pubsub.envelope import Delivery
from run.pubsub.messages import SweepMessage

logger = logging.getLogger(__name__)


class SweepHandler:
    """Mends what a crash, a lost message or a lost worker has left behind."""

    def __init__(self, database: Database, life: TaskLife) -> None:
        self._database = database
        self._life = life

    def handle(self, _message: SweepMessage, _delivery: Delivery) -> None:
        """Sweep once."""
        self.sweep()

    def sweep(self) -> dict[str, int]:
        """Publish what is due, and return how much that was; overlapping sweeps share the work."""
        due = self._database.transact(due_messages)
        dead = self._database.transact(dead_attempts)
        self._publish(due)
        self._publish(dead)
        if due or dead:
            logger.warning("published %s overdue messages and %s attempts of dead workers again", len(due), len(dead))
        return {"overdue_messages": len(due), "dead_attempts": len(dead)}

    def _publish(self, messages: Iterable[ToPublish]) -> None:
        by_batch: defaultdict[str, list[int]] = defaultdict(list)
        for message in messages:
            by_batch[message.batch_id].append(message.task_id)
        for batch_id, task_ids in by_batch.items():
            self._life.publish(batch_id, task_ids)
