"""What the benchmarks run in: a durable Postgres, and for each of them a database and instances of the service."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import text

from benchmarks.noop import PROCESSOR, PROCESSORS, NoOp
from benchmarks.shapes import Needs
from database.migrating import migrate
from database.sessions import Database
from database.workflows import store_version
from run.clients import Clients
from run.engine.definitions import new_version
from run.errors import AcceleratorError
from run.local.ports import LOOPBACK, ReservedPort
from run.local.postgres import Postgres
from run.local.service import THREADS, Service
from run.settings import Settings
from run.workflows.builder import build_workflow

APPLICATION = "benchmarks.noop_app:app"
#: As many as there are processors: one process of Python keeps one busy, and Cloud Run adds an instance when it does.
INSTANCES = len(PROCESSORS)
#: The first three are Postgres's own defaults, written out because nothing here is worth anything without them.
DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # So that the moment of a commit can be asked for afterwards.
    "track_commit_timestamp": "on",
}
TEMPLATE = "migrated"
#: Nobody listens there: a client that is not needed fails at once instead of reaching out.
NOBODY = "127.0.0.1:9"
#: How many messages are pushed at once from here.
SENDERS = 8
LOOK_SECONDS = 0.05

#: It is asked while others are being measured, so it looks at these batches only.
BATCHES = """
    SELECT count(*) FILTER (WHERE b.ended_at IS NULL),
           count(*) FILTER (WHERE b.ended_at IS NOT NULL AND b.status <> 'SUCCESS'),
           extract(epoch FROM max(b.ended_at))
      FROM workflow w JOIN task_batch b ON b.workflow_id = w.workflow_id AND b.batch_id = ANY(:batch_ids)
     WHERE w.name = :workflow
"""


class Stuck(AcceleratorError):
    """Batches did not end in time."""


@dataclass
class Room:
    """Instances of the service on a database of their own, and what is done with them."""

    postgres: Postgres
    services: Sequence[Service]
    url: str
    database: Database

    def apply(self, workflow: str, needs: Needs, more: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Store a workflow of tasks that do nothing; `more` are other keys of some of them."""
        keys = more or {}
        tasks = {
            name: {"kind": NoOp.name, "needs": list(parents), **keys.get(name, {})} for name, parents in needs.items()
        }
        settings = Settings.model_validate(_environment(self.url))
        kinds = {NoOp.name: NoOp(Clients(settings))}
        definition, problems = build_workflow({"workflow": workflow, "batch": "{round}", "tasks": tasks}, kinds, {})
        if definition is None:
            raise ValueError("; ".join(problem.reason for problem in problems))
        self.database.transact(lambda tx: store_version(tx, new_version(definition)))

    def start(self, workflow: str, batch_ids: Sequence[str]) -> float:
        """Push the messages that start these batches, several at once; the time just before the first."""
        began = time.time()
        messages = [{"trigger_type": "workflow", "workflow": workflow, "batch_id": batch_id} for batch_id in batch_ids]
        with ThreadPoolExecutor(min(SENDERS, len(messages))) as threads:
            list(threads.map(self.push, messages))
        return began

    def push(self, message: Mapping[str, Any]) -> None:
        """Push a message as Pub/Sub does, to one instance after the other."""
        number = next(_ids)
        data = base64.b64encode(json.dumps(message).encode()).decode()
        body = json.dumps({"message": {"data": data, "messageId": f"bench-{number}"}, "subscription": "bench"})
        service = self.services[number % len(self.services)]
        address = urlsplit(service.url)
        connection = HTTPConnection(str(address.hostname), address.port, timeout=600)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != 204:
            raise Stuck(f"a message was answered with {status}; see {service.log}")

    def run(self, workflow: str, batch_ids: Sequence[str], *, seconds: float = 300) -> float:
        """Run these batches; seconds from just before the first message to the end of the last batch."""
        began = self.start(workflow, batch_ids)
        return self._wait(workflow, batch_ids, seconds) - began

    def _wait(self, workflow: str, batch_ids: Sequence[str], seconds: float) -> float:
        """Wait until these batches have ended; the time when the last one did, by the database's clock."""
        deadline = time.monotonic() + seconds
        while True:
            [(still_open, unsuccessful, ended)] = self.rows(BATCHES, workflow=workflow, batch_ids=list(batch_ids))
            if unsuccessful:
                raise Stuck(f"{unsuccessful} batches have not succeeded; see {self._logs}")
            if not still_open:
                return float(ended)
            if time.monotonic() > deadline:
                raise Stuck(f"{still_open} batches are still open after {seconds:.0f} s; see {self._logs}")
            time.sleep(LOOK_SECONDS)

    @property
    def _logs(self) -> str:
        return " and ".join(str(service.log) for service in self.services)

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        return self.database.transact(lambda tx: [tuple(row) for row in tx.execute(text(statement), values)])

    def change(self, statement: str, **values: Any) -> None:
        """Change the database."""
        self.database.transact(lambda tx: tx.execute(text(statement), values))


@contextmanager
def open_house(folder: Path) -> Iterator[Postgres]:
    """A durable Postgres on this folder, with a migrated template."""
    with Postgres(folder, options=DURABLE) as postgres:
        if not postgres.has_database(TEMPLATE):
            migrate(postgres.create_database(TEMPLATE))
        yield postgres


@contextmanager
def open_room(postgres: Postgres, *, threads: int = THREADS, instances: int = 1) -> Iterator[Room]:
    """A fresh database with so many instances of the service on it, as Cloud Run starts them; all is gone afterwards.

    What one of them publishes is delivered to any of them. Each has a processor, as `CPU=1` in deploy/ says.
    """
    name = f"bench_{next(_ids)}"
    url = postgres.create_database(name, template=TEMPLATE)
    database = Database(url, pool_size=2)
    try:
        with ExitStack() as opened:
            shared = opened.enter_context(ReservedPort())
            environment = {**_environment(url), "LOOPBACK_URL": f"http://{LOOPBACK}:{shared.number}"}
            services = [
                opened.enter_context(
                    Service(
                        postgres.folder / "logs" / str(number),
                        {**environment, PROCESSOR: str(PROCESSORS[number % INSTANCES])},
                        shared=shared,
                        application=APPLICATION,
                        threads=threads,
                    )
                )
                for number in range(instances)
            ]
            yield Room(postgres, services, url, database)
    finally:
        database.close()
        postgres.drop_database(name)


def _environment(url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "GOOGLE_CLOUD_PROJECT": "local",
        "LANDING_BUCKET": "landing",
        "STORAGE_EMULATOR_HOST": NOBODY,
        "BIGQUERY_EMULATOR_HOST": NOBODY,
    }


_ids = count(1)
