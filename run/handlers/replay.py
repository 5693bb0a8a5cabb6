"""A rejected message goes through the door once more, because what it lacked may be there now."""

from __future__ import annotations

import json
from collections.abc import Mapping

from database.audit import write_audit
from database.errors import Missing
from database.rejected import RejectedMessage, Rejection, find_rejected, mark_replayed, rejections
from database.sessions import Database, Transaction
from run.errors import Rejected
from run.handlers.file import rejected_keys_begin
from run.pubsub.dead_letters import read_dead_letter
from run.pubsub.envelope import Delivery, read_delivery
from run.pubsub.messages import FileMessage, Message, TaskMessage, parse_message
from run.pubsub.publisher import Publisher
from run.pubsub.router import Router


def replay(database: Database, router: Router, publisher: Publisher, rejected_id: int, actor: str) -> RejectedMessage:
    """Route a stored message again, take it off the inbox and write down who asked; returns it as it was.

    Raises Missing when there is none of this id, Rejected with the reason when it is rejected again: it then stays in
    the inbox, unless others there, which the reason names, stand for it now.
    """
    stored = _find(database, rejected_id)
    delivery = _as_it_was_published(read_delivery(stored.headers, stored.body))
    message = parse_message(delivery)
    keys = _keys_begin(message)
    before = database.transact(lambda tx: rejections(tx, rejected_id, keys))
    if isinstance(message, TaskMessage):
        # The work belongs to the service, not to the terminal of the person who replays.
        publisher.publish([json.loads(delivery.data)])
    else:
        router.dispatch(message, delivery)
    # A file is rejected for one task and may be taken by another: the handler then stores it again and goes on.
    again = _rejected_again(before, database.transact(lambda tx: rejections(tx, rejected_id, keys)))
    if rejected_id in again:
        raise Rejected(again[rejected_id].reason)
    if keys is not None and stored.message_key.startswith(keys):
        # It stands for one task, and that has taken the file now; others of the file stand for theirs.
        again = {}

    def close(tx: Transaction) -> None:
        mark_replayed(tx, rejected_id)
        details = {"reason": stored.reason} | ({"rejected_again": list(again)} if again else {})
        write_audit(tx, actor, "replay", f"rejected message {rejected_id}", details=details)

    database.transact(close)
    if again:
        raise Rejected("; ".join(f"{one.reason} (now rejected message {other})" for other, one in again.items()))
    return stored


def _keys_begin(message: Message) -> str | None:
    """How the keys begin under which the handler rejects this message for single tasks; None when it does not."""
    if not isinstance(message, FileMessage):
        return None
    return rejected_keys_begin(f"gs://{message.bucket}/{message.name}", message.generation)


def _rejected_again(before: Mapping[int, Rejection], after: Mapping[int, Rejection]) -> dict[int, Rejection]:
    return {
        rejected_id: now
        for rejected_id, now in after.items()
        if rejected_id not in before or now.deliveries > before[rejected_id].deliveries
    }


def _as_it_was_published(delivery: Delivery) -> Delivery:
    # What a dead-letter topic has forwarded would only be kept again.
    dead_letter = read_dead_letter(delivery)
    return delivery if dead_letter is None else dead_letter.original


def _find(database: Database, rejected_id: int) -> RejectedMessage:
    stored = database.transact(lambda tx: find_rejected(tx, rejected_id))
    if stored is None:
        raise Missing(f"there is no rejected message {rejected_id}")
    return stored
