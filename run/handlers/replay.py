"""A rejected message goes through the door once more, because what it lacked may be there now."""

from __future__ import annotations

import json

from database.audit import write_audit
from database.errors import Missing
from database.rejected import RejectedMessage, find_rejected, mark_replayed
from database.sessions import Database, Transaction
from run.errors import Rejected
from run.pubsub.dead_letters import read_dead_letter
from run.pubsub.envelope import Delivery, read_delivery
from run.pubsub.messages import TaskMessage, parse_message
from run.pubsub.publisher import Publisher
from run.pubsub.router import Router


def replay(database: Database, router: Router, publisher: Publisher, rejected_id: int, actor: str) -> RejectedMessage:
    """Route a stored message again, take it off the inbox and write down who asked; returns it as it was.

    Raises Missing when there is none of this id, Rejected with the reason when it is rejected again.
    """
    stored = _find(database, rejected_id)
    delivery = _as_it_was_published(read_delivery(stored.headers, stored.body))
    message = parse_message(delivery)
    if isinstance(message, TaskMessage):
        # The work belongs to the service, not to the terminal of the person who replays.
        publisher.publish([json.loads(delivery.data)])
    else:
        router.dispatch(message, delivery)
    # A file is rejected for one task and may be taken by another: the handler then stores it again and goes on.
    after = _find(database, rejected_id)
    if after.deliveries > stored.deliveries:
        raise Rejected(after.reason)

    def close(tx: Transaction) -> None:
        mark_replayed(tx, rejected_id)
        write_audit(tx, actor, "replay", f"rejected message {rejected_id}", details={"reason": stored.reason})

    database.transact(close)
    return stored


def _as_it_was_published(delivery: Delivery) -> Delivery:
    # What a dead-letter topic has forwarded would only be kept again.
    dead_letter = read_dead_letter(delivery)
    return delivery if dead_letter is None else dead_letter.original


def _find(database: Database, rejected_id: int) -> RejectedMessage:
    stored = database.transact(lambda tx: find_rejected(tx, rejected_id))
    if stored is None:
        raise Missing(f"there is no rejected message {rejected_id}")
    return stored
