"""What the tests share of the local stack: parts that may be missing, and waiting for things to happen."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

from run.local.postgres import DEBIAN_15
from run.local.pubsub_emulator import EmulatorMissing, find_emulator

STEP_SECONDS = 0.02

T = TypeVar("T")


def require_pubsub_emulator() -> None:
    """Skip the test where there is no Java or no Pub/Sub emulator; fail it where CI is true."""
    try:
        find_emulator()
    except EmulatorMissing as missing:
        miss(str(missing))


def require_postgres_15() -> Path:
    """Return the folder of Debian's Postgres 15; skip the test where it is missing, fail it where CI is true."""
    if not (DEBIAN_15 / "postgres").exists():
        miss(f"there is no Postgres 15 in {DEBIAN_15}; install Debian's postgresql-15")
    return DEBIAN_15


def eventually(look: Callable[[], T], what: str, *, seconds: float = 20) -> T:
    """Return the first true thing that `look` returns; fail the test, saying `what` did not come, after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come within {seconds:g} s; last seen: {seen!r}")
        time.sleep(STEP_SECONDS)


def pushes_kept_in(file: Path) -> list[dict[str, Any]]:
    """Return the push requests that the toy service has kept in a file, oldest first."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def miss(reason: str) -> NoReturn:
    """Skip the test for this reason; fail it where CI is true."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (with CI=true nothing may be missing)")
    pytest.skip(reason)
