from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from database.errors import DatabaseUnavailable
from run.errors import Rejected, Unauthenticated, Unavailable
from run.pubsub.envelope import LARGEST_BODY, Delivery
from run.pubsub.messages import Message, execute_message, sweep_message
from run.pubsub.push import create_push_blueprint
from run.pubsub.router import Router


@dataclass
class Service:
    """The door with handlers that only write down what they were given, or raise what they are told to."""

    handled: list[tuple[str, Message]] = field(default_factory=list)
    rejected: list[tuple[Delivery, str]] = field(default_factory=list)
    handler_raises: Exception | None = None
    reject_raises: Exception | None = None
    authenticate_raises: Exception | None = None

    def __post_init__(self) -> None:
        app = Flask(__name__)
        words = ("file", "task", "completed", "workflow", "sweep")
        router = Router(*(self._handler(word) for word in words))
        app.register_blueprint(create_push_blueprint(router, self._reject, self._authenticate))
        self.client = app.test_client()

    def post(self, body: object, headers: dict[str, str] | None = None) -> TestResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post("/", data=data, headers=headers)

    def _handler(self, word: str) -> Callable[[Message, Delivery], None]:
        def handle(message: Message, _delivery: Delivery) -> None:
            if self.handler_raises:
                raise self.handler_raises
            self.handled.append((word, message))

        return handle

    def _reject(self, delivery: Delivery, reason: str) -> None:
        if self.reject_raises:
            raise self.reject_raises
        self.rejected.append((delivery, reason))

    def _authenticate(self, _authorization: str | None) -> None:
        if self.authenticate_raises:
            raise self.authenticate_raises


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (execute_message(7, "b"), "task"),
        ({**execute_message(7, "b"), "previous_task_id": 7, "status": "ERROR"}, "completed"),
        ({"trigger_type": "workflow", "workflow": "profit"}, "workflow"),
        (sweep_message(), "sweep"),
        (
            {"message": {"attributes": {"eventType": "E", "bucketId": "b", "objectId": "o", "objectGeneration": "1"}}},
            "file",
        ),
    ],
)
def test_each_message_goes_to_its_handler_and_is_acked(service: Service, body: object, word: str) -> None:
    response = service.post(body)

    assert (response.status_code, response.data) == (204, b"")
    assert [handled[0] for handled in service.handled] == [word]
    assert not service.rejected


@pytest.mark.parametrize("body", [b"", b"\xff", {"message": {"data": "?"}}, {"trigger_type": "tusk"}])
def test_what_can_never_succeed_is_stored_and_acked(service: Service, body: object) -> None:
    assert service.post(body).status_code == 204

    ((delivery, reason),) = service.rejected
    assert reason
    assert delivery.body == (body if isinstance(body, bytes) else json.dumps(body).encode())
    assert not service.handled


def test_what_a_handler_rejects_is_stored_with_its_message(service: Service) -> None:
    service.handler_raises = Rejected("task 7 is in no workflow")
    data = base64.b64encode(json.dumps(sweep_message()).encode()).decode()

    assert service.post({"message": {"data": data, "messageId": "17"}}).status_code == 204
    ((delivery, reason),) = service.rejected
    assert (delivery.message_id, reason) == ("17", "task 7 is in no workflow")


def test_what_a_subscription_has_given_up_is_stored_whoever_it_was_for(service: Service) -> None:
    data = base64.b64encode(json.dumps(sweep_message()).encode()).decode()
    gave_up = {
        "CloudPubSubDeadLetterSourceSubscription": "work-push",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
    }

    assert service.post({"message": {"data": data, "attributes": gave_up}}).status_code == 204
    assert service.post(base64.b64decode(data), gave_up).status_code == 204
    assert [reason for _, reason in service.rejected] == ["subscription work-push gave up after 5 deliveries"] * 2
    assert not service.handled


def test_a_body_that_is_too_large_is_stored_cut_and_acked(service: Service) -> None:
    assert service.post(b"x" * (LARGEST_BODY + 100_000)).status_code == 204

    ((delivery, reason),) = service.rejected
    assert "larger than" in reason
    assert len(delivery.body) < 100_000


def test_a_push_without_a_valid_token_is_refused_and_nothing_is_stored(service: Service) -> None:
    service.authenticate_raises = Unauthenticated("the request has no bearer token")

    for body in (sweep_message(), b"garbage"):
        response = service.post(body)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert not service.handled
    assert not service.rejected


@pytest.mark.parametrize("error", [Unavailable("BigQuery is busy"), DatabaseUnavailable("the database is down")])
def test_what_is_not_available_now_comes_again(service: Service, error: Exception) -> None:
    service.handler_raises = error
    assert service.post(sweep_message()).status_code == 503

    service.handler_raises, service.authenticate_raises = None, error
    assert service.post(sweep_message()).status_code == 503

    service.authenticate_raises, service.reject_raises = None, error
    assert service.post(b"garbage").status_code == 503
    assert not service.rejected


def test_a_rejected_message_that_cannot_be_stored_comes_again(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.reject_raises = OSError("disk full")

    assert service.post(b"garbage").status_code == 503
    assert "disk full" in caplog.text


def test_our_own_mistake_is_logged_with_its_traceback_and_comes_again(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.handler_raises = ZeroDivisionError("oops")

    assert service.post(sweep_message()).status_code == 500
    assert "ZeroDivisionError: oops" in caplog.text
    assert not service.rejected


def test_only_post_is_answered(service: Service) -> None:
    assert service.client.get("/").status_code == 405


def test_every_push_logs_one_line_without_its_body_or_token(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    data = base64.b64encode(json.dumps({**sweep_message(), "note": "s3cret"}).encode()).decode()

    service.post({"message": {"data": data, "messageId": "17"}}, {"Authorization": "Bearer t0ken"})

    (record,) = caplog.records
    fields = record.__dict__
    assert (fields["message_id"], fields["message_kind"], fields["status"]) == ("17", "sweep", 204)
    assert fields["duration_ms"] >= 0
    for secret in ("s3cret", data, "t0ken"):
        assert secret not in repr(fields)


header_texts = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30)
header_names = st.sampled_from(
    [
        "Content-Type",
        "Ce-Type",
        "Ce-Id",
        "Ce-Time",
        "Eventtype",
        "Bucketid",
        "Objectid",
        "Objectgeneration",
        "Eventtime",
        "X-Goog-Pubsub-Message-Id",
        "X-Goog-Pubsub-Publish-Time",
        "Cloudpubsubdeadlettersourcesubscription",
        "Cloudpubsubdeadlettersourcedeliverycount",
        "Traceparent",
        "Authorization",
        "X-Else",
    ]
)
header_values = header_texts | st.sampled_from(
    [
        "application/cloudevents+json",
        "google.cloud.storage.object.v1.finalized",
        "OBJECT_FINALIZE",
        "1",
        "google.cloud.pubsub.topic.v1.messagePublished",
        "application/json",
        "9999-12-31T23:59:59-14:00",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8)
keys = st.sampled_from(
    [
        "message",
        "data",
        "attributes",
        "messageId",
        "publishTime",
        "deliveryAttempt",
        "subscription",
        "data_base64",
        "type",
        "trigger_type",
        "task_id",
        "batch_id",
        "workflow",
        "task_name",
        "status",
        "previous_task_id",
        "params",
        "element",
        "attempt",
        "error",
        "eventType",
        "bucketId",
        "objectId",
        "objectGeneration",
        "bucket",
        "name",
        "size",
    ]
)
words = st.sampled_from(["task", "workflow", "sweep", "SUCCESS", "google.cloud.storage.object.v1.finalized", "7"])
values = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=12,
)
json_bodies = st.dictionaries(keys, values, max_size=6).map(lambda value: json.dumps(value).encode())
wrapped_bodies = st.builds(
    lambda data, rest: json.dumps({"message": {**rest, "data": base64.b64encode(data).decode()}}).encode(),
    json_bodies | st.binary(max_size=20),
    st.dictionaries(keys, values, max_size=2),
)


@given(
    body=st.binary(max_size=50) | json_bodies | wrapped_bodies,
    headers=st.dictionaries(header_names, header_values, max_size=4),
)
def test_whatever_is_posted_is_either_handled_or_stored_as_rejected(body: bytes, headers: dict[str, str]) -> None:
    service = Service()

    assert service.post(body, headers).status_code == 204
    assert len(service.handled) + len(service.rejected) == 1
    for delivery, reason in service.rejected:
        stored = [reason, delivery.key, *delivery.headers.values(), *delivery.attributes.values()]
        assert all("\0" not in text and text.encode() for text in stored if text)
