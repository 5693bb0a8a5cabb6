"""How an attempt ends, and what is written and decided when it has."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from database.attempts import Claimed
from database.endings import Ended
from database.files import MADE
from database.places import NewPlace
from database.statuses import SkipCause, Status
from run.engine.dependency_checker import Checked
from run.engine.retry_policy import Terms, retry_after
from run.engine.stored_values import storable
from run.errors import BadFiles, PassingFailure, TaskFailure
from run.kinds.kind import Finished, Kind, Moved
from run.redaction import redacted

logger = logging.getLogger(__name__)

#: The longest error text that is kept, in characters; the end of a traceback says most.
LONGEST_ERROR = 1_000_000
#: Cloud Logging takes entries of 256 KiB (https://docs.cloud.google.com/logging/quotas); the whole is in the task log.
LONGEST_LOGGED_ERROR = 10_000


#: Why an attempt had nothing to do, among the details of its log row.
SKIPPED = "skipped"


class EndTerms(Protocol):
    """What a task's version says about what follows its end."""

    @property
    def success_may_skip(self) -> bool: ...
    @property
    def tells(self) -> bool: ...


@dataclass(frozen=True)
class Outcome:
    """How an attempt has ended."""

    status: Status
    error: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    moved: tuple[Moved, ...] = ()
    #: Files that later attempts do without, by their ids in the file log, each with its reason.
    set_aside: Mapping[int, str] = field(default_factory=dict)
    #: Whether another attempt may succeed, and in how many seconds, if that was said.
    passing: bool = False
    retry_in: float | None = None
    #: Whether its work may still go on outside and is to be ended.
    ending: bool = False
    #: What that is known by, when it is newer than what the database has.
    handle: Mapping[str, Any] | None = None
    #: Why the task is SKIPPED, if it is.
    skip_cause: SkipCause | None = None
    #: What was returned, as JSON text, or the object that holds it; neither where the details are the result.
    result: str | None = None
    result_place: Mapping[str, Any] | None = None

    def ended(self, terms: Terms) -> Ended:
        """The outcome as the rows keep it, with another attempt if there is one left."""
        return Ended(
            self.status,
            self.error,
            dict(self.details),
            retry_after=retry_after(terms, self.retry_in) if self.passing else None,
            ending=self.ending,
            skip_cause=self.skip_cause,
            result=self.result,
            result_place=self.result_place,
        )


def success(finished: Finished) -> Outcome:
    """The outcome of work that the other side has confirmed."""
    made = {MADE: vars(finished.made)} if finished.made else {}
    details = redacted(storable({**finished.details, **made}))
    result = None if finished.returned is None else as_result(finished.returned.value)
    return Outcome(Status.SUCCESS, details=details, moved=finished.moved, result=result)


def as_result(value: Any) -> str:
    """A result as the JSON text that is kept. A secret is in none: a task that needs one names it itself."""
    return json.dumps(redacted(storable(value)), ensure_ascii=False, separators=(",", ":"))


def skipped(cause: SkipCause, reason: str, details: Mapping[str, Any] | None = None) -> Outcome:
    """The outcome of an attempt that had nothing to do."""
    told = redacted(storable({**(details or {}), SKIPPED: reason}))
    return Outcome(Status.SKIPPED, details=told, skip_cause=cause)


def failure(error: Exception, kind: Kind[Any]) -> Outcome:
    """The outcome of work that raised."""
    if isinstance(error, BadFiles):
        reasons = {file_log_id: storable(redacted(reason)) for file_log_id, reason in error.reasons.items()}
        return replace(failed(str(error), error.details, passing=True), set_aside=reasons)
    if isinstance(error, TaskFailure):
        after = error.after if isinstance(error, PassingFailure) else None
        outcome = failed(str(error), error.details, passing=isinstance(error, PassingFailure))
        return replace(outcome, retry_in=after)
    # What a kind did not expect says nothing about what it may have left running outside.
    text = "".join(traceback.format_exception(error))
    return failed(text, passing=isinstance(error, kind.passing), ending=True)


def failed(
    text: str, details: Mapping[str, Any] | None = None, *, passing: bool = False, ending: bool = False
) -> Outcome:
    """An outcome that is an error."""
    text = redacted(text)
    cut = text if len(text) <= LONGEST_ERROR else f"... {text[-LONGEST_ERROR:]}"
    told = redacted(storable(dict(details or {})))
    return Outcome(Status.ERROR, storable(cut) or "no message", told, passing=passing, ending=ending)


def timed_out(seconds: int | None, handle: Mapping[str, Any] | None = None) -> Outcome:
    """The outcome of an attempt that has lasted too long."""
    return replace(failed(f"timed out after {seconds} s", passing=True, ending=True), handle=handle)


def new_places(moves: Sequence[Moved]) -> list[NewPlace]:
    """Where the attempt has moved files to."""
    return [
        NewPlace(moved.file_log_id, moved.place.bucket, moved.place.name, moved.place.generation) for moved in moves
    ]


def names_for_logs(claimed: Claimed) -> dict[str, str | int]:
    """What a log line about this attempt is found by."""
    names = {"workflow": claimed.workflow, "batch": claimed.key.batch_id, "task": claimed.task}
    return {**names, "element": claimed.key.element} if claimed.key.is_element else {**names}


def log_outcome(attempt: int, outcome: Outcome, checked: Checked | None, names: Mapping[str, str | int]) -> None:
    """Say how an attempt has ended and what follows from it."""
    if checked is None:
        logger.warning("attempt %s is in other hands; its outcome is dropped", attempt, extra=names)
        return
    what_follows = _what_follows(checked)
    if outcome.status is Status.SKIPPED:
        logger.info("attempt %s is skipped: %s%s", attempt, outcome.details[SKIPPED], what_follows, extra=names)
    elif outcome.error is None:
        logger.info("attempt %s succeeded%s", attempt, what_follows, extra=names)
    else:
        error = outcome.error[-LONGEST_LOGGED_ERROR:]
        logger.error("attempt %s failed: %s%s", attempt, error, what_follows, extra=names)


def log_expansion(attempt: int, elements: int, checked: Checked | None, names: Mapping[str, str | int]) -> None:
    """Say into how many elements an attempt has become."""
    if checked is None:
        logger.warning("attempt %s is in other hands; its list is dropped", attempt, extra=names)
        return
    logger.info("attempt %s has %s elements%s", attempt, f"{elements:,}", _what_follows(checked), extra=names)


def _what_follows(checked: Checked) -> str:
    """One line tells all that an outcome has decided: a line costs as much as a statement."""
    words = ""
    if checked.released:
        words += f"; ready to run: tasks {list(checked.released)}"
    if checked.elements:
        words += f"; ready to run: {sum(len(one.numbers) for one in checked.elements):,} elements"
    if checked.still_waiting:
        words += f"; still waiting: tasks {list(checked.still_waiting)}"
    if checked.batch_outcome:
        words += f"; the batch is {checked.batch_outcome}"
    return words
