"""What children do in tests of child processes; each is run as `tests.unit.kinds.children:NAME`."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def measure(argument: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What came in, and what the process can see."""
    content = sys.stdin.buffer.read()
    return {
        "argument": argument,
        "bytes": len(content),
        "digest": hashlib.sha256(content).hexdigest(),
        "environment": dict(os.environ),
        "folder": str(folder),
    }


def refuse(_argument: dict[str, Any], _folder: Path) -> None:
    raise ValueError("there is no such thing")


def swell(argument: dict[str, Any], _folder: Path) -> None:
    kept = []
    while True:
        kept.append(bytearray(8 * 1024 * 1024))
        with Path(argument["seen"]).open("a") as seen:
            seen.write("8 MiB more\n")


def sleep(argument: dict[str, Any], _folder: Path) -> None:
    """Sleep in a process below this one, too."""
    child = os.fork()
    with Path(argument["pids"]).open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    time.sleep(120)
    del child


def die(argument: dict[str, Any], _folder: Path) -> None:
    print("my last words", file=sys.stderr, flush=True)
    if "signal" in argument:
        os.kill(os.getpid(), signal.Signals[argument["signal"]])
    os._exit(argument.get("status", 0))


def answer_early(argument: dict[str, Any], _folder: Path) -> str:
    """Answer without reading what comes."""
    return "early" + "x" * int(argument.get("length", 0))
