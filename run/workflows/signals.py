"""What a function may raise to say how its task is to end, other than by an error."""

from __future__ import annotations


class Skip(Exception):
    """The task is SKIPPED, for the reason in the message."""


class Retry(Exception):
    """The task shall be tried again, after so many seconds or when its retries say; a Process has no second try."""

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason or "the function asks to be tried again")
        self.after = after
