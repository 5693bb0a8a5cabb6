"""What came of working on an attempt is written, with what follows; even if the database is away for a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from database.attempts import Claimed, await_completion, let_go
from database.cancellations import request_cancellation, return_lost
from database.collecting import set_files_aside
from database.endings import finish, finish_unwatched
from database.errors import DatabaseUnavailable
from database.places import store_places
from database.sessions import Database, Transaction
from database.statuses import Status
from run.engine.completions import apply_kept
from run.engine.dependency_checker import Checked
from run.engine.elements import check_what_follows
from run.engine.expanding import Expands, is_mapped, write_elements
from run.engine.outcomes import Outcome, new_places
from run.kinds.kind import AwaitsCompletion, GoesOn, Moved

logger = logging.getLogger(__name__)

#: How long a worker whose work is done tries to write that down, in seconds: a restart of the database takes less.
WRITING_SECONDS = 20.0
#: The first and the longest pause between two tries, in seconds.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0


@dataclass(frozen=True)
class LaterAgain:
    """The other side does not answer; the attempt goes on after a pause."""

    seconds: float


#: What came of working on an attempt for a while.
CameOfIt: TypeAlias = Outcome | GoesOn | AwaitsCompletion | Expands | LaterAgain


def write_patiently(database: Database, claimed: Claimed, came_of_it: CameOfIt) -> Checked | None:
    """Write what came of the work, and what follows from it; None when the attempt is in other hands.

    It is tried until the database has answered. Raises DatabaseUnavailable when it has not for too long; then the
    attempt's lease brings it back.
    """
    # A COMMIT whose answer is lost may have taken effect. Then the next try finds the attempt to be nobody's, as if it
    # were in other hands, and changes nothing: `return_lost` touches only attempts that were taken away. So what the
    # earlier try has come to is what counts. Where that try was undone after all and somebody else has the attempt now,
    # its tasks are published without being NEW, which starts nothing; and what is NEW, the sweep would publish too.
    came_to: list[Checked] = []

    def write_and_keep(tx: Transaction) -> Checked | None:
        written = _write(tx, claimed, came_of_it)
        if written is not None:
            came_to.append(written)
        return written

    until, pause = time.monotonic() + WRITING_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        try:
            if _ends_unwatched(database, claimed, came_of_it):
                return Checked()
            written = database.transact(write_and_keep)
        except DatabaseUnavailable as error:
            if time.monotonic() + pause > until:
                raise
            logger.warning("could not write what came of an attempt; trying again: %s", error)
            time.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
        else:
            return came_to[-1] if written is None and came_to else written


def _ends_unwatched(database: Database, claimed: Claimed, came_of_it: CameOfIt) -> bool:
    """Whether it was an end from which nothing follows, and is written: that is a statement by itself."""
    if not isinstance(came_of_it, Outcome) or not _may_decide_nothing(claimed, came_of_it):
        return False
    ended = came_of_it.ended(claimed)
    return database.run_alone(lambda tx: finish_unwatched(tx, claimed.key, claimed.token, ended))


def _may_decide_nothing(claimed: Claimed, outcome: Outcome) -> bool:
    if outcome.moved:
        return False
    if claimed.key.is_element:
        return outcome.status is not Status.ERROR
    return claimed.may_end_unwatched and outcome.status is Status.SUCCESS and not claimed.tells


def _write(tx: Transaction, claimed: Claimed, came_of_it: CameOfIt) -> Checked | None:
    match came_of_it:
        case Outcome():
            return _complete(tx, claimed, came_of_it)
        case AwaitsCompletion():
            return _await_completion(tx, claimed)
        case Expands():
            return write_elements(tx, claimed, came_of_it)
        case GoesOn(handle, seconds, moved):
            return _let_go(tx, claimed, seconds, handle, moved)
        case LaterAgain(seconds):
            return _let_go(tx, claimed, seconds, None)


def _let_go(
    tx: Transaction,
    claimed: Claimed,
    seconds: float,
    handle: Mapping[str, Any] | None,
    moved: Sequence[Moved] = (),
) -> Checked | None:
    if let_go(tx, claimed.key, claimed.token, seconds, handle):
        store_places(tx, new_places(moved))
        return Checked()
    return_lost(tx, claimed.key, claimed.attempt, claimed.version_id, handle)
    return None


def _await_completion(tx: Transaction, claimed: Claimed) -> Checked | None:
    if await_completion(tx, claimed.key, claimed.token):
        return apply_kept(tx, claimed.key, claimed.attempt)
    return_lost(tx, claimed.key, claimed.attempt, claimed.version_id, None)
    return None


def _complete(tx: Transaction, claimed: Claimed, outcome: Outcome) -> Checked | None:
    key = claimed.key
    if outcome.status is Status.ERROR and claimed.takeovers:
        # A worker of this attempt that is only frozen may yet begin something outside.
        outcome = replace(outcome, ending=True)
    if is_mapped(claimed):
        outcome = replace(outcome, ending=False)
    status = finish(tx, key, claimed.token, outcome.ended(claimed))
    if status is None:
        return_lost(tx, key, claimed.attempt, claimed.version_id, None)
        return None
    if outcome.ending:
        request_cancellation(tx, key, claimed.attempt, claimed.version_id, outcome.handle)
    checked = check_what_follows(tx, key, status, claimed)
    store_places(tx, new_places(outcome.moved))
    set_files_aside(tx, outcome.set_aside)
    return checked
