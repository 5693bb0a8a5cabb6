"""`http_request`: asks another service to do something, and waits for its answer, or until it says that it is done."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from run.clients.http import Request, Response
from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.kinds.filling import filled_json, filled_text, header_key
from run.kinds.http_config import (
    COMPLETION,
    IDEMPOTENCY_KEY,
    READING,
    HeaderSecret,
    HttpRequestConfig,
    config_problems,
)
from run.kinds.kind import AwaitsCompletion, Finished, GoesOn, Kind, Progress, Returned, Work
from run.redaction import hide, redacted
from run.workflows.scope import Scope
from run.workflows.templates import Value

#: Of JSON in the task log and in a result, and of any other text.
_JSON_CHARACTERS, _RESULT_CHARACTERS, _TEXT_CHARACTERS = 10_000, 64 * 1024, 1000
#: The headers of an answer that are a part of the result.
_TOLD = frozenset({"content-type", "etag", "last-modified", "location"})
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 3600.0
#: The service says that it has not begun, and when to come again.
_LATER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
#: Somebody between us and the service did not see its answer.
_UNKNOWN = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
#: Handles: the request may have been sent; or it was refused, and is to be sent another time.
_MAY_BE_SENT, _REFUSED = {"sent": True}, {"sent": False}


class HttpRequest(Kind[HttpRequestConfig]):
    """Sends one request; one that must not be repeated is sent once in an attempt, or its outcome is called unknown."""

    name = "http_request"
    config = HttpRequestConfig
    #: What was not expected says nothing of the request, so it must not begin another attempt.
    passing: ClassVar[tuple[type[Exception], ...]] = ()
    timeout_seconds = 3600

    def problems(self, config: HttpRequestConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        return config_problems(config, scope)

    def awaits_completion(self, config: HttpRequestConfig) -> bool:
        """Whether the service will say with a completion message that it is done."""
        return config.wait_for_completion

    def start(self, config: HttpRequestConfig, work: Work) -> Progress:
        """Send the request; another worker may have sent it before only if it may be repeated."""
        request = self._request(config, work, self._token(config))
        if not config.may_repeat:
            work.store_handle(_MAY_BE_SENT)
        try:
            response = self.clients.http.send(request)
        except Unavailable as error:
            if config.may_repeat:
                raise
            return _unknown(config, str(error))
        return _judged(config, request, response)

    def poll(self, config: HttpRequestConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        """Send the request when it was refused before; its outcome is unknown when another worker may have sent it."""
        if handle == _MAY_BE_SENT and not config.may_repeat:
            return _unknown(config, "the worker that sent it, or was about to, is gone")
        return self.start(config, work)

    def _token(self, config: HttpRequestConfig) -> str | None:
        if config.identity is None:
            return None
        parts = urlsplit(config.url)
        return self.clients.identity.token(config.audience or f"{parts.scheme}://{parts.netloc}")

    def _request(self, config: HttpRequestConfig, work: Work, token: str | None) -> Request:
        values = {**work.values, "attempt": str(work.attempt)}
        url = _filled_url(config.url, values)
        body = None if config.body is None else json.dumps(filled_json(config.body, values)).encode()
        headers = _own_headers(config, work, token)
        given = {name: self._header(name, value, values) for name, value in config.headers.items()}
        known = {name.lower() for name in given}
        return Request(
            config.method,
            url,
            given | {name: value for name, value in headers.items() if name.lower() not in known},
            body,
            config.request_timeout,
        )

    def _header(self, name: str, value: str | HeaderSecret, values: Mapping[str, Value]) -> str:
        if isinstance(value, HeaderSecret):
            secret = self.clients.secrets.value(value.secret).strip()
            # The service may repeat a token without the word before it.
            hide(secret.split()[-1] if secret else "")
            text = value.prefix + secret
        else:
            text = filled_text(value, values).strip()
        if not re.fullmatch(r"[\x20-\x7e\t]*", text):
            raise PermanentFailure(f"the header {name} can have printable ASCII characters only")
        return text


def _filled_url(template: str, values: Mapping[str, Value]) -> str:
    url = filled_text(template, values, lambda value: quote(value, safe=""))
    if {".", ".."} & set(urlsplit(url).path.split("/")):
        # Encoding does not help: every client and server takes %2E for a dot.
        raise PermanentFailure(f"{url.partition('?')[0]} leads to another path; no part of it may be '.' or '..'")
    return url


def _own_headers(config: HttpRequestConfig, work: Work, token: str | None) -> dict[str, str]:
    headers = {"User-Agent": "cloud-accelerator"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if config.body is not None:
        headers["Content-Type"] = "application/json"
    if config.method not in READING:
        headers[IDEMPOTENCY_KEY] = header_key(work)
    if config.wait_for_completion:
        headers[COMPLETION] = json.dumps(_completion(work))
    return headers


def _completion(work: Work) -> dict[str, Any]:
    """The completion message but for the status that the service puts into it."""
    return {
        "trigger_type": "task",
        "workflow": work.workflow,
        "task_name": work.task,
        "batch_id": work.batch_id,
        "attempt": work.attempt,
        **({} if work.element is None else {"element": work.element}),
    }


def _judged(config: HttpRequestConfig, request: Request, response: Response) -> Progress:
    shown = _shown(response)
    if config.expects(response.status):
        details = {"status": response.status, "response": shown}
        if config.wait_for_completion:
            return AwaitsCompletion()
        return Finished(details, returned=Returned(_result(response)))
    pause = _retry_after(response.headers.get("Retry-After"))
    if response.status in _LATER and pause is not None:
        return GoesOn(_REFUSED, pause)
    said = f"{request} was answered with {response.status}"
    if response.status in _UNKNOWN and not config.may_repeat:
        return _unknown(config, said)
    raise _failure(said, response, shown)


def _failure(said: str, response: Response, shown: Any) -> PassingFailure | PermanentFailure:
    details = {"status": response.status, "response": shown}
    if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
        there = redacted(response.headers.get("Location", "nowhere"))[:_TEXT_CHARACTERS]
        return PermanentFailure(f"{said}; it points to {there}, which must be the url, as it is not followed", details)
    text = shown if isinstance(shown, str) else json.dumps(shown)
    said += f": {text[:_TEXT_CHARACTERS]}" if text else ""
    is_passing = response.status in _PASSING or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return (PassingFailure if is_passing else PermanentFailure)(said, details)


def _unknown(config: HttpRequestConfig, why: str) -> AwaitsCompletion:
    if config.wait_for_completion:
        # If the service has the request, it will say so; if not, the attempt times out.
        return AwaitsCompletion()
    raise PermanentFailure(
        f"outcome unknown: {why}. Look at the other side whether it was done: mark the task as a success, or run it "
        "again"
    )


def _result(response: Response) -> dict[str, Any]:
    """What the tasks below get of the answer."""
    headers = {name.lower(): redacted(value) for name, value in response.headers.items() if name.lower() in _TOLD}
    return {"status": response.status, "headers": headers, "response": _shown(response, _RESULT_CHARACTERS)}


def _shown(response: Response, most: int = _JSON_CHARACTERS) -> Any:
    """What is kept of the answer: JSON that is not too long, else the beginning of the text.

    Secrets are taken out before anything is cut, so that no part of one is left.
    """
    try:
        value = redacted(json.loads(response.text, parse_constant=str)) if response.is_whole else None
        again = json.dumps(value)
    except (ValueError, RecursionError):
        value = None
    if value is None:
        return redacted(response.text)[:_TEXT_CHARACTERS]
    return value if len(again) <= most else again[:_TEXT_CHARACTERS]


def _retry_after(header: str | None) -> float | None:
    """Seconds from now: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after."""
    if header is None:
        return None
    if re.fullmatch(r"\d{1,10}", header.strip()):
        seconds = float(header)
    else:
        try:
            at = parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
