from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from run.pubsub.dead_letters import DeadLetter, read_dead_letter
from run.pubsub.envelope import read_delivery
from run.pubsub.messages import FileMessage, parse_message

NOTIFICATION = {"eventType": "OBJECT_FINALIZE", "bucketId": "landing", "objectId": "a.csv", "objectGeneration": "7"}
GAVE_UP = {
    "CloudPubSubDeadLetterSourceSubscription": "work-push",
    "CloudPubSubDeadLetterSourceSubscriptionProject": "my-project",
    "CloudPubSubDeadLetterSourceDeliveryCount": "100",
    "CloudPubSubDeadLetterSourceTopicPublishTime": "2026-03-01T23:59:59.5Z",
}


def forwarded(message_id: str = "1", data: bytes = b"{}", **changed: str | None) -> DeadLetter | None:
    attributes = {name: text for name, text in {**NOTIFICATION, **GAVE_UP, **changed}.items() if text is not None}
    message: dict[str, Any] = {"data": base64.b64encode(data).decode(), "attributes": attributes}
    message |= {"messageId": message_id, "publishTime": "2026-03-02T12:00:00Z"}
    envelope = {"message": message, "subscription": "projects/my-project/subscriptions/dead-push"}
    return read_dead_letter(read_delivery({}, json.dumps(envelope).encode()))


def test_an_ordinary_message_is_no_dead_letter() -> None:
    assert forwarded(CloudPubSubDeadLetterSourceSubscription=None) is None


def test_a_dead_letter_says_who_gave_it_up_and_is_read_as_it_was_published() -> None:
    dead = forwarded()
    assert dead is not None
    assert dead.reason == "subscription work-push gave up after 100 deliveries"
    assert dead.original.attributes == NOTIFICATION
    assert dead.original.subscription == "projects/my-project/subscriptions/work-push"
    assert str(dead.original.publish_time) == "2026-03-01 23:59:59.500000+00:00"
    message = parse_message(dead.original)
    assert isinstance(message, FileMessage)
    assert message.name == "a.csv"


@pytest.mark.parametrize("count", [None, "many", "-1", "9" * 5000])
def test_a_count_that_is_none_is_left_out(count: str | None) -> None:
    dead = forwarded(CloudPubSubDeadLetterSourceDeliveryCount=count)
    assert dead is not None
    assert dead.reason == "subscription work-push gave up"


def test_every_copy_of_one_message_has_the_same_key_and_every_other_message_another() -> None:
    one = forwarded()
    assert one is not None
    copy = forwarded("2", CloudPubSubDeadLetterSourceDeliveryCount="101")
    assert copy is not None
    assert copy.key == one.key
    others = [
        forwarded(data=b"{ }"),
        forwarded(objectId="b.csv"),
        forwarded(CloudPubSubDeadLetterSourceTopicPublishTime="2026-03-01T23:59:59.6Z"),
        forwarded(CloudPubSubDeadLetterSourceSubscription="other-push"),
    ]
    keys = [other.key for other in others if other is not None]
    assert len({one.key, *keys}) == 5


def test_a_dead_letter_without_its_wrapper_says_the_same() -> None:
    headers = {"content-type": "application/json", **{name.title(): text for name, text in GAVE_UP.items()}}
    unwrapped = read_dead_letter(read_delivery(headers, b'{"trigger_type": "sweep"}'))
    assert unwrapped is not None
    assert unwrapped.reason == "subscription work-push gave up after 100 deliveries"
    assert unwrapped.original.data == b'{"trigger_type": "sweep"}'
