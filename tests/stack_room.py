"""The whole local stack for tests: files land in it, commands are given to it, and its messages are listened to."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from sqlalchemy import text

from database.migrating import migrate
from database.sessions import Database
from run.local.stack import DeliveryChoice, LocalStack
from run.local.topics import DELIVERY_ATTEMPTS
from tests.local_parts import eventually

ROOT = Path(__file__).parents[1]


@dataclass
class StackRoom:
    """A running stack with its service, and what a test does with them."""

    stack: LocalStack
    database: Database

    def command(self, *words: str | Path, status: int = 0) -> str:
        """Give a command to `python -m run`, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "run", *map(str, words)],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, **self.stack.environment},
            timeout=60,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def land(self, name: str, content: bytes, bucket: str = "landing") -> None:
        """Put a file into a bucket, as whoever sends us files does."""
        address = f"{self.stack.storage.url}/upload/storage/v1/b/{bucket}/o"
        answer = requests.post(address, params={"uploadType": "media", "name": name}, data=content, timeout=10)
        answer.raise_for_status()

    def objects(self, bucket: str) -> list[str]:
        """The names of the objects in a bucket."""
        answer = requests.get(f"{self.stack.storage.url}/storage/v1/b/{bucket}/o", timeout=10)
        return sorted(item["name"] for item in answer.json().get("items", []))

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Rows of the service's database."""
        return self.database.transact(lambda tx: [tuple(row) for row in tx.execute(text(statement), values)])

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of BigQuery."""
        return [tuple(row.values()) for row in self._bigquery.query(sql, timeout=10).result(timeout=30)]

    def create_dataset(self, name: str) -> None:
        """Create a dataset, as whoever owns the BigQuery project does."""
        self._bigquery.create_dataset(name, timeout=10)

    @cached_property
    def _bigquery(self) -> bigquery.Client:
        return bigquery.Client(
            project="local",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options=ClientOptions(api_endpoint=self.stack.bigquery.url),
        )

    def wait_for_batch(self, workflow: str, batch_id: str, *, seconds: float = 60) -> None:
        """Wait until a batch has ended in SUCCESS; fail at once, with the errors of its tasks, when it has not."""
        statement = (
            "SELECT b.status FROM task_batch b JOIN workflow USING (workflow_id) WHERE name = :w AND batch_id = :b"
        )

        def ended() -> bool:
            return self.rows(statement, w=workflow, b=batch_id) not in ([], [("PROCESSING",)])

        eventually(ended, f"the end of batch {batch_id} of {workflow}", seconds=seconds)
        errors = self.rows("SELECT error FROM task_log WHERE batch_id = :b AND error IS NOT NULL", b=batch_id)
        assert self.rows(statement, w=workflow, b=batch_id) == [("SUCCESS",)], errors


@contextmanager
def running_stack(
    delivery: DeliveryChoice,
    *,
    sweep_seconds: float = 1,
    delivery_attempts: int = DELIVERY_ATTEMPTS,
    environment: Mapping[str, str] | None = None,
) -> Iterator[StackRoom]:
    """A fresh stack, migrated, with its service ready, which is told `environment` too."""
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        LocalStack(
            Path(folder),
            delivery=delivery,
            sweep_seconds=sweep_seconds,
            delivery_attempts=delivery_attempts,
            say=lambda _line: None,
        ) as stack,
    ):
        stack.environment.update(environment or {})
        migrate(stack.environment["DATABASE_URL"])
        stack.start_service()
        database = Database(stack.environment["DATABASE_URL"])
        yield StackRoom(stack, database)
        database.close()


class Listener:
    """A subscription of its own to a topic of the emulator, which hears every message that is published to it."""

    def __init__(self, emulator_host: str, topic: str = "cloud-accelerator") -> None:
        self._subscription = f"http://{emulator_host}/v1/projects/local/subscriptions/listener-{topic}"
        requests.put(
            self._subscription, json={"topic": f"projects/local/topics/{topic}"}, timeout=10
        ).raise_for_status()
        self._heard: dict[str, tuple[str, dict[str, Any]]] = {}

    def heard(self) -> list[dict[str, Any]]:
        """All messages so far, in the order of their publication: our own as their data, Google's as attributes."""
        request = {"maxMessages": 1000, "returnImmediately": True}
        answer = requests.post(f"{self._subscription}:pull", json=request, timeout=10)
        for received in answer.json().get("receivedMessages", []):
            message = received["message"]
            content = message.get("attributes") or json.loads(base64.b64decode(message["data"]))
            self._heard[message["messageId"]] = (message["publishTime"], content)
        return [content for _, content in sorted(self._heard.values(), key=lambda heard: heard[0])]
