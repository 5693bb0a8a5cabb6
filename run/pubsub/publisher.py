"""Who carries our own messages: what the engine asks of them, and delivery to ourselves without Pub/Sub."""

from __future__ import annotations

import base64
import heapq
import json
import logging
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Protocol

from run.errors import Unavailable
from run.pubsub.loopback_connection import DELIVERY_TIMEOUT_SECONDS, LoopbackConnection

logger = logging.getLogger(__name__)

#: Seconds before each further try of a delivery that was not accepted.
RETRY_DELAYS = (0.1, 0.5, 2.0)
CLOSE_TIMEOUT_SECONDS = 5.0


class Publisher(Protocol):
    """Carries our own messages to `POST /`."""

    def publish(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Return when every message is accepted; raises Unavailable when one may not be.

        Accepted is not delivered: the sweep publishes again what never starts.
        """

    def close(self) -> None:
        """Wait a little for what is under way, then stop."""


@dataclass(order=True)
class _Parcel:
    due: float
    number: int
    body: bytes = field(compare=False)
    tries: int = field(default=0, compare=False)


class LoopbackPublisher:
    """Delivers each message to our own service as Pub/Sub would push it, over HTTP, from background threads.

    For machines without Pub/Sub: nothing is kept, so what is refused again and again, or under way when the process
    dies, is lost until the sweep publishes it again. `most_at_once` bounds the deliveries under way.
    """

    def __init__(
        self,
        url: str,
        most_at_once: int = 16,
        retry_delays: Sequence[float] = RETRY_DELAYS,
        timeout: int = DELIVERY_TIMEOUT_SECONDS,
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._most_at_once = most_at_once
        self._retry_delays = tuple(retry_delays)
        self._changed = threading.Condition()
        self._waiting: list[_Parcel] = []
        self._numbered = 0
        self._threads = 0
        self._idle = 0
        self._closed = False

    def publish(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Hand the messages to the background threads; raises Unavailable after `close`."""
        bodies = [_envelope(message) for message in messages]
        with self._changed:
            if self._closed:
                raise Unavailable("the loop-back publisher is closed")
            for body in bodies:
                self._numbered += 1
                heapq.heappush(self._waiting, _Parcel(monotonic(), self._numbered, body))
            self._start_threads()
            self._changed.notify(len(bodies))

    def close(self, timeout: float = CLOSE_TIMEOUT_SECONDS) -> None:
        """Wait at most `timeout` seconds for the deliveries under way, then stop the threads."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._waiting and self._idle == self._threads, timeout)
            if self._waiting:
                logger.warning("%d loop-back deliveries given up at the end", len(self._waiting))
            self._waiting.clear()
            self._changed.notify_all()

    def _start_threads(self) -> None:
        # Not before the first message: threads do not survive gunicorn's fork.
        for _ in range(min(len(self._waiting) - self._idle, self._most_at_once - self._threads)):
            self._threads += 1
            threading.Thread(target=self._work, name="loopback", daemon=True).start()

    def _work(self) -> None:
        connection = LoopbackConnection(self._url, self._timeout)
        while (parcel := self._next()) is not None:
            problem = connection.post(parcel.body)
            if problem is not None:
                self._put_off(parcel, problem)
        connection.close()

    def _next(self) -> _Parcel | None:
        with self._changed:
            self._idle += 1
            parcel = self._wait_for_due()
            self._idle -= 1
            self._threads -= parcel is None
            return parcel

    def _wait_for_due(self) -> _Parcel | None:
        while True:
            wait = self._waiting[0].due - monotonic() if self._waiting else None
            if wait is not None and wait <= 0:
                return heapq.heappop(self._waiting)
            if self._closed and not self._waiting:
                self._changed.notify_all()
                return None
            self._changed.wait(wait)

    def _put_off(self, parcel: _Parcel, problem: str) -> None:
        if parcel.tries >= len(self._retry_delays):
            logger.warning("Loop-back delivery given up after %d tries: %s", parcel.tries + 1, problem)
            return
        due = monotonic() + self._retry_delays[parcel.tries]
        with self._changed:
            heapq.heappush(self._waiting, _Parcel(due, parcel.number, parcel.body, parcel.tries + 1))
            self._changed.notify()


def _envelope(message: Mapping[str, Any]) -> bytes:
    data = base64.b64encode(json.dumps(message).encode()).decode()
    published = datetime.now(UTC).isoformat()
    inner = {"data": data, "attributes": {}, "messageId": uuid.uuid4().hex, "publishTime": published}
    return json.dumps({"message": inner, "subscription": "loopback"}).encode()
