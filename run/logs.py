"""Log lines: JSON for Cloud Logging, plain text for a person at a terminal.

The JSON's keys are those of https://docs.cloud.google.com/logging/docs/structured-logging. A line may carry the fields
in FIELDS, given with `extra=` or by `log_context`. Bodies and tokens are never logged.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Protocol, TextIO

from run.redaction import redacted

#: What a line may say beside its message.
FIELDS = ("workflow", "batch", "task", "element", "attempt", "message_id", "message_kind", "status", "duration_ms")
_as_json = json.JSONEncoder(default=str).encode
_TRACE_KEY = "logging.googleapis.com/trace"

_context: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=MappingProxyType({}))


class LogSettings(Protocol):
    """What the settings say about logging."""

    @property
    def log_level(self) -> str: ...


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Put fields (and `trace`) on every line that this thread logs inside; those that are None are left out."""
    token = _context.set({**_context.get(), **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _context.reset(token)


def trace_of(traceparent: str | None, cloud_trace_context: str | None) -> str | None:
    """Return the trace id (32 hex digits) in a request's `traceparent`, else in its `X-Cloud-Trace-Context`."""
    parent = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", traceparent or "")
    if parent:
        return parent[1]
    cloud = re.match(r"([0-9a-f]{32})(/|$)", cloud_trace_context or "")
    return cloud[1] if cloud else None


def configure_logging(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send all log lines to `stream` (standard output unless given): text when it is a terminal, else JSON."""
    stream = stream or sys.stdout
    handler = logging.StreamHandler(stream)
    handler.addFilter(_add_context)
    handler.setFormatter(_TextFormatter() if stream.isatty() else _CloudFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(str(settings.log_level))
    for name in ("gunicorn.error", "werkzeug"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True


def _add_context(record: logging.LogRecord) -> bool:
    for name, value in _context.get().items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


class _CloudFormatter(logging.Formatter):
    """Error Reporting wants a traceback inside the message, where the plain formatter puts it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "severity": record.levelname,
            "message": redacted(super().format(record)),
            "time": _time(record).isoformat(),
            "logger": record.name,
            **redacted(_fields(record)),
        }
        trace = getattr(record, "trace", None)
        if trace is not None:
            line[_TRACE_KEY] = trace
        return _as_json(line)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        moment = _time(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        first, *rest = super().format(record).split("\n")
        return str(redacted("\n".join([f"{moment} {record.levelname:<7} {first}{fields}", *rest])))
