"""A child process can use no more than it may, says why it ended, and is never left behind."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.kinds import child_process
from run.kinds.child_process import MIB, MOST_AT_ONCE, Ended, Limits, run_child
from tests.local_parts import eventually
from tests.processes import is_alive, pids_in

ROOT = Path(__file__).parents[3]
PLENTY = Limits(256 * MIB, 60)


def run(name: str, folder: Path, argument: dict[str, Any] | None = None, limits: Limits = PLENTY, **how: Any) -> Ended:
    return run_child(f"tests.unit.kinds.children:{name}", argument or {}, folder, limits, **how)


def test_a_child_gets_its_argument_and_its_feed_and_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:secret@host/db")
    parts = [os.urandom(MIB) for _ in range(5)]
    ended = run("measure", tmp_path, {"a": [1, None]}, feed=parts)
    told = ended.result
    assert (told["argument"], told["bytes"], told["folder"]) == ({"a": [1, None]}, 5 * MIB, str(tmp_path))
    assert told["digest"] == hashlib.sha256(b"".join(parts)).hexdigest()
    assert set(told["environment"]) <= {"LC_CTYPE"}
    assert 0 < ended.peak < PLENTY.memory


def test_what_a_child_raises_is_told(tmp_path: Path) -> None:
    with pytest.raises(PermanentFailure, match=r"^ValueError: there is no such thing$") as caught:
        run("refuse", tmp_path)
    assert "in refuse" in caught.value.details["traceback"]


def test_a_child_that_uses_more_memory_than_it_may_is_killed(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    with pytest.raises(PermanentFailure, match=r"^killed: used more than 128 MiB$"):
        run("swell", tmp_path, {"seen": str(seen)}, Limits(128 * MIB, 60))
    assert len(seen.read_text().splitlines()) >= 10


def test_a_child_that_takes_too_long_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(PermanentFailure, match=r"^killed: took longer than 2 s$"):
        run("sleep", tmp_path, {"pids": str(pids)}, Limits(256 * MIB, 2))
    assert len(pids_in(pids)) == 2
    eventually(lambda: not any(map(is_alive, pids_in(pids))), "both to be gone")


def test_a_child_whose_result_nobody_wants_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(Unavailable, match="taken away"):
        run("sleep", tmp_path, {"pids": str(pids)}, is_lost=lambda: len(pids_in(pids)) == 2)
    eventually(lambda: not any(map(is_alive, pids_in(pids))), "both to be gone")


@pytest.mark.parametrize(
    ("argument", "error", "words"),
    [
        ({"signal": "SIGSEGV"}, PermanentFailure, "the child process died of SIGSEGV without a result"),
        ({"status": 3}, PermanentFailure, "the child process ended with exit status 3 without a result"),
        ({"status": 0}, PermanentFailure, "the child process ended with exit status 0 without a result"),
        ({"signal": "SIGKILL"}, PassingFailure, "was killed, by itself or from outside"),
    ],
)
def test_a_child_that_crashes_says_how(
    tmp_path: Path, argument: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        run("die", tmp_path, argument)
    if error is PermanentFailure:
        assert isinstance(caught.value, PermanentFailure)
        assert caught.value.details["stderr"] == "my last words\n"


@pytest.mark.parametrize("length", [0, 5 * MIB])
def test_a_child_may_answer_before_it_has_read_everything(tmp_path: Path, length: int) -> None:
    ended = run("answer_early", tmp_path, {"length": length}, feed=(b"x" * MIB for _ in range(64)))
    assert ended.result == "early" + "x" * length


def test_a_feed_that_breaks_ends_the_child_and_is_what_is_raised(tmp_path: Path) -> None:
    def breaking() -> Iterator[bytes]:
        yield b"some"
        raise Unavailable("the source does not answer")

    begun = time.monotonic()
    with pytest.raises(Unavailable, match="the source does not answer"):
        run("sleep", tmp_path, {"pids": str(tmp_path / "pids")}, feed=breaking())
    assert time.monotonic() - begun < 30


def test_no_more_children_run_than_there_is_memory_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "PATIENCE_SECONDS", 0.1)
    may_end = threading.Event()
    folders = [tmp_path / str(number) for number in range(MOST_AT_ONCE)]
    threads = []
    for folder in folders:
        folder.mkdir()

        def stay(folder: Path = folder) -> None:
            with pytest.raises(Unavailable):
                run("sleep", folder, {"pids": str(folder / "pids")}, is_lost=may_end.is_set)

        threads.append(threading.Thread(target=stay))
        threads[-1].start()
    eventually(lambda: all((folder / "pids").exists() for folder in folders), "all to run")
    with pytest.raises(Unavailable, match="2 child processes are at work here"):
        run("measure", tmp_path)
    may_end.set()
    for thread in threads:
        thread.join()
    assert run("measure", tmp_path).result["bytes"] == 0


def test_a_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = (
        "import sys; from pathlib import Path; from run.kinds.child_process import *\n"
        "run_child('tests.unit.kinds.children:sleep', {'pids': sys.argv[2]}, Path(sys.argv[1]), Limits(256 * MIB, 60))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(pids)], cwd=ROOT)
    eventually(lambda: len(pids_in(pids)) == 2, "the child to run", seconds=30)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    eventually(lambda: not any(map(is_alive, pids_in(pids))), "the child, and what it has started, to be gone")
