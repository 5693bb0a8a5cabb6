from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest
import requests

from tests.local_parts import eventually, pushes_kept_in, require_pubsub_emulator
from tests.processes import is_alive

ROOT = Path(__file__).resolve().parents[2]
Holder = subprocess.Popen[str]


@contextmanager
def holding(folder: Path, delivery: str, environment: Mapping[str, str] | None = None) -> Iterator[Holder]:
    command = [sys.executable, "-m", "tests.local.holding", str(folder), delivery]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as holder:
        try:
            yield holder
        finally:
            holder.kill()


def read_until_ready(lines: IO[str]) -> tuple[list[str], dict[str, str]]:
    said: list[str] = []
    for line in lines:
        word, _, environment = line.partition(" ")
        if word == "ready":
            return said, json.loads(environment)
        said.append(line)
    return pytest.fail(f"the stack ended before it was ready and said: {said}")


def close_input(holder: Holder) -> None:
    assert holder.stdin is not None
    holder.stdin.close()


@pytest.mark.parametrize(
    ("end", "exit_status"),
    [
        (close_input, 0),
        (lambda holder: holder.send_signal(signal.SIGINT), 130),
        (lambda holder: holder.send_signal(signal.SIGTERM), 143),
        (lambda holder: holder.kill(), -signal.SIGKILL),
    ],
    ids=["exit", "SIGINT", "SIGTERM", "SIGKILL"],
)
def test_no_process_is_left_behind(tmp_path: Path, end: Callable[[Holder], None], exit_status: int) -> None:
    with holding(tmp_path, "auto") as holder:
        assert holder.stdout is not None
        read_until_ready(holder.stdout)
        started = psutil.Process(holder.pid).children(recursive=True)
        names = " ".join(" ".join(process.cmdline()) for process in started)
        assert all(part in names for part in ("postgres", "gunicorn", "storage_process", "bigquery_process"))
        end(holder)
        assert holder.wait(30) == exit_status
        eventually(lambda: not any(map(is_alive, started)), "the end of all processes")


def test_a_dropped_file_and_the_sweep_timer_reach_the_service(tmp_path: Path) -> None:
    require_pubsub_emulator()
    with holding(tmp_path, "auto") as holder:
        assert holder.stdout is not None
        said, environment = read_until_ready(holder.stdout)
        assert any(line.startswith("Pub/Sub: the emulator at") for line in said)
        assert environment["LOOPBACK_URL"] == ""
        expect_file_and_sweep(environment)


def test_without_java_the_stack_says_so_and_delivers_by_loopback(tmp_path: Path) -> None:
    with holding(tmp_path / "stack", "auto", {**os.environ, "PATH": str(tmp_path)}) as holder:
        assert holder.stdout is not None
        said, environment = read_until_ready(holder.stdout)
        assert "Pub/Sub: loop-back delivery, because no Java was found on PATH; install a JRE, 17 or later\n" in said
        assert environment["PUBSUB_EMULATOR_HOST"] == ""
        assert environment["LOOPBACK_URL"].startswith("http://127.0.0.1:")
        expect_file_and_sweep(environment)


def expect_file_and_sweep(environment: Mapping[str, str]) -> None:
    url = f"{environment['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/{environment['LANDING_BUCKET']}/o"
    requests.post(url, params={"uploadType": "media", "name": "a b/ü.csv"}, data=b"1", timeout=5).raise_for_status()

    def subscriptions_and_objects() -> set[tuple[str, str]]:
        pushes = pushes_kept_in(Path(environment["PUSHES"]))
        return {(push["subscription"], push["message"]["attributes"].get("objectId", "")) for push in pushes}

    expected = {
        ("projects/local/subscriptions/cloud-accelerator-push", "a b/ü.csv"),
        ("projects/local/subscriptions/cloud-accelerator-sweep-push", ""),
    }
    eventually(lambda: subscriptions_and_objects() >= expected, "the file and the sweep")
