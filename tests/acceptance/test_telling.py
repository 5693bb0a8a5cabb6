"""What comes in through the door ends with people who know of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service_room import ServiceRoom
from tests.acceptance.test_completed import completed
from tests.acceptance.test_door import START, applied
from tests.servers.mail import HOST, MailServer

WORKFLOW = """
workflow: chain
batch: "{period}"
notify:
  - email: [ann@example.com, bob@example.com]
tasks:
  model: {kind: external, timeout: 2h}
  report: {kind: bigquery_query, needs: [model], sql: SELECT 1}
"""


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def more_settings(mail: MailServer) -> dict[str, str]:
    return {
        "SMTP_HOST": HOST,
        "SMTP_PORT": str(mail.port),
        "SMTP_SECURITY": "none",
        "SMTP_SENDER": "chains@example.com",
    }


def test_an_outside_system_says_that_it_failed_and_one_mail_tells_both_of_them(
    service: ServiceRoom, mail: MailServer, tmp_path: Path
) -> None:
    room = applied(service, tmp_path, WORKFLOW)
    room.push(START)
    room.deliver()
    for _ in range(2):
        assert completed(room, status="ERROR", error="the model does not compile") == 204
    for _ in range(2):
        assert room.push({"trigger_type": "sweep"}) == 204
    [received] = mail.received
    assert received.recipients == ("ann@example.com", "bob@example.com")
    assert received.message["Subject"] == "Error in task model of chain 2024-03"
    text = received.part("plain")
    assert "the model does not compile" in text
    assert "Could not be executed because of it: report\n" in text
    assert room.rows("SELECT status FROM task_batch") == [("ERROR",)]
