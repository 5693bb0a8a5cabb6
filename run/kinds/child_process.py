"""Runs a function of ours in a child process with limits, so that whatever it does, it can be ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from run.child import ORDER, RESULT
from run.errors import AcceleratorError, PassingFailure, PermanentFailure, Unavailable

MIB = 1024 * 1024
#: A push lasts at most 600 seconds (https://docs.cloud.google.com/pubsub/docs/push#receive_push), some of which the
#: rest of the attempt needs.
LONGEST_SECONDS = 570
#: How long an attempt may last when its task does not say.
TIMEOUT_SECONDS = 540
#: Children of this process at a time: each may use as much memory as its task says.
MOST_AT_ONCE = 2
#: How long an attempt waits for its turn before it goes on later, in seconds.
PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_LONGEST_STDERR = 10_000
_LONGEST_READ = 64 * 1024
_LONGEST_SECRET = 4096
#: What a process has printed last is still to be read when it has ended, in seconds.
_DRAIN_SECONDS = 2.0
_ROOT = Path(__file__).parents[2]
_turns = threading.BoundedSemaphore(MOST_AT_ONCE)


@dataclass(frozen=True)
class Limits:
    """What a child may use: resident memory in bytes, and time in seconds."""

    memory: int
    seconds: float


class TookTooLong(PermanentFailure):
    """A child was killed because its time was over."""


class Output:
    """The end of what a child has printed, at least so many bytes, however the child ends."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._is_cut = False

    @property
    def text(self) -> str:
        """Whole lines where the beginning is missing, so that no secret is cut in two and then not known for one."""
        text = b"".join(self._parts).decode(errors="replace")
        if not self._is_cut:
            return text
        _, line_end, whole_lines = text.partition("\n")
        return whole_lines if line_end else text[_LONGEST_SECRET:]

    def read(self, stream: IO[bytes]) -> None:
        """Take everything that comes, to its end."""
        while part := os.read(stream.fileno(), _LONGEST_READ):
            self._parts.append(part)
            self._size += len(part)
            while self._size - len(self._parts[0]) >= self._most:
                self._size -= len(self._parts.popleft())
                self._is_cut = True


@dataclass(frozen=True)
class Ended:
    """What a child's function has returned, and the most memory that it was seen to have, in bytes."""

    result: Any
    peak: int


def run_child(
    function: str,
    argument: Mapping[str, Any],
    folder: Path,
    limits: Limits,
    *,
    feed: Iterable[bytes] = (),
    is_lost: Callable[[], bool] = lambda: False,
    output: Output | None = None,
) -> Ended:
    """Run `module:function` on the argument (JSON values) and this folder, with `feed` as its standard input.

    The child has none of our environment; what it prints goes to `output`. Raises PermanentFailure when it uses more
    than it may (TookTooLong: more time) or its function raises, PassingFailure when it is killed by somebody else,
    Unavailable when too many run already or `is_lost` says that nobody wants the result any more; and whatever `feed`
    raises.
    """
    (folder / ORDER).write_text(json.dumps({"function": function, "argument": dict(argument)}))
    with _turn(), _started(folder, output) as process, _Watch(process, limits, is_lost).watching() as watch:
        _feed(process, feed)
        process.wait()
    if watch.reason is not None:
        raise watch.reason
    return Ended(_result(folder, process.returncode), watch.peak)


@contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(timeout=PATIENCE_SECONDS):
        raise Unavailable(f"{MOST_AT_ONCE} child processes are at work here, and more would not fit into memory")
    try:
        yield
    finally:
        _turns.release()


@contextmanager
def _started(folder: Path, output: Output | None) -> Iterator[subprocess.Popen[bytes]]:
    theirs, ours = os.pipe()
    try:
        with (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(  # noqa: S603 - our own module, in a folder of our own
                # Unbuffered, so that what was printed before a kill is there.
                [sys.executable, "-u", "-m", "run.child", str(folder), str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL if output is None else subprocess.PIPE,
                stderr=stderr if output is None else subprocess.STDOUT,
                cwd=_ROOT,
                env={},
                pass_fds=[theirs],
                # A group of its own, so that what it may start is killed with it.
                start_new_session=True,
            )
        with _heard(process, output):
            try:
                yield process
            finally:
                _kill(process)
                process.wait()
    finally:
        os.close(theirs)
        os.close(ours)


@contextmanager
def _heard(process: subprocess.Popen[bytes], output: Output | None) -> Iterator[None]:
    if output is None or process.stdout is None:
        yield
        return
    thread = threading.Thread(target=output.read, args=(process.stdout,), name="child-output", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Whatever has left the child's group may keep the pipe open for ever.
        thread.join(_DRAIN_SECONDS)
        if not thread.is_alive():
            process.stdout.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _feed(process: subprocess.Popen[bytes], feed: Iterable[bytes]) -> None:
    assert process.stdin is not None  # noqa: S101 - it was asked for
    # A child that has seen enough, or was killed, does not read to the end; what it says, or why, comes after.
    with suppress(BrokenPipeError), process.stdin as stdin:
        for part in feed:
            stdin.write(part)


@dataclass
class _Watch:
    """Looks at a child until it has ended, and kills it when it may not go on."""

    process: subprocess.Popen[bytes]
    limits: Limits
    is_lost: Callable[[], bool]
    peak: int = 0
    reason: AcceleratorError | None = None
    _done: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Iterator[_Watch]:
        thread = threading.Thread(target=self._watch, name="child", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._done.set()
            thread.join()

    def _watch(self) -> None:
        until = time.monotonic() + self.limits.seconds
        # Looked at before the first pause, too: a child may be done by then.
        while (reason := self._why_not_on(until)) is None:
            if self._done.wait(_LOOK_SECONDS):
                return
        self.reason = reason
        _kill(self.process)

    def _why_not_on(self, until: float) -> AcceleratorError | None:
        self.peak = max(self.peak, resident_memory(self.process.pid))
        if self.peak > self.limits.memory:
            return PermanentFailure(f"killed: used more than {self.limits.memory // MIB} MiB")
        if time.monotonic() > until:
            return TookTooLong(f"killed: took longer than {self.limits.seconds:g} s")
        if self.is_lost():
            return Unavailable("the attempt was taken away, so its child process was killed")
        return None


def resident_memory(pid: int) -> int:
    """The memory that a process has now, in bytes; 0 when it has ended, or where there is no /proc to ask."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _result(folder: Path, code: int) -> Any:
    try:
        told = json.loads((folder / RESULT).read_text())
    except FileNotFoundError:
        raise _crashed(folder, code) from None
    if "raised" in told:
        raise PermanentFailure(told["raised"], {"traceback": told["traceback"]})
    return told["result"]


def _crashed(folder: Path, code: int) -> PassingFailure | PermanentFailure:
    if code == -signal.SIGKILL:
        return PassingFailure(
            "the child process was killed, by itself or from outside; the machine may have no memory left"
        )
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    said = (folder / "stderr").read_bytes()[-_LONGEST_STDERR:].decode(errors="replace")
    return PermanentFailure(f"the child process {how} without a result", {"stderr": said} if said else {})
