"""What Pub/Sub or Eventarc posts, brought to one shape: a Delivery.

Known are the wrapped envelope (https://cloud.google.com/pubsub/docs/push), unwrapped payloads
(https://cloud.google.com/pubsub/docs/payload-unwrapping) and CloudEvents, binary and structured
(https://docs.cloud.google.com/eventarc/docs/cloudevents).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from run.errors import Rejected
from run.pubsub.json_text import is_storable, read_json

#: Pub/Sub's largest message (10 MB) is 13.4 MB as base64 in an envelope; nothing that we want is larger.
LARGEST_BODY = 20_000_000
#: What is kept of a body that is larger.
KEPT_OF_A_LARGER_BODY = 64_000
#: Google's ids have about 20 characters; what is longer is no id that an index should hold.
LONGEST_MESSAGE_ID = 200

Source = Literal["wrapped", "unwrapped", "cloudevent", "unreadable"]

#: Google's own attributes of a storage notification, which lose their case as HTTP headers.
#: https://docs.cloud.google.com/storage/docs/pubsub-notifications
_STORAGE_ATTRIBUTES = (
    "notificationConfig",
    "eventType",
    "payloadFormat",
    "bucketId",
    "objectId",
    "objectGeneration",
    "eventTime",
    "overwroteGeneration",
    "overwrittenByGeneration",
)
#: What Pub/Sub adds to a message that a subscription has given up: the subscription's name, its project, how often it
#: has tried, and when the message was published. https://cloud.google.com/pubsub/docs/dead-letter-topics
DEAD_LETTER_ATTRIBUTES = (
    "CloudPubSubDeadLetterSourceSubscription",
    "CloudPubSubDeadLetterSourceSubscriptionProject",
    "CloudPubSubDeadLetterSourceDeliveryCount",
    "CloudPubSubDeadLetterSourceTopicPublishTime",
)
_KNOWN_ATTRIBUTES = (*_STORAGE_ATTRIBUTES, *DEAD_LETTER_ATTRIBUTES)
_RELEVANT_HEADERS = {"content-type", *(name.lower() for name in _KNOWN_ATTRIBUTES)}
_STORAGE_EVENTS = {
    "google.cloud.storage.object.v1.finalized": "OBJECT_FINALIZE",
    "google.cloud.storage.object.v1.deleted": "OBJECT_DELETE",
    "google.cloud.storage.object.v1.archived": "OBJECT_ARCHIVE",
    "google.cloud.storage.object.v1.metadataUpdated": "OBJECT_METADATA_UPDATE",
}
_PUBSUB_EVENT = "google.cloud.pubsub.topic.v1.messagePublished"


@dataclass(frozen=True)
class Delivery:
    """One message as it was delivered to us; every text in it can be stored.

    `body` is the request's body as it came, cut when it was too large; `headers` are those of the request that
    `read_delivery` looks at, so that both together can be read again. A delivery that could not be read has only these
    and, if its headers told, its ids.
    """

    message_id: str | None
    subscription: str | None
    attributes: Mapping[str, str]
    data: bytes
    publish_time: datetime | None
    delivery_attempt: int | None
    source: Source
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The same for every delivery of one message, by whatever subscription; else a digest of the body.

        The time of publication stands beside the id because an emulator counts its ids anew with every start.
        """
        if self.message_id and len(self.message_id) <= LONGEST_MESSAGE_ID:
            published = self.publish_time.isoformat() if self.publish_time else "-"
            return f"message:{self.message_id}@{published}"
        return f"sha256:{hashlib.sha256(self.body).hexdigest()}"


def read_delivery(headers: Mapping[str, str], body: bytes) -> Delivery:
    """Return what was delivered; raises Rejected when the request is none of the known shapes.

    Names of headers are compared without case.
    """
    if len(body) > LARGEST_BODY:
        raise Rejected(f"the body is larger than {LARGEST_BODY} bytes")
    relevant = _relevant(headers)
    return replace(_read(relevant, body), headers=relevant)


def unreadable(headers: Mapping[str, str], body: bytes) -> Delivery:
    """Return what can be kept of a request that `read_delivery` rejects."""
    relevant = {name: value for name, value in _lowered(headers).items() if _is_relevant(name) and is_storable(value)}
    return Delivery(
        message_id=relevant.get("x-goog-pubsub-message-id") or relevant.get("ce-id"),
        subscription=relevant.get("x-goog-pubsub-subscription-name"),
        attributes={},
        data=b"",
        publish_time=None,
        delivery_attempt=None,
        source="unreadable",
        body=body if len(body) <= LARGEST_BODY else body[:KEPT_OF_A_LARGER_BODY],
        headers=relevant,
    )


def read_time(text: str) -> datetime | None:
    """Return an RFC 3339 time in UTC, None when it is not one; what has no zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _relevant(headers: Mapping[str, str]) -> dict[str, str]:
    relevant = {name: value for name, value in _lowered(headers).items() if _is_relevant(name)}
    for name, value in relevant.items():
        if not is_storable(value):
            raise Rejected(f"the header {name} has a NUL character or half of a surrogate pair")
    return relevant


def _is_relevant(name: str) -> bool:
    # Any other header may be the platform's, or a secret: it is neither an attribute nor kept.
    return name.startswith(("ce-", "x-goog-pubsub-")) or name in _RELEVANT_HEADERS


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): _as_utf8(value) for name, value in headers.items()}


def _as_utf8(value: str) -> str:
    # WSGI hands headers over as Latin-1; a sender who writes more than ASCII means UTF-8.
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _read(headers: Mapping[str, str], body: bytes) -> Delivery:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/cloudevents-batch+json":
        raise Rejected("a batch of CloudEvents; send them one by one")
    if media_type == "application/cloudevents+json":
        return _structured(body)
    if "ce-type" in headers:
        return _cloud_event(_event_context(headers), body, body)
    envelope = _envelope(body)
    return _unwrapped(headers, body) if envelope is None else _wrapped(envelope, "wrapped", body)


def _envelope(body: bytes) -> dict[str, Any] | None:
    try:
        value = read_json(body, "the body")
    except Rejected:
        return None  # An unwrapped payload may be anything; who parses it as a message says what is wrong.
    is_wrapped = isinstance(value, dict) and "message" in value and "trigger_type" not in value
    return value if is_wrapped else None


def _wrapped(envelope: Mapping[str, Any], source: Source, body: bytes) -> Delivery:
    message = envelope.get("message")
    if not isinstance(message, dict):
        raise Rejected("the envelope's message must be an object")
    return Delivery(
        message_id=_text(message, "messageId", "message_id"),
        subscription=_text(envelope, "subscription"),
        attributes=_attributes(message.get("attributes")),
        data=_decoded(message.get("data"), "the message's data"),
        publish_time=read_time(_text(message, "publishTime", "publish_time") or ""),
        delivery_attempt=_delivery_attempt(envelope),
        source=source,
        body=body,
    )


def _unwrapped(headers: Mapping[str, str], body: bytes) -> Delivery:
    named = {name: headers.get(name.lower()) for name in _KNOWN_ATTRIBUTES}
    return Delivery(
        message_id=headers.get("x-goog-pubsub-message-id"),
        subscription=headers.get("x-goog-pubsub-subscription-name"),
        attributes={name: value for name, value in named.items() if value is not None},
        data=body,
        publish_time=read_time(headers.get("x-goog-pubsub-publish-time", "")),
        delivery_attempt=None,
        source="unwrapped",
        body=body,
    )


def _structured(body: bytes) -> Delivery:
    event = read_json(body, "the CloudEvent")
    if not isinstance(event, dict):
        raise Rejected("the CloudEvent must be an object")
    if "data_base64" in event:
        data = _decoded(event["data_base64"], "the CloudEvent's data_base64")
    else:
        data = json.dumps(event.get("data")).encode()
    context = {name: value for name in ("id", "type", "time") if (value := _text(event, name)) is not None}
    return _cloud_event(context, data, body)


def _event_context(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[f"ce-{name}"] for name in ("id", "type", "time") if f"ce-{name}" in headers}


def _cloud_event(context: Mapping[str, str], data: bytes, body: bytes) -> Delivery:
    event_type = context.get("type", "")
    known = [_PUBSUB_EVENT, *_STORAGE_EVENTS]
    if event_type not in known:
        raise Rejected(f"the CloudEvent's type is {quoted(event_type)}; known are {', '.join(known)}")
    value = read_json(data, "the CloudEvent's data")
    if not isinstance(value, dict):
        raise Rejected("the CloudEvent's data must be an object")
    if event_type == _PUBSUB_EVENT:
        return _wrapped(value, "cloudevent", body)
    return Delivery(
        message_id=context.get("id"),
        subscription=None,
        attributes=_storage_attributes(_STORAGE_EVENTS[event_type], context, value),
        data=data,
        publish_time=read_time(context.get("time", "")),
        delivery_attempt=None,
        source="cloudevent",
        body=body,
    )


def _storage_attributes(event_type: str, context: Mapping[str, str], resource: Mapping[str, Any]) -> dict[str, str]:
    named = {
        "eventType": event_type,
        "payloadFormat": "JSON_API_V1",
        "bucketId": _text(resource, "bucket"),
        "objectId": _text(resource, "name"),
        "objectGeneration": _text(resource, "generation"),
        "eventTime": context.get("time"),
    }
    return {name: value for name, value in named.items() if value is not None}


def _attributes(value: Any) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise Rejected("the message's attributes must be an object of texts")
    return value


def _decoded(value: Any, what: str) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise Rejected(f"{what} must be a text in base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Rejected(f"{what} is not base64") from None


def _text(mapping: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = mapping.get(name)
        if isinstance(value, str):
            return value
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise Rejected(f"{name} must be a text")
        if value is not None:
            return str(value)
    return None


def _delivery_attempt(envelope: Mapping[str, Any]) -> int | None:
    value = envelope.get("deliveryAttempt")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise Rejected("deliveryAttempt must be an integer")
    return value


def quoted(value: object, longest: int = 60) -> str:
    """Return a value as it may stand in a reason: printable ASCII, cut."""
    text = ascii(value)
    return text if len(text) <= longest else f"{text[:longest]}..."
