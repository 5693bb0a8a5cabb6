"""Something that is done again and again in a thread, whatever becomes of it each time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

logger = logging.getLogger(__name__)


class Repeating:
    """Does `action` every `seconds`, the first time after `seconds`; for `with`. An error is logged and forgotten."""

    def __init__(self, name: str, action: Callable[[], None], *, seconds: float) -> None:
        self._name = name
        self._action = action
        self._seconds = seconds
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _repeat(self) -> None:
        while not self._ending.wait(self._seconds):
            try:
                self._action()
            except Exception as error:  # noqa: BLE001  A part of the local stack may be down for a moment.
                logger.warning("%s failed, it is done again in %g s: %s", self._name, self._seconds, error)
