"""Completion messages: somebody outside says how an attempt has ended."""

from __future__ import annotations

from database.cancellations import request_cancellation
from database.completions import StoredCompletion, find_completion, find_terms, store_completion
from database.dependencies import Locked, lock_one
from database.endings import finish_awaiting
from database.keys import TaskKey
from database.sessions import Transaction
from database.statuses import OPEN, Status
from run.engine.dependency_checker import Checked
from run.engine.elements import check_what_follows
from run.engine.outcomes import Outcome, as_result, failed
from run.engine.stored_values import storable
from run.errors import Rejected
from run.redaction import redacted


def take_completion(tx: Transaction, key: TaskKey, attempt: int | None, said: StoredCompletion) -> Checked:
    """Apply what is said about an attempt, or keep it until that attempt waits for it; said again, it changes nothing.

    Raises Rejected, and nothing has changed, when the task's work is never outside, or this cannot be the outcome of
    an attempt that is open or to come.
    """
    own = lock_one(tx, key)
    terms = find_terms(tx, key)
    if own is None or terms is None:
        raise Rejected(no_such(key))
    if own.is_mapped and not key.is_element:
        raise Rejected(f"task {terms.task} is mapped; say which element is done")
    if not terms.awaits_completion:
        raise Rejected(f"task {terms.task} does its own work; nobody else can say that it is done")
    meant = _attempt_meant(own, attempt)
    before = find_completion(tx, key, meant)
    if before is not None and before != said:
        raise Rejected(f"attempt {meant} of task {terms.task} was said to be {before.status} before, in other words")
    if before is not None:
        return Checked()
    _refuse_what_cannot_be(own, meant, terms.task)
    store_completion(tx, key, meant, said)
    return apply_kept(tx, key, meant)


def apply_kept(tx: Transaction, key: TaskKey, attempt: int) -> Checked:
    """End an attempt that waits for it with what was said about it, if anything was."""
    said = find_completion(tx, key, attempt)
    return Checked() if said is None else _end(tx, key, attempt, outcome_of(said))


def time_out(tx: Transaction, key: TaskKey) -> Checked:
    """End an attempt whose completion message has not come in time."""
    own = lock_one(tx, key)
    if own is None or not (own.awaits_completion and own.is_due):
        return Checked()
    return _end(tx, key, own.attempt, failed("timed out: no completion message has come", passing=True, ending=True))


def outcome_of(said: StoredCompletion) -> Outcome:
    """The outcome of an attempt about which this was said; another attempt may fare better."""
    details = {} if said.result is None else {"result": said.result}
    if said.status == Status.SUCCESS:
        return Outcome(Status.SUCCESS, details=redacted(storable(details)), result=as_result(said.result))
    return failed(said.error or "the outside system said ERROR, and no more", details, passing=True)


def no_such(key: TaskKey) -> str:
    """Why a message that means a batch task which is not there is rejected."""
    if key.is_element:
        return f"there is no element {key.element} of task {key.task_id} in batch {key.batch_id!r}"
    return f"there is no batch {key.batch_id!r} with a task {key.task_id}"


def _attempt_meant(own: Locked, attempt: int | None) -> int:
    if attempt is not None:
        return attempt
    if own.attempt > 1:
        raise Rejected(f"it names no attempt, and there have been {own.attempt}")
    return 1


def _refuse_what_cannot_be(own: Locked, attempt: int, task: str) -> None:
    is_running = own.status is Status.PROCESSING
    if own.status not in OPEN:
        raise Rejected(f"task {task} is {own.status}; its attempt {attempt} is not open and will not be")
    if attempt < own.attempt or (attempt == own.attempt and not is_running):
        raise Rejected(f"attempt {attempt} of task {task} has ended")
    if attempt > own.attempt + (0 if is_running else 1) or attempt < 1:
        raise Rejected(f"there is no attempt {attempt} of task {task}; its last one is {own.attempt}")


def _end(tx: Transaction, key: TaskKey, attempt: int, outcome: Outcome) -> Checked:
    terms = find_terms(tx, key)
    if terms is None:
        return Checked()
    status = finish_awaiting(tx, key, attempt, outcome.ended(terms))
    if status is None:
        return Checked()
    if outcome.ending:
        request_cancellation(tx, key, attempt, terms.version_id, None)
    return check_what_follows(tx, key, status, terms)
