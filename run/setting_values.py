"""What the value of a setting may look like; ValueError says what would be right."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import Field

MOST_PORT = 65535
Port = Annotated[int, Field(ge=1, le=MOST_PORT)]

#: How SQLAlchemy reads an address; a user or a password with one of its signs is written with %.
_POSTGRES = re.compile(
    r"postgresql(\+psycopg2)?://([^:/@]*(:[^@]*)?@)?(\[[^\[\]/?@]+\]|[^\[\]:/?@,]*)(:(?P<port>[^/?@]*))?(/[^?]*)?(\?.*)?"
)


class LogLevel(StrEnum):
    """The least severe log line that is written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class PushAuth(StrEnum):
    """Who makes sure that a push request comes from Pub/Sub."""

    VERIFY = "verify"
    CLOUD_RUN = "cloud_run"
    NONE = "none"


def postgres_url(value: str) -> str:
    """An address of Postgres as SQLAlchemy takes it."""
    value = re.sub(r"^postgres://", "postgresql://", value)
    if not re.match(r"postgresql(\+psycopg2)?://", value):
        raise ValueError("must be an address like postgresql://user:password@host:5432/database")
    found = _POSTGRES.fullmatch(value)
    if found is None:
        raise ValueError("must be an address like postgresql://user:password@host:5432/database, with %40 for @ inside")
    if found["port"] is not None and not (found["port"].isdecimal() and 0 < int(found["port"]) <= MOST_PORT):
        raise ValueError("the port must be a number from 1 to 65535, as in postgresql://user@host:5432/database")
    return value


def topic_name(value: str) -> str:
    """A topic's name or path."""
    if not re.fullmatch(r"(projects/[^/\s]+/topics/)?[A-Za-z][A-Za-z0-9._~+%-]{2,254}", value):
        raise ValueError("must be a topic's name, or projects/PROJECT/topics/NAME")
    return value


def bucket_name(value: str) -> str:
    """The bare name of a bucket."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", value):
        raise ValueError("must be the bare name of a bucket, without gs:// or slashes")
    return value


def address(value: str) -> str:
    """An address of HTTP."""
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", value):
        raise ValueError("must be an address like http://127.0.0.1:8080")
    return value


def with_scheme(value: str) -> str:
    """The same address whether it says http:// or not, without a slash at its end."""
    return address(value if "://" in value else f"http://{value}").rstrip("/")


def without_scheme(value: str) -> str:
    """HOST:PORT of an address."""
    host = value.partition("://")[2] or value
    if not re.fullmatch(r"[^/\s]+:\d{1,5}/?", host):
        raise ValueError("must be HOST:PORT")
    return host.rstrip("/")


def module_names(value: object) -> tuple[str, ...]:
    """The names of Python modules in a text, with commas or spaces between; a list is taken as it is."""
    names = re.findall(r"[^\s,]+", value) if isinstance(value, str) else list(value)  # type: ignore[call-overload]
    for name in names:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
            raise ValueError("must be names of Python modules or packages, such as functions,acme.reports")
    return tuple(names)
