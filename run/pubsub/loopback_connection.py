"""HTTP to ourselves, as lean as it gets: a delivery must not take longer than the hop that it belongs to.

http.client reads the headers of an answer as those of a mail, and asks the kernel twice for every answer that has a
timeout: together a fifth of the processor time of a task.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from http import HTTPStatus
from io import BufferedReader
from ssl import create_default_context
from urllib.parse import urlsplit

CONNECT_TIMEOUT_SECONDS = 10.0
#: A push may take as long as Pub/Sub's longest ack deadline.
DELIVERY_TIMEOUT_SECONDS = 600
_LONGEST_LINE = 65_536
_ACCEPTED = (HTTPStatus.OK, HTTPStatus.NO_CONTENT)


class LoopbackConnection:
    """One connection that is kept alive, for one thread."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._is_encrypted = parts.scheme == "https"
        self._address = (parts.hostname or "", parts.port or (443 if self._is_encrypted else 80))
        self._head = (
            f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        ).encode()
        self._socket: socket.socket | None = None
        self._answers: BufferedReader | None = None

    def post(self, body: bytes) -> str | None:
        """Return None when the delivery was accepted, else what was wrong."""
        # A server may have closed a connection that was idle for long; a new one tells whether it is there.
        if self._socket is not None:
            with suppress(OSError, ValueError):
                return self._try(body)
            self.close()
        try:
            return self._try(body)
        except (OSError, ValueError) as error:
            self.close()
            return f"{type(error).__name__}: {error}"

    def close(self) -> None:
        if self._answers is not None:
            self._answers.close()
        if self._socket is not None:
            self._socket.close()
        self._answers = self._socket = None

    def _try(self, body: bytes) -> str | None:
        connected, answers = self._opened()
        connected.sendall(b"%sContent-Length: %d\r\n\r\n%s" % (self._head, len(body), body))
        status = _status_of(answers.readline(_LONGEST_LINE))
        if not _has_read_the_rest(answers, status):
            self.close()
        return None if status in _ACCEPTED else f"status {status}"

    def _opened(self) -> tuple[socket.socket, BufferedReader]:
        if self._socket is None or self._answers is None:
            opened = _connected(self._address)
            if self._is_encrypted:
                opened = create_default_context().wrap_socket(opened, server_hostname=self._address[0])
            self._socket, self._answers = opened, opened.makefile("rb")
        return self._socket, self._answers


def _connected(address: tuple[str, int]) -> socket.socket:
    opened = socket.create_connection(address, CONNECT_TIMEOUT_SECONDS)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The kernel keeps the time, so that Python does not.
    opened.settimeout(None)
    longest = struct.pack("ll", DELIVERY_TIMEOUT_SECONDS, 0)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, longest)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, longest)
    return opened


def _status_of(line: bytes) -> int:
    """The status of an answer's first line, such as `HTTP/1.1 204 NO CONTENT` (RFC 9112, section 4)."""
    protocol, _, rest = line.partition(b" ")
    if not protocol.startswith(b"HTTP/1."):
        raise ConnectionError("the connection was closed" if not line else "the answer is not HTTP/1")
    return int(rest[:3])


def _has_read_the_rest(answers: BufferedReader, status: int) -> bool:
    """Read the headers and the body; False when what comes next may not be the next answer."""
    length = 0 if status == HTTPStatus.NO_CONTENT else None
    is_kept = True
    while (line := answers.readline(_LONGEST_LINE)) not in (b"\r\n", b""):
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            length = int(value)
        elif name == b"connection":
            is_kept = value.strip() != b"close"
    if length is None or not is_kept:
        return False
    return len(answers.read(length)) == length
