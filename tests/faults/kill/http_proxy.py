"""Stands between a client and an HTTP server: holds a request back, or loses the answer to one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

_OF_ONE_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length"}
#: No test waits longer.
_LONGEST_HOLD_SECONDS = 60


@dataclass(frozen=True)
class Request:
    """What a client asks for."""

    method: str
    path: str
    body: bytes


Matches = Callable[[Request], bool]


@dataclass
class Held:
    """A request that is held back: it has `come`, and goes on to the server when it `may_go_on`."""

    come: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)


class HttpProxy:
    """A running proxy; for `with`. Only the first request that matches is disturbed."""

    def __init__(self, url: str) -> None:
        self.lost: list[Request] = []
        self._server_address = urlsplit(url).netloc
        self._to_hold: list[tuple[Matches, Held]] = []
        self._held: list[Held] = []
        self._to_lose: list[Matches] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._held:
            held.may_go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def hold(self, matches: Matches) -> Held:
        """Hold the next such request back before it reaches the server."""
        held = Held()
        self._held.append(held)
        self._to_hold.append((matches, held))
        return held

    def lose_answer(self, matches: Matches) -> None:
        """Let the next such request take effect, and break the connection instead of answering."""
        self._to_lose.append(matches)

    def wait_while_held(self, request: Request) -> None:
        with self._lock:
            found = [one for one in self._to_hold if one[0](request)][:1]
            for one in found:
                self._to_hold.remove(one)
        for _, held in found:
            held.come.set()
            held.may_go_on.wait(_LONGEST_HOLD_SECONDS)

    def is_lost(self, request: Request) -> bool:
        with self._lock:
            for matches in self._to_lose:
                if matches(request):
                    self._to_lose.remove(matches)
                    self.lost.append(request)
                    return True
        return False

    def ask(self, request: Request, headers: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the server answers."""
        connection = HTTPConnection(self._server_address, timeout=30)
        try:
            connection.request(request.method, request.path, request.body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients die here on purpose."""


def _handler(proxy: HttpProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _carry(self) -> None:
            request = Request(self.command, self.path, _body(self))
            proxy.wait_while_held(request)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_HOP}
            status, answered, content = proxy.ask(request, headers)
            if proxy.is_lost(request):
                self.close_connection = True
                return
            # The server's own Date and Server are among its headers.
            self.send_response_only(status)
            for name, value in answered:
                if name.lower() not in _OF_ONE_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _carry  # noqa: N815 - as the library calls them

        def log_message(self, *_: object) -> None:
            """Tests want no log."""

    return Handler


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    stream = handler.rfile
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return stream.read(int(handler.headers.get("Content-Length") or 0))
    pieces = []
    while size := int(stream.readline(), 16):
        pieces.append(stream.read(size))
        stream.readline()
    stream.readline()
    return b"".join(pieces)
