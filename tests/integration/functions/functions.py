"""Functions that tasks of tests call, as `tests.integration.functions.functions:NAME`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

from run.errors import PassingFailure, PermanentFailure
from run.workflows import Process, ProcessReport, Retry, Skip, Task, TaskDependency

CALLED_WITH: list[Any] = []


def echo(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"args": list(args), "kwargs": kwargs}


def days() -> list[Any]:
    return [{"day": "2024-03-01", "shops": [1, 2]}, "second", 3, None]


def total(values: list[Any]) -> dict[str, Any]:
    return {"values": values, "count": len(values)}


def number(value: int = 3) -> int:
    return value


def nothing() -> None:
    return None


def change_everything(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Say what came in, and how many calls this process has seen; then empty everything."""
    seen = deepcopy([*args, *kwargs.values()])
    CALLED_WITH.append(args)
    for given in [*args, *kwargs.values()]:
        given.clear()
    return {"seen": seen, "calls": len(CALLED_WITH)}


def speak() -> None:
    print("printed")
    print("warned", file=sys.stderr)
    logging.getLogger("shop").info("logged %s", 7)
    logging.getLogger("shop").debug("too much")
    os.system("echo below")


def speak_much(lines: int) -> None:
    for line in range(lines):
        print(f"line {line} of many")


def speak_and_fail(secret: str = "") -> None:
    print(f"the secret is {secret}")
    raise ValueError(f"ran out of sugar: {secret}")


def is_as_long(length: int, text: str) -> dict[str, Any]:
    return {"is_as_long": len(text) == length, "text": text}


def fail_inside() -> None:
    _deeper()


def _deeper() -> None:
    try:
        _ = dict[str, int]()["sugar"]
    except KeyError as error:
        raise RuntimeError("no sugar") from error


def leave(status: int | str) -> None:
    sys.exit(status)


def interrupt() -> None:
    raise KeyboardInterrupt


def skip() -> None:
    print("looked everywhere")
    raise Skip("no file today")


def retry(after: float | None = None) -> None:
    raise Retry("the bank is closed", after=after)


def fail_for_good() -> None:
    raise PermanentFailure("there is no such shop", {"shop": 7})


def fail_for_now() -> None:
    raise PassingFailure("busy", after=42)


def retry_of_another_type() -> None:
    raise Retry("the bank is closed", after=Decimal(33))  # type: ignore[arg-type]


def fail_until_who_knows_when() -> None:
    raise PassingFailure("busy", after="soon")  # type: ignore[arg-type]


def fail_until(marks: str, successes_from: int) -> int:
    """Succeed from a certain call on."""
    path = Path(marks)
    calls = len(path.read_text()) + 1 if path.exists() else 1
    path.write_text("x" * calls)
    if calls < successes_from:
        raise OSError(f"call {calls} is too early")
    return calls


def no_json() -> object:
    return {"when": {1, 2}}


def large(size: int) -> str:
    return "x" * size


def needs_two(one: int, two: int) -> int:
    return one + two


def die(how: str) -> None:
    print("my last words")
    if how == "exit":
        os._exit(0)
    os.kill(os.getpid(), signal.Signals[how])
    time.sleep(60)


def swell() -> None:
    print("getting bigger")
    kept = []
    while True:
        kept.append(bytearray(8 * 1024 * 1024))


def sleep(pids: str, seconds: float | str = 120) -> str:
    """Sleep, in a process below this one too."""
    print("going to sleep", flush=True)
    os.fork()
    with Path(pids).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(float(seconds))
    return "slept"


def sleep_at_first(pids: str) -> str:
    """Sleep in the first call; end at once in later ones."""
    is_first = not Path(pids).exists()
    with Path(pids).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if is_first:
        time.sleep(120)
    return "not for long"


def surroundings() -> dict[str, Any]:
    """What a function finds around itself."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        temporary = file.name
    Path("left_behind").write_text("here")
    return {
        "environment": sorted(os.environ),
        "folder": str(Path.cwd()),
        "temporary": temporary,
        "is_leader": os.getpgrp() == os.getpid(),
    }


def pipeline(first_fails: bool = False) -> ProcessReport:
    """A whole process of functions as one task."""
    from_fetch = TaskDependency("fetch", use_result_as_additional_args=True)
    tasks = [
        Task("fetch", "fetch.log", leave if first_fails else number, args=(3,)),
        Task("double", "double.log", _double, dependencies=[from_fetch]),
        Task("other", "other.log", nothing),
    ]
    with Process(tasks) as process:
        return process.run(parallel=True)


def pipeline_that_raises() -> dict[str, Any]:
    report = pipeline(first_fails=True)
    report.raise_if_failed()
    return report.results


def _double(value: int) -> int:
    return 2 * value


NOT_CALLABLE = 7


def kill_the_worker() -> None:
    """End the process that has started this one, as a machine that runs out of memory would."""
    print("killing")
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
