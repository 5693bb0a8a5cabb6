from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from run.errors import Rejected
from run.pubsub.envelope import KEPT_OF_A_LARGER_BODY, LARGEST_BODY, read_delivery, unreadable
from run.pubsub.messages import FileMessage, SweepMessage, parse_message

SWEEP = {"trigger_type": "sweep"}
FINALIZED = "google.cloud.storage.object.v1.finalized"
PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
RESOURCE = {"bucket": "landing", "name": "sales/März.csv", "generation": "1710000000000001", "size": "12"}
FILE = FileMessage("OBJECT_FINALIZE", "landing", "sales/März.csv", 1710000000000001, 12, {}, None)


def wrapped(data: object = SWEEP, **message: object) -> dict[str, Any]:
    encoded = base64.b64encode(json.dumps(data).encode()).decode()
    return {"message": {"data": encoded, **message}, "subscription": "projects/p/subscriptions/s"}


def to_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("names", [("messageId", "publishTime"), ("message_id", "publish_time")])
def test_a_wrapped_message_is_read_with_both_spellings(names: tuple[str, str]) -> None:
    message = {names[0]: "17", names[1]: "2026-01-02T03:04:05.678Z", "attributes": {"k": "v"}}
    body = to_bytes({**wrapped(**message), "deliveryAttempt": 3})

    delivery = read_delivery({}, body)

    assert (delivery.message_id, delivery.subscription) == ("17", "projects/p/subscriptions/s")
    assert delivery.publish_time == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert (delivery.attributes, delivery.delivery_attempt, delivery.source) == ({"k": "v"}, 3, "wrapped")
    assert json.loads(delivery.data) == SWEEP
    assert delivery.body == body


@pytest.mark.parametrize(
    "message", [{}, {"data": ""}, {"data": None, "attributes": None}, {"data": "", "attributes": {}}]
)
def test_data_and_attributes_may_be_missing_or_empty(message: dict[str, object]) -> None:
    delivery = read_delivery({}, to_bytes({"message": message}))

    assert (delivery.data, delivery.attributes, delivery.message_id) == (b"", {}, None)


def test_an_unwrapped_payload_is_the_message_itself() -> None:
    delivery = read_delivery({"Content-Type": "application/x-www-form-urlencoded"}, to_bytes(SWEEP))

    assert (delivery.source, delivery.message_id) == ("unwrapped", None)
    assert parse_message(delivery) == SweepMessage()


def test_an_unwrapped_payload_has_its_metadata_in_headers() -> None:
    headers = {
        "X-Goog-Pubsub-Message-Id": "17",
        "X-Goog-Pubsub-Subscription-Name": "projects/p/subscriptions/s",
        "X-Goog-Pubsub-Publish-Time": "2026-01-02T03:04:05Z",
    }

    delivery = read_delivery(headers, to_bytes(SWEEP))

    assert (delivery.message_id, delivery.subscription) == ("17", "projects/p/subscriptions/s")
    assert delivery.publish_time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("body", [b"", to_bytes(RESOURCE)])
def test_an_unwrapped_storage_notification_gets_its_attributes_case_back(body: bytes) -> None:
    headers = {
        "Eventtype": "OBJECT_FINALIZE",
        "Bucketid": "landing",
        "Objectid": "sales/März.csv".encode().decode("latin-1"),
        "Objectgeneration": "1710000000000001",
    }

    message = parse_message(read_delivery(headers, body))

    assert isinstance(message, FileMessage)
    assert (message.bucket, message.name, message.generation) == (FILE.bucket, FILE.name, FILE.generation)
    assert message.size == (12 if body else None)


def test_no_secret_header_is_kept() -> None:
    headers = {"Authorization": "Bearer s3cret", "Cookie": "s3cret", "Content-Type": "application/json"}

    for delivery in (read_delivery(headers, to_bytes(SWEEP)), unreadable(headers, b"?")):
        assert "s3cret" not in repr(delivery)
        assert delivery.headers == {"content-type": "application/json"}


def test_a_delivery_can_be_read_again_from_what_it_keeps() -> None:
    headers = {"ce-type": FINALIZED, "ce-id": "17", "Content-Type": "application/json"}
    delivery = read_delivery(headers, to_bytes(RESOURCE))

    assert read_delivery(delivery.headers, delivery.body) == delivery


def test_a_binary_storage_event_is_a_file_message() -> None:
    delivery = read_delivery({"Ce-Type": FINALIZED, "Ce-Id": "17", "Ce-Source": "//storage"}, to_bytes(RESOURCE))

    assert (delivery.message_id, delivery.source) == ("17", "cloudevent")
    assert parse_message(delivery) == FILE


@pytest.mark.parametrize(
    "content", [{"data": RESOURCE}, {"data_base64": base64.b64encode(to_bytes(RESOURCE)).decode()}]
)
def test_a_structured_storage_event_is_a_file_message(content: dict[str, object]) -> None:
    event = {"specversion": "1.0", "id": "17", "type": FINALIZED, "time": "2026-01-02T03:04:05Z", **content}

    message = parse_message(
        read_delivery({"Content-Type": "application/cloudevents+json; charset=utf-8"}, to_bytes(event))
    )

    assert isinstance(message, FileMessage)
    assert (message.name, message.generation) == (FILE.name, FILE.generation)
    assert message.event_time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("structured", [False, True])
def test_a_pubsub_event_is_its_inner_message(structured: bool) -> None:
    inner = wrapped(messageId="17")
    event = {"type": PUBLISHED, "id": "other", "data": inner}

    if structured:
        delivery = read_delivery({"content-type": "application/cloudevents+json"}, to_bytes(event))
    else:
        delivery = read_delivery({"ce-type": PUBLISHED, "ce-id": "other"}, to_bytes(inner))

    assert (delivery.message_id, delivery.source) == ("17", "cloudevent")
    assert parse_message(delivery) == SweepMessage()


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({}, to_bytes({"message": "text"}), "message must be an object"),
        ({}, to_bytes({"message": {"data": "%%%"}}), "is not base64"),
        ({}, to_bytes({"message": {"data": "YQ"}}), "is not base64"),
        ({}, to_bytes({"message": {"data": "März"}}), "is not base64"),
        ({}, to_bytes({"message": {"data": 7}}), "must be a text in base64"),
        ({}, to_bytes({"message": {"attributes": ["a"]}}), "attributes must be an object of texts"),
        ({}, to_bytes({"message": {"attributes": {"a": 1}}}), "attributes must be an object of texts"),
        ({}, to_bytes({"message": {"messageId": []}}), "messageId must be a text"),
        ({}, to_bytes({"message": {}, "deliveryAttempt": "x"}), "deliveryAttempt must be an integer"),
        ({"ce-type": "custom.type"}, b"{}", "type is 'custom.type'; known are"),
        ({"ce-type": FINALIZED}, b"[]", "data must be an object"),
        ({"ce-type": FINALIZED}, b"{", "is not JSON"),
        ({"content-type": "application/cloudevents+json"}, b"7", "must be an object"),
        ({"content-type": "application/cloudevents+json"}, b"{}", "known are"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]", "one by one"),
        ({"objectid": "a\0b"}, b"", "header objectid"),
        ({}, b" " * (LARGEST_BODY + 1), "larger than"),
    ],
)
def test_what_is_no_envelope_is_rejected_with_its_reason(headers: dict[str, str], body: bytes, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        read_delivery(headers, body)


def test_of_a_body_that_is_too_large_only_the_beginning_is_kept() -> None:
    assert len(unreadable({}, b"x" * (LARGEST_BODY + 1)).body) == KEPT_OF_A_LARGER_BODY
    assert len(unreadable({}, b"x" * LARGEST_BODY).body) == LARGEST_BODY


def test_an_unreadable_request_keeps_its_id() -> None:
    delivery = unreadable({"X-Goog-Pubsub-Message-Id": "17", "Objectid": "a\0b"}, b"?")

    assert (delivery.message_id, delivery.source, delivery.body) == ("17", "unreadable", b"?")
    assert "objectid" not in delivery.headers


def test_a_delivery_has_the_same_key_every_time_it_comes() -> None:
    first, again = (read_delivery({}, to_bytes({**wrapped(messageId="17"), "deliveryAttempt": n})) for n in (1, 2))
    other = read_delivery({}, to_bytes(wrapped(messageId="18")))

    assert first.key == again.key != other.key
    assert unreadable({}, b"a").key == unreadable({}, b"a").key != unreadable({}, b"b").key


def test_a_message_id_that_no_index_could_hold_is_known_by_its_body() -> None:
    headers = {"x-goog-pubsub-message-id": "9" * 6000}
    assert len(read_delivery(headers, b"{}").key) < 100
    assert read_delivery(headers, b"{}").key == read_delivery(headers, b"{}").key
