"""What can never succeed is kept whole, with its reason, for a person to read and to replay."""

from __future__ import annotations

import hashlib

from database.rejected import store_rejected
from database.sessions import Transaction
from run.pubsub.envelope import Delivery


def keep(tx: Transaction, delivery: Delivery, reason: str, key: str | None = None) -> None:
    """Store a delivery as rejected; the same `key` (or the same message again) is the same row of the inbox."""
    store_rejected(tx, key or message_key(delivery), reason, delivery.headers, delivery.body)


def message_key(delivery: Delivery) -> str:
    """What makes two deliveries the same message: Pub/Sub's id, or the bytes where there is none."""
    if delivery.message_id is not None:
        return f"message {delivery.message_id}"
    return f"sha256 {hashlib.sha256(delivery.body).hexdigest()}"
