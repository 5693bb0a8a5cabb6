"""Where the tasks of a Process speak, and that nothing of it stays behind."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from run.redaction import hide
from run.workflows import Process, Task, TaskDependency
from tests.six_tasks import six_tasks

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\w+) +(\S+): (.*)")


def lines(log: Path) -> list[tuple[str, str, str]]:
    """Level, task and text of every line; a line that begins with none belongs to the one before."""
    found: list[tuple[str, str, str]] = []
    for line in log.read_text().splitlines():
        match = LINE.fullmatch(line)
        if match:
            found.append((match[1], match[2], match[3]))
        else:
            level, task, text = found.pop()
            found.append((level, task, f"{text}\n{line}"))
    return found


def run(*tasks: Task, parallel: bool = False) -> None:
    with Process(tasks) as process:
        process.run(parallel=parallel)


def open_files() -> list[str]:
    """The files on disk that this process has open, each as often as it is."""
    return sorted(str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.exists())


@pytest.mark.parametrize("parallel", [False, True])
def test_what_a_function_logs_and_prints_lands_in_the_file_of_its_task(tmp_path: Path, *, parallel: bool) -> None:
    def speak(name: str) -> None:
        print("one", name, end=" ")
        logging.getLogger("some.library").info("a library speaks to %s", name)
        print("two", flush=True)
        print("wrong", file=sys.stderr)
        sys.stdout.write("no end of line")

    names = ["a", "b", "c", "d"]
    run(*[Task(name, tmp_path / f"{name}.log", speak, args=(name,)) for name in names], parallel=parallel)
    for name in names:
        said = lines(tmp_path / f"{name}.log")
        assert {task for _, task, _ in said} == {name}
        assert [(level, text) for level, _, text in said] == [
            ("INFO", f"Starting {name}."),
            ("INFO", f"a library speaks to {name}"),
            ("OUT", f"one {name} two"),
            ("ERR", "wrong"),
            ("OUT", "no end of line"),
            ("INFO", f"Finished {name}."),
        ]


def test_a_failure_is_in_the_file_with_its_traceback(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("it went wrong")

    run(Task("bad", tmp_path / "bad.log", fail), Task("kid", tmp_path / "kid.log", fail, dependencies=[after("bad")]))
    level, _, text = lines(tmp_path / "bad.log")[-1]
    assert level == "ERROR"
    assert text.startswith("Failed bad.\nTraceback (most recent call last):\n")
    assert text.endswith("ValueError: it went wrong")
    assert lines(tmp_path / "kid.log") == []


def after(parent: str) -> TaskDependency:
    return TaskDependency(parent)


def test_two_tasks_may_share_a_file_and_their_lines_stay_whole(tmp_path: Path) -> None:
    def speak(name: str) -> None:
        for number in range(200):
            print(name, number, sep="-", end=".\n")

    log = tmp_path / "deep" / "er" / "shared.log"
    same = tmp_path / "deep" / ".." / "deep" / "er" / "shared.log"
    with Process([Task("a", log, speak, args=("a",)), Task("b", same, speak, args=("b",))]) as process:
        process.run(parallel=True)
        assert open_files().count(str(log)) == 1
    said = lines(log)
    for name in ("a", "b"):
        told = [text for level, task, text in said if task == name and level == "OUT"]
        assert told == [f"{name}-{number}." for number in range(200)]
    assert len(said) == 404


def test_two_processes_with_a_task_of_one_name_keep_their_files(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def speak(process: str) -> None:
        both.wait(10)
        print("I am", process)
        logging.getLogger("shared").warning("from %s", process)
        both.wait(10)

    def start(process: Process) -> threading.Thread:
        thread = threading.Thread(target=process.run)
        thread.start()
        return thread

    logs = {name: tmp_path / f"{name}.log" for name in ("first", "second")}
    with (
        Process([Task("load", logs["first"], speak, args=("first",))]) as first,
        Process([Task("load", logs["second"], speak, args=("second",))]) as second,
    ):
        for thread in [start(first), start(second)]:
            thread.join(20)
    for name, log in logs.items():
        assert [text for _, _, text in lines(log)] == [
            "Starting load.",
            f"I am {name}",
            f"from {name}",
            "Finished load.",
        ]


def test_the_end_of_one_process_does_not_silence_another(tmp_path: Path) -> None:
    def speak() -> None:
        logging.getLogger("x").info("still here")

    with Process([Task("a", tmp_path / "a.log", speak)]) as process:
        run(Task("a", tmp_path / "b.log", speak))
        process.run()
    assert [lines(tmp_path / f"{name}.log")[1] for name in ("a", "b")] == [("INFO", "a", "still here")] * 2


def test_a_process_inside_a_task_speaks_for_itself_and_then_the_task_goes_on(tmp_path: Path) -> None:
    def outer() -> None:
        print("before")
        run(Task("inner", tmp_path / "inner.log", print, args=("inside",)))
        print("after")

    run(Task("outer", tmp_path / "outer.log", outer))
    assert [text for level, _, text in lines(tmp_path / "outer.log") if level == "OUT"] == ["before", "after"]
    assert [text for level, _, text in lines(tmp_path / "inner.log") if level == "OUT"] == ["inside"]


def test_another_run_appends_to_the_files(tmp_path: Path) -> None:
    with Process([Task("a", tmp_path / "a.log", print, args=("x",))]) as process:
        process.run()
        process.run(parallel=True)
    assert [text for _, _, text in lines(tmp_path / "a.log")] == ["Starting a.", "x", "Finished a."] * 2


@pytest.mark.parametrize("ends", [lambda: None, lambda: 1 / 0, lambda: sys.exit(1)])
def test_leaving_the_block_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: Callable[[], Any]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.ERROR)
    before = (list(root.handlers), root.level, sys.stdout, sys.stderr, open_files())
    tasks: Sequence[Task] = [*six_tasks(tmp_path), Task("last", tmp_path / "last.log", ends)]
    with Process(tasks) as process:
        assert str(tmp_path / "last.log") in open_files()
        process.run(parallel=True)
    assert (list(root.handlers), root.level, sys.stdout, sys.stderr, open_files()) == before
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("task", "mail"))]


def test_an_interrupt_leaves_nothing_open(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    before = open_files()
    with pytest.raises(KeyboardInterrupt):
        run(Task("a", tmp_path / "a.log", interrupt), parallel=True)
    assert open_files() == before


def test_a_file_that_cannot_be_written_is_told_before_anything_runs_and_leaves_none_open(tmp_path: Path) -> None:
    ran: list[int] = []
    (tmp_path / "file").write_text("no folder")
    tasks = [Task("a", tmp_path / "a.log", ran.append, args=(1,)), Task("b", tmp_path / "file" / "b.log", print)]
    before = open_files()
    with pytest.raises(OSError, match="file"), Process(tasks):
        pass
    with pytest.raises(OSError, match="file"):
        Process(tasks).run()
    assert (ran, open_files()) == ([], before)


def test_what_nobody_of_a_task_says_goes_where_it_always_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        with Process([Task("a", tmp_path / "a.log", print, args=("inside",))]) as process:
            process.run()
            print("outside")
            sys.stderr.writelines(["also ", "outside\n"])
            logging.getLogger("x").warning("a warning")
            logging.getLogger("x").info("nobody asked for this")
    finally:
        root.handlers = handlers
    said = capsys.readouterr()
    assert said.out == "outside\n"
    assert said.err == "also outside\na warning\n"
    assert "outside" not in (tmp_path / "a.log").read_text()


def test_what_is_hidden_is_in_no_log_file(tmp_path: Path) -> None:
    hide("s3cr3t-of-logs")

    def speak() -> None:
        print("token", "s3cr3t-of-logs")
        logging.getLogger("x").info("with %s", "s3cr3t-of-logs")
        raise ValueError("s3cr3t-of-logs")

    with Process([Task("a", tmp_path / "a.log", speak)]) as process:
        told = process.run().to_json()
    assert "s3cr3t" not in told + (tmp_path / "a.log").read_text()


def test_a_thread_that_a_task_leaves_behind_breaks_nothing(tmp_path: Path) -> None:
    import contextvars

    go_on, said = threading.Event(), threading.Event()

    def late() -> None:
        go_on.wait(10)
        print("too late")
        said.set()

    def start() -> None:
        threading.Thread(target=contextvars.copy_context().run, args=(late,), daemon=True).start()

    with Process([Task("a", tmp_path / "a.log", start)]) as process:
        process.run()
        stream = sys.stdout
    sys.stdout, ours = stream, sys.stdout
    try:
        go_on.set()
        assert said.wait(10)
    finally:
        sys.stdout = ours
    assert "too late" not in (tmp_path / "a.log").read_text()


def test_a_line_that_cannot_be_made_ends_no_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def speak() -> None:
        root = logging.getLogger()
        # Only our own handler: pytest's raises what others only tell.
        others = [handler for handler in root.handlers if type(handler).__module__.startswith("_pytest")]
        for handler in others:
            root.removeHandler(handler)
        try:
            logging.getLogger("x").info("%d rows", "no number")
        finally:
            for handler in others:
                root.addHandler(handler)

    with Process([Task("a", tmp_path / "a.log", speak)]) as process:
        assert process.run().ok
    assert "Logging error" in (tmp_path / "a.log").read_text()
