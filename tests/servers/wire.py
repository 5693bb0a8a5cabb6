"""A small HTTP server that speaks another service's protocol, and may be told to be slow, fail or lose answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request; header names are in lower case, and each key of the query has its last value."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answered:
    """One answer: JSON unless `body` is text."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class WireServer:
    """A running server for `with`; a subclass says in `answer` what its service does.

    Faults are told by `METHOD path`, or the end of it: `fails` are answered instead of asking the service, `loses` are
    carried out and then the connection breaks, `slow` waits so many seconds before the service acts. `asked` has every
    request in order.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.fails: dict[str, list[Answered]] = {}
        self.loses: dict[str, int] = {}
        self.slow: dict[str, float] = {}
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"wire": self}))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, asked: Asked) -> Answered:
        """What the service does; called by one request at a time."""
        raise NotImplementedError

    def now(self) -> float:
        """The server's clock, which its answers tell as `Date`; it need not be ours."""
        return time.time()

    def requests(self, method: str, end: str = "") -> list[Asked]:
        """What was asked so far with this method, of paths with this end."""
        return [one for one in self.asked if one.method == method and one.path.endswith(end)]

    def take(self, asked: Asked) -> Answered | None:
        """The answer, or None where it is to be lost."""
        time.sleep(next((seconds for name, seconds in self.slow.items() if str(asked).endswith(name)), 0))
        with self._lock:
            self.asked.append(asked)
            for name, answers in self.fails.items():
                if answers and str(asked).endswith(name):
                    return answers.pop(0)
            answered = self.answer(asked)
            for name, count in self.loses.items():
                if count and str(asked).endswith(name):
                    self.loses[name] = count - 1
                    return None
            return answered

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wire: WireServer

    def _take(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answered = self.wire.take(Asked(self.command, parts.path, query, headers, body))
        if answered is None:
            self.close_connection = True
            self.connection.close()
            return
        text = answered.body if isinstance(answered.body, str) else json.dumps(answered.body)
        content = b"" if answered.body is None else text.encode()
        self.send_response(answered.status)
        for name, value in answered.headers.items():
            self.send_header(name, value)
        if "Content-Type" not in answered.headers:
            self.send_header("Content-Type", "text/plain" if isinstance(answered.body, str) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _take  # noqa: N815 - http.server's names

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.wire.now() if timestamp is None else timestamp)

    def log_message(self, *_: object) -> None:
        return
