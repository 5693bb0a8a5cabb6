"""The real command line on a real database; its messages go to a small server that accepts every push."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from database.sessions import Database
from run.app import Service, build_service
from run.cli import main
from run.errors import Rejected
from run.pubsub.envelope import read_delivery
from run.settings import Settings
from tests.engine_room import EngineRoom

ROOT = Path(__file__).resolve().parents[3]


class PushServer(ThreadingHTTPServer):
    """Accepts pushes and keeps their messages; as Cloud Storage it says of every bucket what `storage_says`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Acceptor)
        self.messages: list[dict[str, Any]] = []
        self.storage_says: tuple[int, dict[str, Any]] = (200, {})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Acceptor(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        envelope = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, PushServer)
        self.server.messages.append(json.loads(base64.b64decode(envelope["message"]["data"])))
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        assert isinstance(self.server, PushServer)
        status, answer = self.server.storage_says
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_args: Any) -> None:
        """Nobody reads it."""


@dataclass
class CommandLine:
    """Runs `python -m run` with the settings of a local service."""

    environment: dict[str, str]
    database: Database
    pushes: PushServer
    folder: Path
    room: EngineRoom = field(init=False)

    def __post_init__(self) -> None:
        self.room = EngineRoom(self.database)

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, env=self.environment)

    def good(self, *arguments: str) -> str:
        """What a command that must succeed prints."""
        result = self(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> Any:
        """What a command prints with `--json`."""
        return json.loads(self.good(*arguments, "--json"))

    def bad(self, *arguments: str, status: int = 1) -> str:
        """What a command that must fail says: on stderr, with nothing on stdout and no traceback."""
        result = self(*arguments)
        assert result.exit_code == status, result.output
        assert isinstance(result.exception, SystemExit)
        assert result.stdout == ""
        return result.stderr

    def process(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """The same in a process of its own."""
        command = [sys.executable, "-m", "run", *arguments]
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(command, env={**os.environ, **self.environment}, cwd=ROOT, text=True, **given)

    def write(self, name: str, text: str) -> str:
        """A workflow file."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def apply(self, text: str, name: str = "workflow.yaml") -> str:
        return self.good("workflow", "apply", self.write(name, text))

    def everything(self) -> dict[str, Any]:
        """Every row of every table."""
        tables = self.room.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {table: sorted(self.room.rows(f"SELECT CAST(r AS text) FROM {table} r")) for (table,) in tables}


@pytest.fixture
def pushes() -> Iterator[PushServer]:
    with PushServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def environment(database_url: str, pushes: PushServer) -> dict[str, str]:
    unset = dict.fromkeys((str(known.validation_alias) for known in Settings.model_fields.values()), "")
    return {
        **unset,
        "DATABASE_URL": database_url,
        "GOOGLE_CLOUD_PROJECT": "local",
        "LANDING_BUCKET": "landing",
        "BIGQUERY_LOCATION": "EU",
        "LOOPBACK_URL": pushes.url,
        "STORAGE_EMULATOR_HOST": pushes.url,
        "FUNCTION_MODULES": "functions",
    }


@pytest.fixture
def cli(environment: dict[str, str], database: Database, pushes: PushServer, tmp_path: Path) -> CommandLine:
    return CommandLine(environment, database, pushes, tmp_path)


@pytest.fixture
def door(environment: dict[str, str]) -> Iterator[Door]:
    service = build_service(Settings.from_environment(environment, serves=False))
    yield Door(service)
    service.close()


@dataclass
class Door:
    """The service's own door, for what came before somebody asks."""

    service: Service
    count: int = 0

    def push(self, message: Mapping[str, Any], attributes: Mapping[str, str] | None = None) -> None:
        """Deliver a message, and keep it when it is rejected."""
        self.count += 1
        data = base64.b64encode(json.dumps(message).encode()).decode()
        inner = {"messageId": f"m{self.count}", "attributes": attributes or {}, "data": data}
        delivery = read_delivery({}, json.dumps({"message": inner, "subscription": "s"}).encode())
        try:
            self.service.router.route(delivery)
        except Rejected as error:
            self.service.reject(delivery, str(error))

    def file(self, name: str, generation: int = 1, event: str = "OBJECT_FINALIZE") -> None:
        """Announce an object of the landing bucket."""
        attributes = {
            "eventType": event,
            "bucketId": "landing",
            "objectId": name,
            "objectGeneration": str(generation),
            "payloadFormat": "JSON_API_V1",
        }
        self.push({"bucket": "landing", "name": name, "size": "7", "metadata": {}}, attributes)
