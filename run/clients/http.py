"""Plain HTTP to the services that workflows name: one request, one answer, no redirects, no way to the metadata server.

Workflow authors choose the addresses, and what answers at 169.254.169.254 gives our credentials away. So the address
that a connection really leads to is judged, whatever name it was found by, before anything is sent to it.
https://docs.cloud.google.com/compute/docs/metadata/querying-metadata
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from run.errors import PassingFailure, PermanentFailure, Unavailable

#: An answer is read up to so many bytes.
MOST_BYTES = 1_000_000
_CONNECT_SECONDS, _LEAST_SECONDS = 10.0, 0.5
_CHUNK = 65_536
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog"})
_METADATA_IPV6 = IPv6Address("fd20:ce::254")


@dataclass(frozen=True)
class Request:
    """What is to be asked; `seconds` is the longest silence, and when the body of an answer is read no further."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    seconds: float

    def __str__(self) -> str:
        return f"{self.method} {self.url.partition('?')[0]}"


@dataclass(frozen=True)
class Response:
    """What was answered; the text is not whole when it was too long, too slow, or broke off."""

    status: int
    headers: Mapping[str, str]
    text: str
    is_whole: bool


class Http:
    """Sends requests, each over a connection of its own: one that was kept may be dead, and eat what is sent."""

    def __init__(self, *, may_reach_itself: bool) -> None:
        self._may_reach_itself = may_reach_itself

    def send(self, request: Request) -> Response:
        """Send it once and return the answer, whatever its status.

        Raises PassingFailure when there was no connection, so that nothing was sent; PermanentFailure when there must
        be none; Unavailable when it was sent, or a part of it, and no answer came.
        """
        with requests.Session() as session:
            # The environment's proxies and ~/.netrc are not the workflow's.
            session.trust_env = False
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(may_reach_itself=self._may_reach_itself))
            return _exchange(session, request)


def forbidden_host(host: str) -> str | None:
    """Why no request may go to a host of this name; None when only its address can tell."""
    try:
        return _why_forbidden(host.strip("[]"), may_reach_itself=True)
    except ValueError:
        return "it is the metadata server's name" if host.lower().rstrip(".") in _METADATA_NAMES else None


def _exchange(session: requests.Session, request: Request) -> Response:
    deadline = time.monotonic() + request.seconds
    asked = requests.Request(request.method, request.url, headers=dict(request.headers), data=request.body)
    try:
        prepared = session.prepare_request(asked)
    except (requests.RequestException, UnicodeError) as error:
        # What the library says here may quote a header.
        raise PermanentFailure(f"{request} cannot be sent like this ({type(error).__name__})") from None
    limits = (min(_CONNECT_SECONDS, request.seconds), request.seconds)
    try:
        answered = session.send(prepared, timeout=limits, stream=True, allow_redirects=False)
    except requests.RequestException as error:
        raise Unavailable(f"no answer to {request} ({type(error).__name__})") from error
    with answered:
        # A body that came with a late head is here already.
        content, is_whole = _content(answered, max(deadline, time.monotonic() + _LEAST_SECONDS))
    return Response(answered.status_code, answered.headers, _text(answered, content), is_whole)


def _content(answered: requests.Response, deadline: float) -> tuple[bytes, bool]:
    content, raw = b"", answered.raw
    connection: Any = raw.connection
    try:
        while (left := deadline - time.monotonic()) > 0 and len(content) <= MOST_BYTES:
            if connection is not None:
                connection.opened.settimeout(left)
            # What has come by now: waiting for a whole chunk, drop by drop, could take hours.
            chunk = raw.read1(_CHUNK, decode_content=True)
            if not chunk:
                return content, True
            content += chunk
    except (HTTPError, OSError):
        # The status has come, and it is what counts.
        return content, False
    return content[:MOST_BYTES], False


def _text(answered: requests.Response, content: bytes) -> str:
    named = answered.encoding if "charset" in answered.headers.get("Content-Type", "") else None
    try:
        return content.decode(named or "utf-8", errors="replace")
    except (LookupError, ValueError):
        # Python has encodings that are none of texts, and some that cannot replace what they do not know.
        return content.decode(errors="replace")


class _Adapter(HTTPAdapter):
    """Makes connections that are judged before anything is sent over them."""

    def __init__(self, *, may_reach_itself: bool) -> None:
        self._rule = {"may_reach_itself": may_reach_itself}
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Have every pool make connections of ours."""
        super().init_poolmanager(*args, **options)
        plain = type("Connection", (_Judged, HTTPConnection), self._rule)
        secure = type("SecureConnection", (_Judged, HTTPSConnection), self._rule)
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("Pool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }


class _Judged:
    """A connection that is given up when it leads where it must not, before anything is asked."""

    may_reach_itself: bool
    host: str
    sock: Any
    #: The same socket, also when the other side has said that it is the last answer over it.
    opened: Any

    def connect(self) -> None:
        """Connect; whatever goes wrong here, nothing was sent."""
        try:
            super().connect()  # type: ignore[misc]  # Of the connection that this is mixed into.
        except Exception as error:
            raise PassingFailure(f"no connection to {self.host} ({type(error).__name__}: {error})") from error
        address = self.sock.getpeername()[0]
        why = _why_forbidden(address, may_reach_itself=self.may_reach_itself)
        if why is not None:
            self.sock.close()
            raise PermanentFailure(f"no request may go to {self.host} at {address}: {why}")
        self.opened = self.sock


def _why_forbidden(address: str, *, may_reach_itself: bool) -> str | None:
    ip = ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_link_local or ip == _METADATA_IPV6:
        return "the metadata server is there, which gives our credentials away"
    if ip.is_multicast or ip.is_unspecified:
        return "it is no address of a service"
    if ip.is_loopback and not may_reach_itself:
        return "it is this service itself, which trusts what comes from inside"
    return None
