"""Programs that run beside ours: started with a log file, waited for, and ended whatever happens to us."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, TypeVar

import requests

from run.errors import AcceleratorError
from run.local import guard

PROJECT_ROOT = Path(__file__).resolve().parents[2]
LAST_LINES = 15
STEP_SECONDS = 0.02
STARTS = 3
PAUSE_BETWEEN_STARTS = 0.5

StartedT = TypeVar("StartedT")


class StartFailed(AcceleratorError):
    """A part of the local stack did not start; the message names its log file and shows the end of it."""


@dataclass(frozen=True)
class Program:
    """What to start, and how it wants to be ended; `name` also names its log file."""

    name: str
    arguments: Sequence[str]
    logs: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    end_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 10

    @property
    def log(self) -> Path:
        return self.logs / f"{self.name}.log"


class Process:
    """A started program, the leader of a process group of its own, with a guard that ends it when we are gone."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._is_over = False
        program.logs.mkdir(parents=True, exist_ok=True)
        with program.log.open("ab") as log:
            self._leader = subprocess.Popen(
                program.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=PROJECT_ROOT,
                env={**os.environ, **program.environment},
                process_group=0,
                **as_user(program.user),
            )
        self._guard = _guard_of(self.pid, program)

    @property
    def pid(self) -> int:
        return self._leader.pid

    @property
    def has_ended(self) -> bool:
        return self._leader.poll() is not None

    def wait_until(self, is_ready: Callable[[], bool], *, seconds: float) -> None:
        """Return when `is_ready`; end the program and raise StartFailed when it ends or takes longer than `seconds`."""
        try:
            self._poll(is_ready, time.monotonic() + seconds)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End the program as it wants to be ended, by SIGKILL when that takes longer than its grace."""
        if not self.has_ended:
            self._leader.send_signal(self.program.end_signal)
        try:
            with suppress(subprocess.TimeoutExpired):
                self._leader.wait(self.program.grace_seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the program and its children by SIGKILL, as a machine that dies does."""
        if self._is_over:
            return
        self._is_over = True
        # macOS says "not permitted" of a group that has only a zombie left.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._leader.wait()
        self._guard.kill()
        self._guard.communicate()

    def _poll(self, is_ready: Callable[[], bool], deadline: float) -> None:
        while not is_ready():
            if self.has_ended:
                raise self._failure(f"ended with exit status {self._leader.returncode} before it was ready")
            if time.monotonic() > deadline:
                raise self._failure("was not ready in time")
            time.sleep(STEP_SECONDS)
        if self.has_ended:
            raise self._failure("ended at once, and something else answers in its place")

    def _failure(self, what: str) -> StartFailed:
        lines = self.program.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        shown = "\n".join(f"  {line}" for line in lines) or "  (it is empty)"
        return StartFailed(f"{self.program.name} {what}; the end of {self.program.log}:\n{shown}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def started(start: Callable[[], StartedT]) -> StartedT:
    """Call `start` until it succeeds, three times at most: a port may be taken, an earlier owner still be ending."""
    for _ in range(STARTS - 1):
        try:
            return start()
        except StartFailed:
            time.sleep(PAUSE_BETWEEN_STARTS)
    return start()


def answers(url: str, *, timeout: float = 1) -> bool:
    """Whether an HTTP server says 200 at this address, which is never asked through a proxy."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=timeout).ok
        except requests.RequestException:
            return False


class Identity(TypedDict, total=False):
    """The arguments of Popen that say who a program is."""

    user: str
    group: int
    extra_groups: Sequence[int]


def as_user(name: str | None) -> Identity:
    """Return the arguments of Popen that start a program as this user and nobody else; none for ourselves."""
    if name is None:
        return {}
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": ()}


def _guard_of(leader: int, program: Program) -> subprocess.Popen[bytes]:
    arguments = [str(leader), str(int(program.end_signal)), str(program.grace_seconds)]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
