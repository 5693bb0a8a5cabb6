"""The keys of an `http_request` task, and what may be wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from run.clients.http import forbidden_host
from run.kinds.bigquery_names import strict_template_problems
from run.kinds.kind import KindConfig
from run.kinds.secret_name import SecretName
from run.workflows.durations import TimeLimit, written
from run.workflows.scope import Scope
from run.workflows.templates import NameType, template_problems, texts_in

#: Asked again, they do no more than asked once: https://www.rfc-editor.org/rfc/rfc9110#name-idempotent-methods
_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
READING = frozenset({"GET", "HEAD"})
IDEMPOTENCY_KEY = "Idempotency-Key"
COMPLETION = "Cloud-Accelerator-Completion"
#: What the service or the connection itself says.
_OURS = {"idempotency-key", "cloud-accelerator-completion", "host", "content-length", "transfer-encoding", "connection"}
#: What stands in these is always a secret.
_SECRET = {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key", "x-auth-token"}
#: A push request, in which a worker waits for the answer, lasts 600 s at most.
_LONGEST_SECONDS = 480
#: What templates of this kind may say beside the names that every task knows.
_OWN_NAMES = {"attempt": NameType.TEXT}
_DIGITS, _CLASS = re.compile(r"[1-5]\d\d"), re.compile(r"([1-5])xx")


class HeaderSecret(SecretName):
    """`{secret: NAME}`, with what stands before it in the header, such as `Bearer `."""

    prefix: str = ""


def _text_or_secret(value: Any) -> Any:
    if not isinstance(value, str | Mapping | HeaderSecret):
        # It may be a secret, such as a key of digits, so it is not repeated.
        raise ValueError("must be a text, in quotes if need be, or {secret: NAME}")  # noqa: TRY004 - pydantic's way
    return value


def _status_range(value: int | str) -> int | str:
    if _bounds(value) is None:
        raise ValueError(f"{value!r} is no status; write 200, 2xx or 200-299")
    return value


def _no_longer_than_a_push(seconds: int) -> int:
    if seconds > _LONGEST_SECONDS:
        raise ValueError(
            f"nobody can wait longer than {written(_LONGEST_SECONDS)} for an answer; let the service answer at once "
            "and say later that it is done (wait_for_completion)"
        )
    return seconds


class HttpRequestConfig(KindConfig):
    """What is asked, and which answer is right."""

    url: str
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[str, Annotated[str | HeaderSecret, BeforeValidator(_text_or_secret)]] = Field(default_factory=dict)
    body: Any = None
    expected_status: list[Annotated[int | str, AfterValidator(_status_range)]] = Field(["2xx"], min_length=1)
    identity: Literal["google"] | None = None
    audience: str | None = None
    repeatable: bool | None = None
    wait_for_completion: bool = False
    request_timeout: Annotated[TimeLimit, AfterValidator(_no_longer_than_a_push)] = 60

    @property
    def may_repeat(self) -> bool:
        """Whether the request may be sent again when nobody knows whether it has come through."""
        return self.method in _REPEATABLE if self.repeatable is None else self.repeatable

    def expects(self, status: int) -> bool:
        """Whether the answer with this status is the right one."""
        bounds = [_bounds(one) for one in self.expected_status]
        return any(one is not None and one[0] <= status <= one[1] for one in bounds)


def _bounds(value: int | str) -> tuple[int, int] | None:
    text = str(value)
    if found := _CLASS.fullmatch(text):
        return int(found[1]) * 100, int(found[1]) * 100 + 99
    first, _, last = text.partition("-")
    if _DIGITS.fullmatch(first) and _DIGITS.fullmatch(last or first):
        return int(first), int(last or first)
    return None


def config_problems(config: HttpRequestConfig, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) for what is wrong with this configuration in its workflow."""
    names = {**scope.names, **_OWN_NAMES}
    for reason in strict_template_problems(config.url, names):
        yield "url", reason
    parts = _split(config.url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        yield "url", f"{config.url!r:.200} is no address; write https://host/path"
    else:
        yield from _address_problems(config, parts)
    yield from _header_problems(config, names)
    for text in texts_in(config.body):
        for reason in template_problems(text, names):
            yield "body", reason
    if config.body is not None and config.method in READING:
        yield "body", f"a {config.method} request has none; use another method, or put it into the url"
    if config.audience is not None and config.identity is None:
        yield "audience", "is for identity: google only"


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        port = parts.port  # One that is none is found only when it is asked for.
    except ValueError:
        return None
    return None if port == 0 else parts


def _address_problems(config: HttpRequestConfig, parts: SplitResult) -> Iterator[tuple[str, str]]:
    host = parts.hostname or ""
    if "{" in parts.netloc:
        yield (
            "url",
            "the host must be written out; templates are for the path and the query, so that no value leads away",
        )
    if "@" in parts.netloc:
        yield "url", "names a user; name the secret in a header instead"
    if parts.fragment:
        yield "url", f"'#{parts.fragment}' is never sent; leave it out"
    if why := forbidden_host(host):
        yield "url", f"no request may go to {host}: {why}"
    if parts.scheme == "http" and _tells_secrets(config) and not _is_this_machine(host):
        yield "url", "secrets and identity tokens are sent over https:// only"


def _header_problems(config: HttpRequestConfig, names: Mapping[str, NameType]) -> Iterator[tuple[str, str]]:
    for name, value in config.headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            yield "headers", f"{name!r:.100} is no name of a header"
        elif name.lower() in _OURS:
            yield "headers", f"{name} is set by the service itself"
        elif name.lower() == "authorization" and config.identity is not None:
            yield "headers", "identity: google writes Authorization; leave out one of them"
        elif isinstance(value, str):
            if name.lower() in _SECRET:
                # What stands there may be the secret, so it is not repeated.
                yield "headers", f"{name}: name the secret as {{secret: NAME}} instead of writing it"
            for reason in template_problems(value, names):
                yield "headers", f"{name}: {reason}"


def _tells_secrets(config: HttpRequestConfig) -> bool:
    return config.identity is not None or any(isinstance(value, HeaderSecret) for value in config.headers.values())


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
