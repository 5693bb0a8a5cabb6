"""A function whose worker dies runs again in the same attempt; one that is taken away runs on nowhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from database.sessions import Database
from run.kinds import child_process
from tests.engine_room import ME
from tests.faults.kill.real_parts import ROOT
from tests.function_room import FunctionRoom
from tests.local_parts import eventually
from tests.processes import is_alive, pids_in

FUNCTIONS = "tests.integration.functions.functions"


@pytest.fixture
def functions(database: Database) -> FunctionRoom:
    return FunctionRoom(database)


def start(functions: FunctionRoom, function: str, *args: str, **keys: Any) -> None:
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    functions.apply(f"""
        workflow: alone
        batch: "{{period}}"
        tasks: {{it: {{kind: python_function, function: "{FUNCTIONS}:{function}", args: {list(args)}{more}}}}}
    """)
    functions.engine.start(workflow="alone")


def worker(database_url: str) -> subprocess.Popen[bytes]:
    """A process of the service that lives the message of the task."""
    environment = {
        "DATABASE_URL": database_url,
        "GOOGLE_CLOUD_PROJECT": "local",
        "LANDING_BUCKET": "landing",
        "BIGQUERY_LOCATION": "EU",
        "LOOPBACK_URL": "http://127.0.0.1:9/",
        "FUNCTION_MODULES": "tests",
    }
    command = [sys.executable, "-m", "tests.faults.kill.worker", "alone", "2024-03", "it"]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment})


def killed_in_the_middle(database_url: str, pids: Path, *, functions_at_work: int) -> None:
    """Kill a worker while its function sleeps, and see that nothing of that is left."""
    with worker(database_url) as process:
        eventually(lambda: len(pids_in(pids)) == functions_at_work, "the function to run", seconds=40)
        process.kill()
    eventually(lambda: not any(map(is_alive, pids_in(pids))), "the function to be gone with its worker")


def test_a_function_whose_worker_was_killed_runs_again_in_the_same_attempt(
    functions: FunctionRoom, database_url: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    start(functions, "sleep_at_first", str(pids))
    killed_in_the_middle(database_url, pids, functions_at_work=1)
    functions.engine.pass_time(90)
    functions.engine.execute("it", workflow="alone")
    assert functions.engine.log("it") == [(1, "SUCCESS", None)]
    assert (functions.attempt("it")[3], len(pids_in(pids))) == ("not for long", 2)


def test_what_a_function_has_started_dies_with_the_worker_too(
    functions: FunctionRoom, database_url: str, tmp_path: Path
) -> None:
    start(functions, "sleep", str(tmp_path / "pids"))
    killed_in_the_middle(database_url, tmp_path / "pids", functions_at_work=2)


def test_a_function_that_must_not_be_repeated_is_not_and_its_outcome_is_unknown(
    functions: FunctionRoom, database_url: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    start(functions, "sleep_at_first", str(pids), repeatable="false", retries=3)
    killed_in_the_middle(database_url, pids, functions_at_work=1)
    functions.engine.pass_time(90)
    functions.engine.execute("it", workflow="alone")
    [(attempt, status, error)] = functions.engine.log("it")
    assert (attempt, status, len(pids_in(pids))) == (1, "ERROR", 1)
    assert error.startswith("outcome unknown: the worker that called it, or was about to, is gone.")


def test_a_function_that_kills_its_worker_each_time_ends_as_an_error(
    functions: FunctionRoom, database_url: str
) -> None:
    start(functions, "kill_the_worker", max_takeovers=2)
    ends = []
    for _ in range(3):
        with worker(database_url) as process:
            ends.append(process.wait(60))
        functions.engine.pass_time(90)
    assert ends == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert functions.engine.log("it") == [(1, "ERROR", "the worker died 2 times")]


def test_a_function_that_has_waited_for_its_turn_in_vain_was_not_called_and_is_later(
    functions: FunctionRoom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "PATIENCE_SECONDS", 0.05)
    pids = tmp_path / "pids"
    start(functions, "sleep", str(pids), "0", repeatable="false")
    with ExitStack() as others:
        for _ in range(child_process.MOST_AT_ONCE):
            others.enter_context(child_process._turn())
        functions.engine.deliver_all()
        assert functions.engine.statuses(workflow="alone") == {"it": "PROCESSING"}
    assert not pids.exists()
    functions.engine.pass_time(60)
    functions.engine.sweep()
    functions.engine.deliver_all()
    assert functions.engine.log("it") == [(1, "SUCCESS", None)]


@pytest.mark.parametrize("repeatable", ["true", "false"])
def test_a_function_whose_time_is_over_is_killed_and_what_it_said_is_kept(
    functions: FunctionRoom, tmp_path: Path, repeatable: str
) -> None:
    pids = tmp_path / "pids"
    start(functions, "sleep", str(pids), timeout="4s", repeatable=repeatable)
    functions.engine.deliver_all()
    status, error, details, _ = functions.attempt("it")
    assert (status, details["output"]) == ("ERROR", "going to sleep\n")
    assert error is not None
    assert error.startswith("timed out after 4 s" if repeatable == "true" else "outcome unknown: timed out after 4 s.")
    assert len(pids_in(pids)) == 2
    eventually(lambda: not any(map(is_alive, pids_in(pids))), "the function to be gone")


def test_cancelling_kills_the_function_and_its_end_is_confirmed_only_then(
    functions: FunctionRoom, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    start(functions, "sleep", str(pids), lease_seconds=10)
    at_work = threading.Thread(target=functions.engine.deliver_all)
    at_work.start()
    eventually(lambda: len(pids_in(pids)) == 2, "the function to run")
    functions.engine.moves.cancel_batch("alone", "2024-03", ME)
    eventually(lambda: not any(map(is_alive, pids_in(pids))), "the function to be gone")
    at_work.join(30)
    functions.engine.pass_time(3600)
    functions.engine.sweep()
    assert functions.engine.statuses(workflow="alone") == {"it": "CANCELLED"}
    assert functions.engine.rows("SELECT count(*) FROM cancellation") == [(0,)]
    assert [status for _, status, _ in functions.engine.log("it")] == ["CANCELLED"]
