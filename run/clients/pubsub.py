"""Publishing to Google Cloud Pub/Sub."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.api_core.exceptions import GoogleAPIError
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherClient, PubsubMessage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from run.errors import Unavailable
from run.settings import Settings

#: Pub/Sub's own limit. https://cloud.google.com/pubsub/quotas
MOST_MESSAGES_OF_A_REQUEST = 1000
CALL_TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 15.0


class PubSubPublisher:
    """Publishes to the topic of the settings: one request for all messages, without a batching thread.

    The client is made by the first call, because gRPC's channels do not survive a fork.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: PublisherClient | None = None

    def publish(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Return when Pub/Sub has accepted every message; raises Unavailable when it may not have."""
        data = [PubsubMessage(data=json.dumps(message).encode()) for message in messages]
        for start in range(0, len(data), MOST_MESSAGES_OF_A_REQUEST):
            self._publish(data[start : start + MOST_MESSAGES_OF_A_REQUEST])

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._client is not None:
                self._client.transport.close()  # type: ignore[no-untyped-call]
                self._client = None

    def _publish(self, messages: list[PubsubMessage]) -> None:
        topic = self._settings.topic_path
        try:
            self._opened().publish(
                topic=topic, messages=messages, retry=Retry(timeout=RETRY_SECONDS), timeout=CALL_TIMEOUT_SECONDS
            )
        except (GoogleAPIError, GoogleAuthError) as error:
            raise Unavailable(f"publishing to {topic} failed: {error}") from error

    def _opened(self) -> PublisherClient:
        with self._lock:
            if self._client is None:
                self._client = _connect(self._settings.pubsub_emulator_host)
            return self._client


def _connect(emulator_host: str | None) -> PublisherClient:
    if emulator_host is None:
        return PublisherClient()
    return PublisherClient(transport=PublisherGrpcTransport(channel=grpc.insecure_channel(emulator_host)))
