from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from run.logs import configure_logging, log_context, trace_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield
    root.handlers, root.level = before


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(stream: io.StringIO, level: str = "INFO") -> logging.Logger:
    configure_logging(SimpleNamespace(log_level=level), stream)
    return logging.getLogger("test")


def test_a_line_has_the_keys_of_cloud_logging_and_the_fields_that_it_was_given() -> None:
    stream = io.StringIO()
    logger = configured(stream)

    with log_context(trace=TRACE, message_id="17", batch=None):
        logger.warning("Task %s failed", "load", extra={"task": "load", "batch": "2024-03", "workflow": "profit"})

    (line,) = written(stream)
    moment = datetime.fromisoformat(line.pop("time"))
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)
    assert line == {
        "severity": "WARNING",
        "message": "Task load failed",
        "logger": "test",
        "task": "load",
        "batch": "2024-03",
        "workflow": "profit",
        "message_id": "17",
        "logging.googleapis.com/trace": TRACE,
    }


def test_a_context_ends_with_its_block() -> None:
    stream = io.StringIO()
    logger = configured(stream)

    with log_context(message_id="1"):
        with log_context(task="load"):
            logger.info("inner")
        logger.info("outer")
    logger.info("outside")

    fields = [(line.get("message_id"), line.get("task")) for line in written(stream)]
    assert fields == [("1", "load"), ("1", None), (None, None)]


def test_a_traceback_is_part_of_the_message_of_one_line() -> None:
    stream = io.StringIO()
    try:
        int("ran out of sugar")
    except ValueError:
        configured(stream).exception("Baking failed")

    (line,) = written(stream)
    assert line["severity"] == "ERROR"
    assert line["message"].startswith("Baking failed\nTraceback (most recent call last):\n")
    assert line["message"].endswith("'ran out of sugar'")


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    logger = configured(stream, "WARNING")
    logger.info("quiet")
    logger.warning("loud")

    assert [line["message"] for line in written(stream)] == ["loud"]


def test_a_person_at_a_terminal_reads_text() -> None:
    stream = Terminal()
    configured(stream).info("Task finished", extra={"task": "load"})

    assert stream.getvalue().endswith("INFO    Task finished task=load\n")


def test_gunicorns_own_lines_take_the_same_form() -> None:
    stream = io.StringIO()
    gunicorn = logging.getLogger("gunicorn.error")
    gunicorn.handlers, gunicorn.propagate = [logging.NullHandler()], False
    configured(stream)
    gunicorn.warning("Worker exiting")

    assert [line["message"] for line in written(stream)] == ["Worker exiting"]


@pytest.mark.parametrize(
    ("traceparent", "cloud", "trace"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", None, TRACE),
        (None, f"{TRACE}/123;o=1", TRACE),
        ("rubbish", f"{TRACE}", TRACE),
        ("rubbish", "rubbish", None),
        (None, None, None),
    ],
)
def test_the_trace_of_a_request_is_found(traceparent: str | None, cloud: str | None, trace: str | None) -> None:
    assert trace_of(traceparent, cloud) == trace
