from __future__ import annotations

import pytest

from tests.integration.cli.conftest import CommandLine
from tests.servers.hooks import HookServer
from tests.servers.wire import Answered

TELLING = """
workflow: cake
batch: "{{period}}"
notify:
  - webhook: {url}/hook
    on: [failure, success]
  - email: [ann@example.com, bob@example.com]
tasks:
  bake: {{kind: external}}
"""


def fail(cli: CommandLine, hooks: HookServer) -> None:
    """A batch that has failed, and a sweep that has told it to whoever takes it; there is no mail server."""
    cli.apply(TELLING.format(url=hooks.url))
    cli.good("batch", "start", "cake", "2024-03")
    cli.good("task", "mark", "cake", "2024-03", "bake", "--error", "--reason", "burnt")
    assert "notification: 1" in cli("sweep").stdout


def test_what_was_told_and_what_was_not_is_listed_and_shown_with_its_batch(cli: CommandLine) -> None:
    assert cli("notification", "list").stderr == "Nobody was to be told anything yet.\n"
    with HookServer() as hooks:
        fail(cli, hooks)
    mail, hook = cli.json("notification", "list")
    assert (hook["by"], hook["status"], hook["event"], hook["outcome"]) == ("webhook", "SENT", "failure", 1)
    assert hook["sent_at"].endswith("Z")
    assert (mail["by"], mail["status"], mail["tries"]) == ("email ann@example.com, bob@example.com", "DUE", 1)
    assert "SMTP_HOST" in mail["problem"]
    listed = cli.good("notification", "list").splitlines()
    assert "failure" in listed[1]
    assert "tried 1x, next at " in listed[1]
    assert cli.json("batch", "show", "cake", "2024-03")["notifications"] == [hook, mail]
    shown = cli.good("batch", "show", "cake", "2024-03")
    assert "\nNotifications\nfailure by webhook: SENT, " in shown
    assert "failure by email ann@example.com, bob@example.com: DUE, tried 1x, next at " in shown


def test_a_person_has_one_sent_again_which_is_written_down(cli: CommandLine) -> None:
    with HookServer() as hooks:
        fail(cli, hooks)
        hook = str(cli.json("notification", "list")[1]["notification_id"])
        said = cli.good("notification", "send", hook, "--actor", "eve")
        assert said == f"notification {hook} is sent with the next sweep\n"
        cli.good("sweep")
        assert len({one.headers["idempotency-key"] for one in hooks.requests("POST")}) == 1
        assert len(hooks.asked) == 2
    audit = cli.json("batch", "history", "cake", "2024-03")["audit"]
    assert [(row["actor"], row["action"]) for row in audit if row["actor"] == "eve"] == [("eve", "send")]
    assert cli.bad("notification", "send", "4711") == "there is no notification 4711\n"


def test_a_sweep_that_could_not_tell_somebody_says_so(cli: CommandLine) -> None:
    with HookServer() as hooks:
        hooks.fails["POST /hook"] = [Answered(500, "broken")]
        cli.apply(TELLING.format(url=hooks.url))
        cli.good("batch", "start", "cake", "2024-03")
        cli.good("task", "mark", "cake", "2024-03", "bake", "--error")
        result = cli("sweep")
    assert result.exit_code == 1
    assert "notification: 0" in result.stdout
    assert "put off: 2" in result.stdout


@pytest.mark.parametrize(("host", "warned"), [("", True), ("smtp.example.com", False)])
def test_applying_a_workflow_that_wants_mail_warns_where_no_server_is_named(
    cli: CommandLine, host: str, warned: bool
) -> None:
    cli.environment["SMTP_HOST"] = host
    result = cli("workflow", "apply", cli.write("w.yaml", TELLING.format(url="https://example.com")))
    assert result.exit_code == 0
    assert ("warning: cake tells people by mail, and SMTP_HOST is not set" in result.stderr) is warned
    assert result.stdout == "cake: version 1\n"


def test_the_password_of_the_mail_server_is_not_shown(cli: CommandLine) -> None:
    cli.environment |= {
        "SMTP_HOST": "smtp.example.com",
        "SMTP_USER": "mailer",
        "SMTP_PASSWORD": "pass-of-the-shown-mailer",
        "SMTP_SENDER": "a@example.com",
    }
    assert "pass-of-the-shown-mailer" not in cli.good("config") + cli.good("config", "--json")
    assert cli.json("config")["SMTP_HOST"] == "smtp.example.com"
