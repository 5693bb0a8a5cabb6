"""A message as Slack, and whatever takes the same webhooks, shows it: https://docs.slack.dev/reference/block-kit/blocks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from run.notifications.failure import FailedTask, FailureReport
from run.notifications.message import Message
from run.notifications.outcome import DeadlineReport, SuccessReport
from run.notifications.rendering import some
from run.redaction import redacted

#: The most that Slack takes of a header and of a section, in characters, and of tasks that anybody reads there.
_HEADER, _SECTION, _MOST_TASKS = 150, 3000, 10
_LONGEST_ERROR, _LONGEST_NAMES, _MOST_NAMES = 1000, 800, 20


def body_of(message: Message) -> bytes:
    """What is posted; the same bytes for every try."""
    subject, report = message.rendered.subject, message.report
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(subject, _HEADER)}},
        _section(f"{report.place}, {report.at:%Y-%m-%d %H:%M:%S} UTC"),
        *(_section(text) for text in _texts(report) if text),
    ]
    return json.dumps(redacted({"text": _escaped(subject), "blocks": blocks})).encode()


def _texts(report: FailureReport | SuccessReport | DeadlineReport) -> Iterator[str]:
    match report:
        case FailureReport():
            yield from _of_failure(report)
        case SuccessReport():
            lines = [f"{task.name}: {task.status}{f', {task.took}' if task.took else ''}" for task in report.tasks]
            yield _cut("\n".join(lines[:_MOST_TASKS] + _more(len(lines) + report.more)), _SECTION)
        case DeadlineReport():
            lines = [f"{task.name} ({task.status}) {'; '.join(task.waits)}" for task in report.tasks]
            yield _cut("\n".join(lines[:_MOST_TASKS] + _more(len(lines) + report.more)), _SECTION)
    if not isinstance(report, SuccessReport) and report.command:
        yield report.command


def _of_failure(report: FailureReport) -> Iterator[str]:
    for task in report.failed[:_MOST_TASKS]:
        yield _failed(task)
    too = [*(task.name for task in report.failed[_MOST_TASKS:]), *report.failed_too]
    for heading, names in (("Failed too", too), ("Cancelled", report.cancelled)):
        if names:
            yield f"{heading}: {_names(names)}"
    if report.not_executed:
        yield f"Could not be executed: {_names(report.not_executed)}"


def _failed(task: FailedTask) -> str:
    lines = [f"{task.name} ({task.work})", _cut(task.error, _LONGEST_ERROR)]
    if task.not_executed:
        lines.append(f"Could not be executed because of it: {_names(task.not_executed)}")
    return "\n".join(lines)


def _names(names: Any) -> str:
    return _cut(some(list(names), _MOST_NAMES), _LONGEST_NAMES)


def _more(count: int) -> list[str]:
    return [f"and {count - _MOST_TASKS:,} more"] if count > _MOST_TASKS else []


def _section(text: str) -> dict[str, Any]:
    # Plain text: nothing that is quoted can be markup, a mention of a channel, or a link.
    return {"type": "section", "text": {"type": "plain_text", "text": _cut(text, _SECTION), "emoji": False}}


def _escaped(text: str) -> str:
    # https://docs.slack.dev/messaging/formatting-message-text#escaping
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
