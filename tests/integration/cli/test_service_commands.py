from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import requests
from sqlalchemy import make_url

from run.handlers.sweep import COUNTED
from run.local.ports import ReservedPort
from run.local.postgres import Postgres
from tests.integration.cli.conftest import ROOT, CommandLine
from tests.integration.cli.workflow_files import NUMBERED
from tests.local_parts import eventually


@pytest.fixture
def empty(cli: CommandLine, postgres: Postgres) -> CommandLine:
    """The command line on a database without tables."""
    name = f"empty_{os.getpid()}_{time.monotonic_ns()}"
    cli.environment["DATABASE_URL"] = postgres.create_database(name)
    return cli


def test_migrate_says_what_it_did(empty: CommandLine) -> None:
    first = empty.good("migrate")
    revision = first.split()[5]
    assert first == f"The database is at revision {revision} now; it was empty.\n"
    assert empty.good("migrate") == f"Nothing to do: the database is at revision {revision}.\n"
    assert empty.json("workflow", "list") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("workflow", "list"),
        ("batch", "list"),
        ("file", "list"),
        ("rejected", "list"),
        ("sweep",),
        ("batch", "start", "w"),
    ],
)
def test_without_tables_a_command_says_how_to_make_them(empty: CommandLine, arguments: tuple[str, ...]) -> None:
    assert empty.bad(*arguments) == "the database is not migrated: run python -m run migrate\n"


@pytest.mark.parametrize("arguments", [("workflow", "list"), ("batch", "start", "w"), ("migrate",), ("sweep",)])
def test_a_database_that_is_down_is_one_line(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    with ReservedPort() as port:
        cli.environment["DATABASE_URL"] = f"postgresql://user:secret@127.0.0.1:{port.number}/none"
        said = cli.bad(*arguments)
    assert said.startswith("the database does not answer: ")
    assert f'"127.0.0.1", port {port.number} failed: Connection refused' in said
    assert said.count("\n") == 1
    assert "secret" not in said


def test_a_database_that_is_not_there_is_named(cli: CommandLine) -> None:
    url = make_url(cli.environment["DATABASE_URL"]).set(database="elsewhere")
    cli.environment["DATABASE_URL"] = url.render_as_string(hide_password=False)
    said = cli.bad("workflow", "list")
    assert said.startswith("the database does not answer: ")
    assert 'database "elsewhere" does not exist' in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("arguments", [("workflow", "list"), ("migrate",), ("config",)])
def test_a_port_that_is_no_number_is_said_and_nothing_is_tried(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    cli.environment["DATABASE_URL"] = "postgresql://user:secret@host:port/db"
    said = cli.bad(*arguments)
    assert "DATABASE_URL: the port must be a number" in said
    assert "secret" not in said


def test_config_shows_every_setting_without_its_secrets(cli: CommandLine) -> None:
    cli.environment["DATABASE_URL"] = "postgresql://user:pa:ss%40w?rd@host/db?sslmode=require&sslpassword=geheim"
    shown = cli.json("config")
    assert shown["DATABASE_URL"] == "postgresql://user:***@host/db?sslmode=require&sslpassword=***"
    assert shown["LANDING_BUCKET"] == "landing"
    assert shown["PUSH_AUDIENCE"] is None
    printed = cli.good("config")
    assert all(f"\n{name}" in f"\n{printed}" for name in shown)
    assert "pa:ss" not in printed
    assert "geheim" not in printed


def test_config_says_why_serve_would_not_start(cli: CommandLine) -> None:
    cli.environment |= {"LOOPBACK_URL": "http://127.0.0.1:1/", "K_SERVICE": "accelerator"}
    assert "serve would not start: LOOPBACK_URL: is for a local service" in cli("config").stderr
    cli.environment |= {"LOOPBACK_URL": "", "K_SERVICE": ""}
    result = cli("config", "--json")
    assert (result.exit_code, json.loads(result.stdout)["LOOPBACK_URL"]) == (0, None)
    assert "serve would not start: PUSH_SERVICE_ACCOUNT: missing" in result.stderr


def test_config_names_a_variable_that_is_nearly_a_setting(cli: CommandLine) -> None:
    cli.environment["ARCHIVE_BUKET"] = "kept"
    result = cli("config", "--json")
    assert json.loads(result.stdout)["ARCHIVE_BUCKET"] == "landing"
    assert "ARCHIVE_BUKET: nothing reads it; did you mean ARCHIVE_BUCKET?" in result.stderr


@pytest.mark.parametrize("command", ["config", "sweep", "serve"])
def test_an_environment_that_cannot_be_used_is_said_in_full(cli: CommandLine, command: str) -> None:
    cli.environment.update(DATABASE_URL="mysql://x", LANDING_BUCKET="")
    said = cli.bad(command)
    assert "DATABASE_URL: must be an address like postgresql://" in said
    assert "LANDING_BUCKET: missing" in said


def test_an_unknown_command_is_wrong_usage(cli: CommandLine) -> None:
    assert "No such command 'sing'" in cli.bad("sing", status=2)


def test_sweep_publishes_what_is_overdue(cli: CommandLine) -> None:
    cli.apply(NUMBERED)
    cli.good("batch", "start", "numbered")
    cli.pushes.messages.clear()
    others = (
        "retry: 0, poll: 0, handed back: 0, completion: 0, cancellation: 0, deadline: 0, quiet: 0, notification: 0, "
        "put off: 0"
    )
    assert cli.good("sweep") == f"overdue messages: 0, dead attempts: 0, {others}\n"
    cli.room.change("UPDATE batch_task SET publish_after = now() - interval '1 s'")
    assert cli.good("sweep") == f"overdue messages: 1, dead attempts: 0, {others}\n"
    assert [message["trigger_type"] for message in cli.pushes.messages] == ["task"]


def test_sweep_counts_everything_that_it_did_as_json(cli: CommandLine) -> None:
    cli.apply(NUMBERED)
    cli.good("batch", "start", "numbered")
    cli.room.change("UPDATE batch_task SET publish_after = now() - interval '1 s'")
    assert cli.json("sweep") == {
        "overdue_messages": 1,
        "dead_attempts": 0,
        "retry": 0,
        "poll": 0,
        "handed_back": 0,
        "completion": 0,
        "cancellation": 0,
        "deadline": 0,
        "quiet": 0,
        "notification": 0,
        "put_off": 0,
    }


def test_the_document_names_everything_that_a_sweep_counts() -> None:
    said = (ROOT / "docs" / "commands.md").read_text().partition("\n### sweep\n")[2].partition("\n## ")[0]
    [example] = [line for line in said.splitlines() if line.startswith("overdue messages")]
    assert [pair.partition(":")[0].replace(" ", "_") for pair in example.split(", ")] == list(COUNTED)
    assert all(f"`{name}`" in said for name in COUNTED)


def test_help_answers_at_once() -> None:
    def seconds() -> float:
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "run", "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - started

    assert min(seconds() for _ in range(5)) < 0.5


def test_serve_is_gunicorn_on_the_port_and_ends_with_sigterm(cli: CommandLine) -> None:
    with ReservedPort() as port:
        number = port.number
    cli.environment["PORT"] = str(number)
    with cli.process("serve", "--threads", "2", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as serving:

        def is_ready() -> bool:
            assert serving.poll() is None
            try:
                return requests.get(f"http://127.0.0.1:{number}/ready", timeout=5).ok
            except requests.RequestException:
                return False

        try:
            eventually(is_ready, "the service", seconds=60)
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(10) == 0
        finally:
            serving.kill()


def test_dev_runs_everything_until_ctrl_c(cli: CommandLine) -> None:
    folder = cli.folder / "a folder"
    with cli.process("dev", "--folder", str(folder), "--delivery", "loopback") as developing:
        try:
            assert developing.stdout is not None
            said = "".join(iter(developing.stdout.readline, "Ctrl-C ends everything.\n"))
            assert f"  source '{folder}/environment'\n" in said
            command = f"source '{folder}/environment' && {sys.executable} -m run batch list --json"
            listed = subprocess.run(["bash", "-c", command], cwd=ROOT, check=True, capture_output=True, text=True)
            assert json.loads(listed.stdout) == []
            developing.send_signal(signal.SIGINT)
            assert developing.wait(30) == 0
        finally:
            developing.terminate()
    assert not (folder / "environment").exists()
