"""What a function may raise to say how its task is to end, other than by an error."""

from __future__ import annotations

import math


class Skip(Exception):
    """The task is SKIPPED, for the reason in the message."""


class Retry(Exception):
    """The task shall be tried again, after so many seconds or when its retries say; a Process has no second try.

    Raises ValueError when `after` is no number of seconds from now on.
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason or "the function asks to be tried again")
        if after is not None and not (math.isfinite(after) and after >= 0):
            raise ValueError(f"Retry(after={after!r}): write how many seconds to wait")
        self.after = None if after is None else float(after)
