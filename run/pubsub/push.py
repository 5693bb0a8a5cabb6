"""`POST /`: where Pub/Sub and Eventarc push messages to.

The answer is 204 if and only if the message's fate is stored: handled, or kept as rejected with its reason, as is what
a dead-letter topic forwards. 401 is for who is not Pub/Sub, 503 for what we need and do not have now, 500 for our own
mistakes; those come again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from database.errors import DatabaseUnavailable
from run.errors import Rejected, Unauthenticated, Unavailable
from run.logs import log_context, trace_of
from run.pubsub.dead_letters import read_dead_letter
from run.pubsub.envelope import LARGEST_BODY, Delivery, read_delivery, unreadable
from run.pubsub.messages import kind_of, parse_message
from run.pubsub.oidc import Authenticate
from run.pubsub.router import Router

logger = logging.getLogger(__name__)

#: Stores a message that can never succeed, with the reason; raises when it cannot.
Reject = Callable[[Delivery, str], None]

_PIECE = 65_536
_LEVELS = {401: logging.WARNING, 500: logging.ERROR, 503: logging.WARNING}


def create_push_blueprint(router: Router, reject: Reject, authenticate: Authenticate) -> Blueprint:
    """Return the blueprint of `POST /`."""
    blueprint = Blueprint("push", __name__)
    door = _Door(router, reject, authenticate)

    @blueprint.post("/")
    def push() -> Response:
        return door.answer()

    return blueprint


@dataclass
class _LogLine:
    message_id: str | None = None
    kind: str = "unknown"
    outcome: str = "handled"


@dataclass(frozen=True)
class _Door:
    router: Router
    reject: Reject
    authenticate: Authenticate

    def answer(self) -> Response:
        started = perf_counter()
        line = _LogLine()
        headers = request.headers
        with log_context(trace=trace_of(headers.get("traceparent"), headers.get("X-Cloud-Trace-Context"))):
            status = self._status(line)
            duration_ms = round((perf_counter() - started) * 1000, 1)
            fields = {"message_id": line.message_id, "message_kind": line.kind, "status": status}
            level = _LEVELS.get(status, logging.INFO)
            logger.log(level, "Push %s", line.outcome, extra={**fields, "duration_ms": duration_ms})
        return Response(
            status=status, headers={"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
        )

    def _status(self, line: _LogLine) -> int:
        try:
            self.authenticate(request.headers.get("Authorization"))
            self._take(_body(), line)
        except Unauthenticated as error:
            line.outcome = f"refused: {error}"
            return 401
        except (Unavailable, DatabaseUnavailable) as error:
            line.outcome = f"put off: {error}"
            return 503
        except HTTPException:
            raise  # The request ended before its body did; nobody waits for the answer.
        except Exception:
            logger.exception("Push failed", extra={"message_id": line.message_id})
            line.outcome = "failed"
            return 500
        return 204

    def _take(self, body: bytes, line: _LogLine) -> None:
        headers = dict(request.headers)
        try:
            delivery = read_delivery(headers, body)
        except Rejected as error:
            return self._store_rejected(unreadable(headers, body), error, line)
        line.message_id = delivery.message_id
        with log_context(message_id=delivery.message_id):
            dead_letter = read_dead_letter(delivery)
            if dead_letter is not None:
                # Its handler has had its tries; now it is a person's turn.
                return self._store_rejected(delivery, Rejected(dead_letter.reason), line)
            try:
                message = parse_message(delivery)
                line.kind = kind_of(message)
                self.router.dispatch(message, delivery)
            except Rejected as error:
                self._store_rejected(delivery, error, line)

    def _store_rejected(self, delivery: Delivery, rejected: Rejected, line: _LogLine) -> None:
        line.message_id = delivery.message_id
        line.outcome = f"rejected: {rejected}"
        try:
            self.reject(delivery, str(rejected))
        except (Unavailable, DatabaseUnavailable):
            raise
        except Exception as error:
            logger.exception("Storing a rejected message failed", extra={"message_id": delivery.message_id})
            raise Unavailable("the rejected message could not be stored") from error


def _body() -> bytes:
    """The body, or its first LARGEST_BODY + 1 bytes; the rest is read too, or the sender never sees the answer."""
    body = bytearray()
    while piece := request.stream.read(_PIECE):
        if len(body) <= LARGEST_BODY:
            body += piece
    return bytes(body[: LARGEST_BODY + 1])
