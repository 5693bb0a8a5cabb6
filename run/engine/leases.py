"""Leases are renewed while the work goes on, all of them by one thread."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from database.attempts import Claimed
from database.cancellations import postpone_cancellation
from database.leases import renew_lease
from database.sessions import Database, Transaction

logger = logging.getLogger(__name__)

#: A lease is renewed three times before it could run out.
RENEWALS_PER_LEASE = 3


@dataclass
class _Held:
    claimed: Claimed
    #: On this process's monotonic clock, which only decides when to ask; the database's decides who owns the attempt.
    renew_at: float
    #: Whether somebody else is to go on with it when this process ends; not when only its outcome is to be written.
    to_be_given_back: bool


class LeaseKeeper:
    """Renews the leases of the attempts that this process works on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[str, _Held] = {}
        self._changed = threading.Condition()
        #: When the thread wakes by itself; nobody need wake it before.
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    @contextmanager
    def held(self, claimed: Claimed, *, to_be_given_back: bool = True) -> Iterator[None]:
        """Keep the lease of this attempt alive inside the block."""
        with self._changed:
            held = self._held[claimed.token] = _Held(claimed, _next_renewal(claimed), to_be_given_back)
            self._start_thread()
            if held.renew_at < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._held.pop(claimed.token, None)

    def all_to_be_given_back(self) -> list[Claimed]:
        """The attempts whose work this process is doing now."""
        with self._changed:
            return [held.claimed for held in self._held.values() if held.to_be_given_back]

    def _start_thread(self) -> None:
        # Started with the first lease and not with the service, because gunicorn forks in between.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._renew_for_ever, name="leases", daemon=True)
            self._thread.start()

    def _renew_for_ever(self) -> None:
        while True:
            with self._changed:
                due = min((held.renew_at for held in self._held.values()), default=None)
                self._wakes_at = math.inf if due is None else due
                self._changed.wait(None if due is None else max(0.0, due - time.monotonic()))
                now = time.monotonic()
                overdue = [held for held in self._held.values() if held.renew_at <= now]
            for held in overdue:
                try:
                    self._renew(held)
                except Exception:  # one lease's trouble must not end the thread that renews them all
                    logger.exception("could not renew a lease; trying again")

    def _renew(self, held: _Held) -> None:
        claimed = held.claimed
        held.renew_at = _next_renewal(claimed)
        if self._database.transact(lambda tx: _renew(tx, claimed)):
            return
        with self._changed:
            # An attempt that has ended while its lease was being renewed is not lost.
            was_held = self._held.pop(claimed.token, None) is not None
        if was_held:
            logger.warning("lost the attempt %s of %s/%s", claimed.attempt, claimed.task, claimed.key.batch_id)


def _renew(tx: Transaction, claimed: Claimed) -> bool:
    """Whether there is still something to renew: the lease, or the wait for a worker whose attempt was taken away."""
    key, seconds = claimed.key, claimed.lease_seconds
    return renew_lease(tx, key, claimed.token, seconds, claimed.timeout_seconds) or postpone_cancellation(
        tx, key, claimed.attempt, seconds
    )


def _next_renewal(claimed: Claimed) -> float:
    return time.monotonic() + claimed.lease_seconds / RENEWALS_PER_LEASE
