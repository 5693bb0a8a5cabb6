"""The service with its real kinds, on the local servers of Cloud Storage and BigQuery."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from sqlalchemy import text

from database.errors import DatabaseUnavailable
from database.keys import TaskKey
from database.sessions import Database
from database.workflows import find_task_by_name, store_version
from run.app import Service, build_service, template_names
from run.engine.definitions import new_version
from run.local.bigquery_server import BigQueryServer
from run.local.storage_server import StorageServer
from run.pubsub.envelope import Delivery
from run.pubsub.messages import FileMessage
from run.settings import Settings
from run.workflows.builder import build_workflow
from run.workflows.templates import NameType

ROOT = Path(__file__).parents[3]
FINALIZE = "OBJECT_FINALIZE"
_MOST_ROUNDS = 30


@dataclass(frozen=True)
class Servers:
    """Where the local servers are."""

    storage: str
    bigquery: str


@contextmanager
def local_servers(folder: Path) -> Iterator[Servers]:
    """Both servers, while the block lasts."""
    with (
        StorageServer(folder / "gcs", folder / "logs") as storage,
        BigQueryServer(folder / "bq", folder / "logs", objects_folder=storage.objects_folder) as warehouse,
    ):
        yield Servers(storage.url, warehouse.url)


@dataclass(frozen=True)
class Works:
    """Everything that a test does to a service with a database of its own.

    The service's messages go nowhere; the test gives them.
    """

    database: Database
    database_url: str
    servers: Servers

    @property
    def name(self) -> str:
        """Its dataset's and its folder's, and nobody else's: the name of its database."""
        return urlsplit(self.database_url).path.removeprefix("/")

    @property
    def append_and_archive(self) -> dict[str, Any]:
        """A workflow that appends a file to a table and puts the file away."""
        load = {
            "kind": "load_file",
            "file": rf"gs://{{landing_bucket}}/{self.name}/(?P<period>\d{{4}}-\d{{2}})\.csv",
            "on_new_generation": "ignore",
            "table": f"{self.name}.sales",
            "write": "append",
        }
        keep = {"kind": "archive_file", "needs": ["load"], "files_of": "load", "to": self.archive}
        return {"workflow": "sales", "batch": "{period}", "tasks": {"load": load, "keep": keep}}

    @property
    def archive(self) -> str:
        return f"gs://{{archive_bucket}}/{self.name}/{{batch_id}}/{{file_name}}"

    def environment(self, **other: str) -> dict[str, str]:
        """What a process of this service is told."""
        return {
            "DATABASE_URL": self.database_url,
            "GOOGLE_CLOUD_PROJECT": "local",
            "LANDING_BUCKET": "landing",
            "ARCHIVE_BUCKET": "archive",
            # Nobody listens there: messages are lost, and the sweep's to find.
            "LOOPBACK_URL": "http://127.0.0.1:9/",
            "STORAGE_EMULATOR_HOST": self.servers.storage,
            "BIGQUERY_EMULATOR_HOST": self.servers.bigquery,
            **other,
        }

    @contextmanager
    def service(self, **other: str) -> Iterator[Service]:
        """The service in this process."""
        service = build_service(Settings.from_environment(self.environment(**other)))
        try:
            yield service
        finally:
            service.close()

    @contextmanager
    def process(self, task: str, **other: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process that lives one message of a task and ends; a frozen one is not waited for."""
        command = [sys.executable, "-m", "tests.faults.kill.worker", "sales", "2024-03", task]
        with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **self.environment(**other)}) as process:
            try:
                yield process
            finally:
                process.kill()

    def go_on_until_ended(self, service: Service, task: str) -> None:
        """Ask for the work of a task as the sweep does, until it has ended: a slow machine has let go of its job."""
        for _ in range(_MOST_ROUNDS):
            if self.statuses()[task] != "PROCESSING":
                return
            time.sleep(0.5)
            self.pass_time()
            service.life.go_on(self.key(task))

    def store(self, service: Service, workflow: Mapping[str, Any]) -> None:
        """Apply a workflow."""
        names = dict.fromkeys(template_names(service.settings), NameType.TEXT)
        definition, problems = build_workflow(workflow, service.kinds, names)
        assert definition is not None, problems
        version = new_version(definition)
        self.database.transact(lambda tx: store_version(tx, version))
        bigquery.Client(
            project="local",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options=ClientOptions(api_endpoint=self.servers.bigquery),
        ).create_dataset(self.name, timeout=10)

    def land(self, service: Service, content: bytes) -> None:
        """Put the file of March into the landing bucket, and announce it."""
        name = f"{self.name}/2024-03.csv"
        address = f"{self.servers.storage}/upload/storage/v1/b/landing/o"
        answer = requests.post(address, params={"uploadType": "media", "name": name}, data=content, timeout=10)
        answer.raise_for_status()
        generation = int(answer.json()["generation"])
        delivery = Delivery(f"{name}#{generation}", None, {}, b"", None, None, "wrapped", b"")
        service.files.handle(FileMessage(FINALIZE, "landing", name, generation, len(content), {}, None), delivery)

    def key(self, task: str) -> TaskKey:
        found = self.database.transact(lambda tx: find_task_by_name(tx, "sales", task))
        assert found is not None
        return TaskKey(found.workflow_id, "2024-03", found.task_id)

    def pass_time(self) -> None:
        """Every lease runs out, and what is put off is due."""
        self.change(
            "UPDATE batch_task SET lease_until = lease_until - interval '1 hour', due_at = due_at - interval '1 hour'"
        )

    def deliver_until_quiet(self, service: Service) -> None:
        """Deliver the message of whatever is ready, let time pass and sweep, until nothing is open."""
        for _ in range(_MOST_ROUNDS):
            for task, status in self.statuses().items():
                if status in ("NEW", "PROCESSING"):
                    with suppress(DatabaseUnavailable):
                        service.life.execute(self.key(task))
            if not {"WAITING", "NEW", "PROCESSING"}.intersection(self.statuses().values()):
                return
            self.pass_time()
            service.sweeps.sweep()

    def statuses(self) -> dict[str, str]:
        rows = self.rows("SELECT t.name, b.status FROM batch_task b JOIN task t USING (task_id)")
        return dict(map(tuple, rows))

    def log(self, task: str) -> list[tuple[Any, ...]]:
        """(attempt, status, error) of each attempt."""
        return self.rows(
            "SELECT attempt, status, error FROM task_log JOIN task t USING (task_id) "
            "WHERE t.name = :t ORDER BY attempt",
            t=task,
        )

    def count_rows(self, table: str) -> int:
        """How many rows a table of BigQuery has."""
        client = bigquery.Client(
            project="local",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options=ClientOptions(api_endpoint=self.servers.bigquery),
        )
        [row] = client.query(f"SELECT COUNT(*) AS n FROM {self.name}.{table}", timeout=10).result(timeout=20)
        return int(row.n)

    def objects(self, bucket: str) -> list[str]:
        """The names of this test's objects in a bucket."""
        address = f"{self.servers.storage}/storage/v1/b/{bucket}/o"
        found = requests.get(address, params={"prefix": f"{self.name}/"}, timeout=10).json()
        return sorted(one["name"] for one in found.get("items", []))

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        return self.database.transact(lambda tx: [tuple(row) for row in tx.execute(text(statement), values)])

    def change(self, statement: str) -> None:
        self.database.transact(lambda tx: tx.execute(text(statement)))
