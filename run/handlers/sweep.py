"""The once-a-minute kick: messages that may have been lost are published again, dead workers' attempts too."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

from database.keys import BatchKey
from database.sessions import Database
from database.sweeping import ToPublish, dead_attempts, due_messages, not_published
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
        """Publish what is due, and return how much that was; overlapping sweeps share the messages that are due."""
        due = self._database.transact(due_messages)
        unpublished = self._publish(due)
        if unpublished:
            # Pub/Sub is down: the next sweep tries again, and the dead attempts wait for it too.
            self._database.transact(lambda tx: not_published(tx, unpublished))
            return {"overdue_messages": len(due) - len(unpublished), "dead_attempts": 0}
        dead = self._database.transact(lambda tx: dead_attempts(tx, self._life.kinds))
        self._publish(dead)
        if due or dead:
            logger.warning("published %s overdue messages and %s attempts of dead workers again", len(due), len(dead))
        return {"overdue_messages": len(due), "dead_attempts": len(dead)}

    def _publish(self, messages: Sequence[ToPublish]) -> list[ToPublish]:
        """Publish batch by batch, up to the first that cannot be; returns what was not."""
        by_batch: defaultdict[BatchKey, list[int]] = defaultdict(list)
        for message in messages:
            by_batch[message.batch].append(message.task_id)
        published: set[BatchKey] = set()
        for batch, task_ids in by_batch.items():
            if not self._life.publish(batch.batch_id, task_ids):
                break
            published.add(batch)
        return [message for message in messages if message.batch not in published]
