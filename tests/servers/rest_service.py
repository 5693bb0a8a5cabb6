"""A service of somebody's: it takes orders once for each Idempotency-Key, and repeats what it is asked on `/echo`."""

from __future__ import annotations

import json
from typing import Any

from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from tests.servers.wire import Answered, Asked, WireServer


class RestService(WireServer):
    """Wants what a test says: a bearer token, or a token of Google's for its audience; nothing unless told."""

    def __init__(self) -> None:
        super().__init__()
        #: The bodies of what was ordered, by the Idempotency-Key.
        self.orders: dict[str, Any] = {}
        self.bearer: str | None = None
        #: Where the certificates are that Google's identity tokens are checked with.
        self.certs_url: str | None = None
        self.callers: list[str] = []

    def answer(self, asked: Asked) -> Answered:
        if not self._is_welcome(asked.headers.get("authorization", "")):
            return Answered(401, {"error": "who are you?"})
        return self._answer(asked)

    def _answer(self, asked: Asked) -> Answered:
        match asked.path.split("/")[1]:
            case "orders" if asked.method in {"POST", "PUT", "PATCH"}:
                return self._order(asked)
            case "moved":
                return Answered(302, None, {"Location": f"{self.url}/echo"})
            case "onward":
                token = asked.headers["authorization"].split()[-1]
                return Answered(302, None, {"Location": f"{self.url}/login?token={token}"})
        return _repeated(asked)

    def _order(self, asked: Asked) -> Answered:
        key = asked.headers.get("idempotency-key", f"without a key {len(self.orders)}")
        is_new = key not in self.orders
        self.orders.setdefault(key, asked.json)
        return Answered(201 if is_new else 200, {"order": list(self.orders).index(key) + 1})

    def _is_welcome(self, authorization: str) -> bool:
        token = authorization.removeprefix("Bearer ")
        if self.certs_url is not None:
            try:
                claims = id_token.verify_token(token, Request(), self.url, self.certs_url, clock_skew_in_seconds=5)
            except (GoogleAuthError, ValueError):
                return False
            self.callers.append(claims["email"])
        return self.bearer is None or token == self.bearer


def _repeated(asked: Asked) -> Answered:
    match asked.path.split("/")[1]:
        case "echo":
            said = {"path": asked.path, "query": asked.query, "headers": asked.headers, "body": asked.body.decode()}
            return Answered(200, said)
        case "text":
            return Answered(200, json.dumps(dict(asked.headers)) + " that is all", {"Content-Type": "text/plain"})
        case "token":
            return Answered(200, {"your token": asked.headers["authorization"].split()[-1]})
        case "refusing":
            return Answered(422, {"refused": dict(asked.headers)})
    return Answered(404, {"error": f"there is no {asked.path}"})
