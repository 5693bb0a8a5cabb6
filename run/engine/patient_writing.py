"""What came of an attempt is written although the database does not answer for a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from database.errors import DatabaseUnavailable
from database.sessions import Database, Transaction

logger = logging.getLogger(__name__)

#: How long a worker whose work is done tries to write that down, in seconds: a restart of the database takes less.
WRITING_SECONDS = 20.0
#: The first and the longest pause between two tries, in seconds.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0

T = TypeVar("T")


def write_patiently(database: Database, write: Callable[[Transaction], T | None]) -> T | None:
    """Run `write`, which returns None where the attempt is in other hands, until the database has answered.

    Raises DatabaseUnavailable when it has not for too long; then the attempt's lease brings it back.
    """
    # A COMMIT whose answer is lost may have taken effect. Then the next try finds the attempt to be nobody's, as if it
    # were in other hands, and changes nothing: `return_lost` touches only attempts that were taken away. So what the
    # earlier try has come to is what counts. Where that try was undone after all and somebody else has the attempt now,
    # its tasks are published without being NEW, which starts nothing; and what is NEW, the sweep would publish too.
    came_to: list[T] = []

    def write_and_keep(tx: Transaction) -> T | None:
        written = write(tx)
        if written is not None:
            came_to.append(written)
        return written

    until, pause = time.monotonic() + WRITING_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        try:
            written = database.transact(write_and_keep)
        except DatabaseUnavailable as error:
            if time.monotonic() + pause > until:
                raise
            logger.warning("could not write what came of an attempt; trying again: %s", error)
            time.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
        else:
            return came_to[-1] if written is None and came_to else written
