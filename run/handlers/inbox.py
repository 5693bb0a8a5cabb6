"""What can never succeed is kept whole, with its reason, for a person to read and to replay."""

from __future__ import annotations

from database.rejected import store_rejected
from database.sessions import Transaction
from run.pubsub.dead_letters import read_dead_letter
from run.pubsub.envelope import Delivery


def keep(tx: Transaction, delivery: Delivery, reason: str, key: str | None = None) -> None:
    """Store a delivery as rejected; the same `key` (or the same message again) is the same row of the inbox."""
    dead_letter = read_dead_letter(delivery)
    own_key = delivery.key if dead_letter is None else dead_letter.key
    store_rejected(tx, key or own_key, reason, delivery.headers, delivery.body)
