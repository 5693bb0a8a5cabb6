"""HTTP to ourselves, as lean as it gets: a delivery must not take longer than the hop that it belongs to.

http.client reads the headers of an answer as those of a mail, and asks the kernel twice for every answer that has a
timeout: together a fifth of the processor time of a task.
"""

from __future__ import annotations

import socket
import struct
from http import HTTPStatus
from ssl import create_default_context
from urllib.parse import urlsplit

CONNECT_TIMEOUT_SECONDS = 10.0
#: A push may take as long as Pub/Sub's longest ack deadline.
DELIVERY_TIMEOUT_SECONDS = 600
_PIECE = 65_536
_LONGEST_LINE = 65_536
_ACCEPTED = (HTTPStatus.OK, HTTPStatus.NO_CONTENT)


class LoopbackConnection:
    """One connection that is kept alive, for one thread; an answer may take `timeout` seconds."""

    def __init__(self, url: str, timeout: int = DELIVERY_TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url)
        self._is_encrypted = parts.scheme == "https"
        self._address = (parts.hostname or "", parts.port or (443 if self._is_encrypted else 80))
        self._timeout = timeout
        host = parts.netloc.rpartition("@")[2]
        self._head = (
            f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        ).encode()
        self._answers: _Answers | None = None

    def post(self, body: bytes) -> str | None:
        """Return None when the delivery was accepted, else what was wrong."""
        was_kept = self._answers is not None
        try:
            return self._try(body)
        except (OSError, ValueError) as error:
            self.close()
            if not (was_kept and isinstance(error, ConnectionError)):
                return f"{type(error).__name__}: {error}"
        # The server has closed a connection that was idle for long; a new one tells whether it is there.
        return self.post(body)

    def close(self) -> None:
        if self._answers is not None:
            self._answers.close()
        self._answers = None

    def _try(self, body: bytes) -> str | None:
        answers = self._answers = self._answers or _Answers(self._connected(), self._timeout)
        answers.ask(b"%sContent-Length: %d\r\n\r\n%s" % (self._head, len(body), body))
        status, is_kept = answers.next()
        if not is_kept:
            self.close()
        return None if status in _ACCEPTED else f"status {status}"

    def _connected(self) -> socket.socket:
        opened = socket.create_connection(self._address, CONNECT_TIMEOUT_SECONDS)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._is_encrypted:
            opened = create_default_context().wrap_socket(opened, server_hostname=self._address[0])
            opened.settimeout(self._timeout)
            return opened
        # The kernel keeps the time, so that Python does not.
        opened.settimeout(None)
        longest = struct.pack("ll", self._timeout, 0)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, longest)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, longest)
        return opened


class _Answers:
    """The answers that come on one connection, one after the other."""

    def __init__(self, connected: socket.socket, timeout: int) -> None:
        self._socket = connected
        self._timeout = timeout
        self._received = b""

    def ask(self, request: bytes) -> None:
        self._socket.sendall(request)

    def next(self) -> tuple[int, bool]:
        """The status of the next answer, and whether another one can follow it on this connection."""
        status = _status_of(self._line())
        while HTTPStatus.CONTINUE <= status < HTTPStatus.OK:
            # It announces the answer, and is none (RFC 9110, section 15.2).
            self._headers()
            status = _status_of(self._line())
        headers = self._headers()
        length = b"0" if status == HTTPStatus.NO_CONTENT else headers.get(b"content-length", b"")
        if not length.isdigit() or headers.get(b"connection") == b"close":
            return status, False
        self._skip(int(length))
        return status, True

    def close(self) -> None:
        self._socket.close()

    def _headers(self) -> dict[bytes, bytes]:
        headers = {}
        while line := self._line():
            name, _, value = line.lower().partition(b":")
            headers[name] = value.strip()
        return headers

    def _line(self) -> bytes:
        while b"\r\n" not in self._received:
            if len(self._received) > _LONGEST_LINE:
                raise ValueError("a line of the answer has no end")
            self._receive()
        line, _, self._received = self._received.partition(b"\r\n")
        return line

    def _skip(self, length: int) -> None:
        while len(self._received) < length:
            self._receive()
        self._received = self._received[length:]

    def _receive(self) -> None:
        try:
            piece = self._socket.recv(_PIECE)
        except BlockingIOError:
            raise TimeoutError(f"no answer within {self._timeout} s") from None
        if not piece:
            raise ConnectionResetError("the connection was closed")
        self._received += piece


def _status_of(line: bytes) -> int:
    """The status of an answer's first line, such as `HTTP/1.1 204 NO CONTENT` (RFC 9112, section 4)."""
    protocol, _, rest = line.partition(b" ")
    if not protocol.startswith(b"HTTP/1."):
        raise ValueError("the answer is not HTTP/1")
    return int(rest[:3])
