"""Leases are renewed while the work goes on, all of them by one thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from database.attempts import Claimed, renew_lease
from database.sessions import Database

logger = logging.getLogger(__name__)

#: A lease is renewed three times before it could run out.
RENEWALS_PER_LEASE = 3


@dataclass
class _Held:
    claimed: Claimed
    #: On this process's monotonic clock, which only decides when to ask; the database's decides who owns the attempt.
    renew_at: float


class LeaseKeeper:
    """Renews the leases of the attempts that this process works on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[str, _Held] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def held(self, claimed: Claimed) -> Iterator[None]:
        """Keep the lease of this attempt alive inside the block."""
        with self._changed:
            self._held[claimed.token] = _Held(claimed, _next_renewal(claimed))
            self._start_thread()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._held.pop(claimed.token, None)

    def _start_thread(self) -> None:
        # Started with the first lease and not with the service, because gunicorn forks in between.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._renew_for_ever, name="leases", daemon=True)
            self._thread.start()

    def _renew_for_ever(self) -> None:
        while True:
            with self._changed:
                due = min((held.renew_at for held in self._held.values()), default=None)
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
        still_ours = self._database.transact(
            lambda tx: renew_lease(tx, claimed.key, claimed.token, claimed.lease_seconds)
        )
        if not still_ours:
            logger.warning("lost the attempt %s of %s/%s", claimed.attempt, claimed.task, claimed.key.batch_id)
            with self._changed:
                self._held.pop(claimed.token, None)


def _next_renewal(claimed: Claimed) -> float:
    return time.monotonic() + claimed.lease_seconds / RENEWALS_PER_LEASE
