"""Ports of the loopback that nobody else uses."""

from __future__ import annotations

import random
import socket
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"

#: Below the range from which Linux and macOS take ports for outgoing connections, one of which could otherwise
#: take a port between our look at it and the start of the program that shall listen there.
PORTS = range(20000, 32000)
TRIES = 100


class ReservedPort:
    """A port that stays ours while nobody listens on it: connections are refused, and only SO_REUSEPORT may bind it."""

    def __init__(self) -> None:
        self._socket = _bound_socket()
        self.number: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


def free_port() -> int:
    """Return a port that was free a moment ago; a start that fails because it is taken meanwhile is tried again."""
    with ReservedPort() as port:
        return port.number


def _bound_socket() -> socket.socket:
    for _ in range(TRIES):
        bound = socket.socket()
        if _binds_alone(bound, random.choice(PORTS)):  # noqa: S311
            return bound
        bound.close()
    raise OSError(f"no free port found on {LOOPBACK} between {PORTS.start} and {PORTS.stop}")


def _binds_alone(bound: socket.socket, port: int) -> bool:
    # The first bind, without SO_REUSEPORT, finds out whether another reservation holds the port already.
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((LOOPBACK, port))
    except OSError:
        return False
    return True
