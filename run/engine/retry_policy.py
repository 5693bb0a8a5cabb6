"""When a failed task gets another attempt, and how long it waits for it."""

from __future__ import annotations

import math
import random
from typing import Protocol

#: A year: whatever asks, a task does not wait for ever, nor for a moment that the database cannot write down.
LONGEST_ASKED_FOR = 365.0 * 24 * 3600


class Terms(Protocol):
    """What a task's version says about retries, and how many it has had."""

    @property
    def retried(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def retry_delay_seconds(self) -> int: ...
    @property
    def retry_max_delay_seconds(self) -> int: ...


def retry_after(terms: Terms, asked_for: float | None = None) -> float | None:
    """In how many seconds the next attempt is due, `asked_for` up to LONGEST_ASKED_FOR; None when there is none left.

    Exponential back-off with full jitter, so that many tasks that failed together do not come back together:
    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    if terms.retried >= terms.retries:
        return None
    if asked_for is not None and not math.isnan(asked_for):
        return min(max(asked_for, 0.0), LONGEST_ASKED_FOR)
    ceiling = min(terms.retry_max_delay_seconds, terms.retry_delay_seconds * 2 ** min(terms.retried, 30))
    return random.uniform(0, ceiling)  # noqa: S311 - jitter, not a secret
