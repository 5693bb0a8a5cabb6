"""What Slack is told stays within what Slack takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from run.notifications import slack
from run.notifications.failure import FailedTask, FailureReport
from run.notifications.message import Message
from run.notifications.outcome import DeadlineReport, DoneTask, SuccessReport, WaitingTask
from run.notifications.rendering import Report

AT = datetime(2024, 4, 1, 6, 30, tzinfo=UTC)
LONG = "x" * 5000
MANY = 500


def posted(report: Report) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(
        slack.body_of(Message("key", "failure", "cake", "2024-03", None, "ERROR", 1, report))
    )
    return body


@pytest.mark.parametrize(
    "report",
    [
        FailureReport(
            LONG, [FailedTask(LONG, LONG, LONG, not_executed=[LONG] * MANY)] * MANY, AT, LONG, LONG,
            failed_too=[LONG] * MANY, cancelled=[LONG] * MANY, not_executed=[LONG] * MANY,
        ),
        SuccessReport(LONG, LONG, AT, [DoneTask(LONG, LONG, LONG)] * MANY),
        DeadlineReport(LONG, LONG, AT, [WaitingTask(LONG, LONG, [LONG])] * MANY, command=LONG),
    ],
    ids=["failure", "success", "deadline"],
)  # fmt: skip
def test_nothing_is_longer_than_slack_takes(report: Report) -> None:
    # https://docs.slack.dev/reference/block-kit/blocks
    header, *sections = posted(report)["blocks"]
    assert len(header["text"]["text"]) <= 150
    assert 1 <= len(sections) <= 49
    assert all(1 <= len(section["text"]["text"]) <= 3000 for section in sections)


def test_a_long_list_says_how_many_more_there_are() -> None:
    many = posted(SuccessReport("t", "p", AT, [DoneTask("a", "kind x", "SUCCESS", "1.0 s")] * 12, more=3))
    assert many["blocks"][-1]["text"]["text"].endswith("a: SUCCESS, 1.0 s\nand 5 more")
    few = posted(SuccessReport("t", "p", AT, [DoneTask("a", "kind x", "SUCCESS")] * 2))
    assert few["blocks"][-1]["text"]["text"] == "a: SUCCESS\na: SUCCESS"


def test_the_text_of_a_notification_is_escaped_as_slack_wants_it() -> None:
    assert posted(SuccessReport("<!here> & more", "p", AT, []))["text"] == "&lt;!here&gt; &amp; more"
