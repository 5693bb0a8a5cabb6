"""Where messages are put so that the service gets them pushed: a topic of the emulator, or loop-back delivery."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

import requests

from run.errors import Unavailable

logger = logging.getLogger(__name__)

#: As the emulator does it: at most 2 pushes in flight for a subscription, and a nacked message comes again after 1 s.
PUSHES_IN_FLIGHT = 2
SECONDS_BETWEEN_PUSHES = 1.0
#: Pub/Sub's longest ack deadline (https://cloud.google.com/pubsub/docs/lease-management).
ACK_DEADLINE_SECONDS = 600
#: A sweep ends after 50 s and what it is then in the middle of; a kick that is lost with its worker comes again soon.
SWEEP_ACK_DEADLINE_SECONDS = 120
#: As many as Pub/Sub allows, before a message is set aside.
DELIVERY_ATTEMPTS = 100
PUBLISH_SECONDS = 5
#: What Pub/Sub takes for an ack (https://cloud.google.com/pubsub/docs/push#receive_push).
ACKS = frozenset({102, 200, 201, 202, 204})


class Topic(Protocol):
    """Something that takes a message and delivers it to the service at least once."""

    def publish(self, data: bytes, attributes: Mapping[str, str]) -> None:
        """Return when the message is accepted; raises Unavailable."""


class EmulatorTopic:
    """A topic of the Pub/Sub emulator at `host` (HOST:PORT), by its REST interface; `path` is projects/P/topics/T."""

    def __init__(self, host: str, path: str) -> None:
        self._url = f"http://{host}/v1/{path}:publish"

    def publish(self, data: bytes, attributes: Mapping[str, str]) -> None:
        message = {"data": base64.b64encode(data).decode(), "attributes": dict(attributes)}
        with requests.Session() as session:
            session.trust_env = False
            try:
                session.post(self._url, json={"messages": [message]}, timeout=PUBLISH_SECONDS).raise_for_status()
            except requests.RequestException as error:
                raise Unavailable(f"the Pub/Sub emulator did not take a message at {self._url}: {error}") from error


class LoopbackTopic:
    """Loop-back delivery: posts every message to the service itself, again and again until it is acked; for `with`.

    What is not acked when the block is left is lost, as it is with the emulator.
    """

    def __init__(self, url: str, subscription: str) -> None:
        self._url = url
        self._subscription = subscription
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(PUSHES_IN_FLIGHT, thread_name_prefix="loopback")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def publish(self, data: bytes, attributes: Mapping[str, str]) -> None:
        if self._closing.is_set():
            raise Unavailable(f"loop-back delivery to {self._url} has ended")
        self._pool.submit(self._deliver, wrapped(data, attributes, self._subscription))

    def _deliver(self, envelope: Mapping[str, Any]) -> None:
        while not self._push(envelope):
            if self._closing.wait(SECONDS_BETWEEN_PUSHES):
                return

    def _push(self, envelope: Mapping[str, Any]) -> bool:
        with requests.Session() as session:
            session.trust_env = False
            try:
                response = session.post(self._url, json=envelope, timeout=ACK_DEADLINE_SECONDS)
            except requests.RequestException as error:
                logger.debug("loop-back delivery to %s failed, it is tried again: %s", self._url, error)
                return False
        return response.status_code in ACKS


def wrapped(data: bytes, attributes: Mapping[str, str], subscription: str) -> dict[str, Any]:
    """Return the body of a push request as Pub/Sub sends it, with both spellings of the id and the time."""
    number = str(time.time_ns())
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message = {
        "data": base64.b64encode(data).decode(),
        "attributes": dict(attributes),
        "messageId": number,
        "message_id": number,
        "publishTime": now,
        "publish_time": now,
    }
    return {"message": message, "subscription": subscription}
