"""The whole service behind its door, in this process: what it publishes is heard here, and delivered by the test."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self

from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy import text

from database.sessions import Database
from run.cli import main
from tests.integration.kinds.bigquery_wire import BigQueryWire
from tests.local_parts import eventually


class Topic:
    """Accepts the service's own messages as Pub/Sub would, and delivers none of them by itself; for `with`."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        topic = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                topic.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(204)
                self.end_headers()

            def do_GET(self) -> None:
                """To Cloud Storage's clients this is a server without any objects."""
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                """Tests want no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, number: int) -> list[bytes]:
        """The bodies so far, once there are so many."""
        eventually(lambda: len(self.bodies) >= number, f"message {number}")
        return list(self.bodies)


class SlowWarehouse(BigQueryWire):
    """BigQuery, whose accepted jobs stay RUNNING until the test lets them end."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = threading.Event()
        self.may_end.set()

    def job(self, job_id: str) -> dict[str, Any]:
        job = super().job(job_id)
        return job if self.may_end.is_set() else {**job, "status": {"state": "RUNNING"}}


@dataclass
class ServiceRoom:
    """A running service, and what a test does with it."""

    client: FlaskClient
    environment: dict[str, str]
    database: Database
    topic: Topic
    warehouse: SlowWarehouse
    log: io.StringIO
    _delivered: int = 0
    _ids: Callable[[], int] = field(default_factory=lambda: count(1).__next__)

    def apply(self, path: str) -> None:
        """Apply a workflow file, as a person does."""
        self.command("workflow", "apply", path)

    def command(self, *words: str) -> str:
        """Give a command to `python -m run`, and return what it printed."""
        done = CliRunner().invoke(main, words, env=self.environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    def push(
        self, message: Mapping[str, Any], attributes: Mapping[str, str] | None = None, message_id: str | None = None
    ) -> int:
        """Push a message in Pub/Sub's envelope; the status of the answer."""
        inner = {
            "data": base64.b64encode(json.dumps(message).encode()).decode(),
            "attributes": dict(attributes or {}),
            "messageId": message_id or f"test-{self._ids()}",
        }
        return self.push_body(json.dumps({"message": inner, "subscription": "projects/local/subscriptions/s"}).encode())

    def push_body(self, body: bytes) -> int:
        """Push a request's body as it is; the status of the answer."""
        return self.client.post("/", data=body, content_type="application/json").status_code

    def deliver(self) -> int:
        """Deliver the next message that the service has published; the status of the answer."""
        self._delivered += 1
        return self.push_body(self.topic.wait_for(self._delivered)[self._delivered - 1])

    def published(self, number: int) -> list[dict[str, Any]]:
        """The data of all messages of the service so far, once there are so many."""
        return [json.loads(base64.b64decode(inner["data"])) for inner in self.envelopes(number)]

    def envelopes(self, number: int) -> list[dict[str, Any]]:
        """The same in their envelopes."""
        return [json.loads(body)["message"] for body in self.topic.wait_for(number)]

    def lines(self) -> list[dict[str, Any]]:
        """What the service has logged."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Rows of the service's database."""
        return self.database.transact(lambda tx: [tuple(row) for row in tx.execute(text(statement), values)])

    def statuses(self, batch_id: str = "2024-03") -> dict[str, str]:
        """The status of each task of a batch."""
        statement = "SELECT t.name, b.status FROM batch_task b JOIN task t USING (task_id) WHERE batch_id = :b"
        return dict(map(tuple, self.rows(statement, b=batch_id)))

    def task_id(self, task: str) -> int:
        [(task_id,)] = self.rows("SELECT task_id FROM task WHERE name = :t", t=task)
        return int(task_id)
