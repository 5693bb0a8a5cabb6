"""Who does the work of a Process: its own thread, one task after another, or a few threads at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Protocol, Self

from run.workflows.process_report import Outcome
from run.workflows.python_tasks import Task

Ended = tuple[Task, Outcome]
#: Does a task, and tells how that ended.
Work = Callable[[], Ended]
#: How long a signal that comes at an unlucky moment goes unnoticed.
LOOK_SECONDS = 0.2


class Workers(Protocol):
    """Takes work, and tells what came of it."""

    def take(self, work: Work) -> None:
        """Do this as soon as somebody has time."""

    def next_ended(self) -> Ended:
        """Wait for the next end of a task; raises what the work has raised."""


class OneAfterAnother:
    """The thread that asks for the next end does the work for it."""

    def __init__(self) -> None:
        self._taken: deque[Work] = deque()

    def take(self, work: Work) -> None:
        self._taken.append(work)

    def next_ended(self) -> Ended:
        return self._taken.popleft()()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._taken.clear()


class InThreads:
    """Several threads; leaving the block gives up what has not begun, and waits for the rest."""

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="task")
        self._ended: SimpleQueue[Ended | BaseException] = SimpleQueue()

    def take(self, work: Work) -> None:
        # What the caller has set for its own context, such as fields of log lines, holds for the work as well.
        self._pool.submit(copy_context().run, self._do, work)

    def next_ended(self) -> Ended:
        ended = self._wait()
        if isinstance(ended, BaseException):
            raise ended
        return ended

    def _wait(self) -> Ended | BaseException:
        while True:
            # A wait without an end does not notice a signal, such as that of Ctrl-C, which came just before it began.
            with suppress(Empty):
                return self._ended.get(timeout=LOOK_SECONDS)

    def _do(self, work: Work) -> None:
        try:
            self._ended.put(work())
        except BaseException as error:  # noqa: BLE001 - the thread that waits for an end must get one.
            self._ended.put(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
