from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest

from run.local.demo import run_demo
from tests.local_parts import eventually
from tests.processes import is_alive

ROOT = Path(__file__).resolve().parents[2]
YEAR_SECONDS = 280
pytestmark = pytest.mark.timeout(YEAR_SECONDS + 20)

Demo = subprocess.Popen[str]


@contextmanager
def demo(folder: Path) -> Iterator[Demo]:
    """The demo as a newcomer starts it, its temporary folder inside of `folder`."""
    command = [sys.executable, "-m", "run", "demo", "--exit"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        # A shell starts its background jobs with SIGINT ignored, and Python would keep it so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def read_until(lines: IO[str] | None, beginning: str) -> list[str]:
    said: list[str] = []
    for line in lines or ():
        said.append(line)
        if line.startswith(beginning):
            return said
    return pytest.fail(f"no line begins with {beginning!r}: {said}")


def expect_nothing_left(processes: list[psutil.Process], folder: Path) -> None:
    assert processes, "no process was seen"
    eventually(lambda: not any(map(is_alive, processes)), "the end of all processes")
    assert list(folder.iterdir()) == []


def test_the_year_becomes_twelve_rows_that_agree_with_the_sources(tmp_path: Path) -> None:
    with demo(tmp_path) as started:
        read_until(started.stdout, "All is up")
        processes = psutil.Process(started.pid).children(recursive=True)
        said, _ = started.communicate(timeout=YEAR_SECONDS)
    assert started.returncode == 0, said
    assert re.findall(r"^(2013-\d\d) ", said, re.MULTILINE) == [f"2013-{month:02}" for month in range(1, 13)]
    assert "2013-01   27,004        521  5,091  10.04" in said
    assert "12 batches with 72 tasks took" in said
    assert "Checked: 12 months, 336,776 flights and 26,115 weather rows agree" in said
    assert "Checked: gs://landing is empty, and gs://archive holds the 24 files." in said
    expect_nothing_left(processes, tmp_path)


def test_two_months_pass_with_loopback_delivery() -> None:
    said: list[str] = []
    assert run_demo(True, said.append, months=("2013-12", "2013-02"), delivery="loopback") == 0, said
    text = "\n".join(said)
    assert re.findall(r"^(2013-\d\d) ", text, re.MULTILINE) == ["2013-02", "2013-12"]
    assert "loop-back delivery, as asked" in text
    assert "Checked: 2 months, 53,086 flights and 4,154 weather rows agree" in text


def test_what_is_not_done_in_time_is_named_and_the_logs_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said: list[str] = []
    assert run_demo(True, said.append, months=("2013-01",), delivery="loopback", seconds=0) == 1
    assert re.search(r"The demo failed: \n  batch 2013-01 (was never opened|is not done: \w+ is \w+)", "\n".join(said))
    logs = Path(said[-1].removeprefix("The logs are in ").removesuffix("."))
    assert logs.is_relative_to(tmp_path)
    assert {"service.log", "bigquery.log", "storage.log"} <= {log.name for log in logs.iterdir()}


def has_started_something(started: Demo) -> None:
    eventually(lambda: len(psutil.Process(started.pid).children(recursive=True)) > 1, "the first servers")


def is_at_work(started: Demo) -> None:
    read_until(started.stdout, "Dropping")


@pytest.mark.parametrize("moment", [has_started_something, is_at_work])
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, moment: Callable[[Demo], None]) -> None:
    with demo(tmp_path) as started:
        moment(started)
        processes = psutil.Process(started.pid).children(recursive=True)
        started.send_signal(signal.SIGINT)
        said, _ = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert "Traceback" not in said
    expect_nothing_left(processes, tmp_path)
