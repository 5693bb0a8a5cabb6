"""Workflow messages: start a batch, or join it when its params are equal."""

from __future__ import annotations

import logging
from datetime import date

from database.audit import write_audit
from database.sessions import Database, Transaction
from database.workflows import current_version
from run.engine.batch_identity import Joined, join_batch_by_id, start_fresh_batch
from run.engine.life import TaskLife
from run.errors import Rejected
from run.pubsub.envelope import Delivery
from run.pubsub.messages import WorkflowMessage

logger = logging.getLogger(__name__)


class WorkflowHandler:
    """Opens batches that a message asks for."""

    def __init__(self, database: Database, life: TaskLife) -> None:
        self._database = database
        self._life = life

    def handle(self, message: WorkflowMessage, delivery: Delivery) -> None:
        """Start or join the batch; the same message again opens no second one."""
        if message.batch_id is None and delivery.message_id is None:
            raise Rejected("it has neither a batch_id nor a message id: coming again, it would open a second batch")
        self.start(message, delivery.key, day=None if delivery.publish_time is None else delivery.publish_time.date())

    def start(
        self, message: WorkflowMessage, trigger_key: str, actor: str | None = None, day: date | None = None
    ) -> Joined:
        """Start or join the batch that is asked for, once for each `trigger_key`, and publish what may start.

        When a person asks, `actor` is written into the audit. Raises Rejected when there is no such workflow, the id is
        not one of its ids, or the params are others.
        """

        def join(tx: Transaction) -> Joined:
            current = current_version(tx, message.workflow)
            if current is None:
                raise Rejected(f"there is no workflow {message.workflow!r}")
            if message.batch_id is None:
                joined = start_fresh_batch(tx, current, message.params, trigger_key, day)
            else:
                joined = join_batch_by_id(tx, current, message.batch_id, message.params)
            if actor is not None:
                details = {"params": dict(message.params), "opened": joined.created}
                subject = f"batch {message.workflow} {joined.key.batch_id}"
                write_audit(tx, actor, "start", subject, details=details)
            return joined

        joined = self._database.transact(join)
        how = "opened" if joined.created else "joined"
        logger.info("%s the batch", how, extra={"workflow": message.workflow, "batch": joined.key.batch_id})
        self._life.publish(joined.key.batch_id, joined.released)
        return joined
