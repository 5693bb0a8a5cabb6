"""Messages that a subscription has given up and Pub/Sub has forwarded to its dead-letter topic.

https://cloud.google.com/pubsub/docs/dead-letter-topics
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from run.pubsub.envelope import DEAD_LETTER_ATTRIBUTES, Delivery, read_time

_SUBSCRIPTION, _PROJECT, _COUNT, _PUBLISH_TIME = DEAD_LETTER_ATTRIBUTES
#: Pub/Sub's own limit for the name of a subscription.
_LONGEST_NAME = 255


@dataclass(frozen=True)
class DeadLetter:
    """What a forwarded message says: the message as it was published, and who has given it up after how many tries."""

    original: Delivery
    reason: str
    #: The same for every copy of one message: Pub/Sub may forward it more than once, each copy with an id of its own.
    key: str


def read_dead_letter(delivery: Delivery) -> DeadLetter | None:
    """What this delivery says about a message that was given up; None when it is an ordinary delivery."""
    subscription = delivery.attributes.get(_SUBSCRIPTION)
    if subscription is None:
        return None
    project = delivery.attributes.get(_PROJECT)
    published = delivery.attributes.get(_PUBLISH_TIME)
    own = {name: text for name, text in delivery.attributes.items() if name not in DEAD_LETTER_ATTRIBUTES}
    original = replace(
        delivery,
        subscription=f"projects/{project}/subscriptions/{subscription}" if project else subscription,
        attributes=own,
        publish_time=read_time(published or "") or delivery.publish_time,
        delivery_attempt=None,
    )
    identity = json.dumps([project, subscription, published, sorted(own.items())]).encode()
    digest = hashlib.sha256(identity + b"\n" + delivery.data).hexdigest()
    return DeadLetter(original, _reason(subscription, delivery.attributes.get(_COUNT, "")), f"dead-letter:{digest}")


def _reason(subscription: str, count: str) -> str:
    tries = f" after {int(count)} deliveries" if count.isdecimal() and len(count) <= len("100") else ""
    return f"subscription {subscription[:_LONGEST_NAME]} gave up{tries}"
