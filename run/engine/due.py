"""What happens to something whose moment has come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

from database.attempts import Claimed
from database.cancellations import confirm_ended, note_problem, take_cancellation
from database.dependencies import lock_batch_tasks, lock_one
from database.facts import open_tasks
from database.files import LoggedFile, files_of_attempt
from database.interventions import retry_now
from database.keys import TaskKey
from database.notifications import note_missed_deadline
from database.sessions import Database, Transaction
from database.sweeping import Due, DueKind, miss_deadline, put_off
from run.engine.collecting import close_if_quiet
from run.engine.completions import time_out
from run.engine.dependency_checker import Checked, Elements
from run.engine.elements import check_alone
from run.engine.life import TaskLife
from run.engine.moved import Who
from run.engine.moves import cancel_batch
from run.engine.outcomes import names_for_logs
from run.engine.stored_values import storable
from run.engine.telling import facts_of_missed_deadline
from run.engine.work import make_work
from run.errors import TaskFailure, Unavailable
from run.redaction import redacted

logger = logging.getLogger(__name__)

#: An attempt that was handed back is published again after this long, in seconds, until somebody goes on with it.
REPUBLISH_SECONDS = 60.0


def _tells_nobody(_notification_id: int) -> bool:
    return False


class DueTasks:
    """Goes on with what is due; each item is a transaction of its own, or several, and may have been done meanwhile."""

    def __init__(
        self, database: Database, life: TaskLife, names: Mapping[str, str], tell: Callable[[int], bool] = _tells_nobody
    ) -> None:
        """`tell` sends a notification by its id; whether it was sent."""
        self._database = database
        self._life = life
        self._names = names
        self._tell = tell

    def go_on(self, due: Due) -> bool:
        """Do what is due now; False when it is due again later, because somebody outside has not taken it."""
        match due.what:
            case DueKind.NOTIFICATION:
                return self._tell(due.notification_id or 0)
            case DueKind.POLL:
                self._poll(due)
            case DueKind.HANDED_BACK:
                self._publish_again(due)
            case DueKind.CANCELLATION:
                self._cancel(due)
            case DueKind.RETRY | DueKind.COMPLETION | DueKind.DEADLINE | DueKind.QUIET:
                self._check(due, lambda tx: _CHECKS[due.what](tx, due))
            case _:
                assert_never(due.what)
        return True

    def _poll(self, due: Due) -> None:
        if not self._life.go_on(due.key):
            # Its kind may be one that only a newer revision knows: it must not stand before the others.
            self._database.transact(lambda tx: put_off(tx, due, REPUBLISH_SECONDS))

    def _publish_again(self, due: Due) -> None:
        if self._database.transact(lambda tx: put_off(tx, due, REPUBLISH_SECONDS)):
            elements = [Elements(due.task_id, (due.element,))] if due.key.is_element else []
            self._life.publish(due.batch_id, [] if elements else [due.task_id], elements)

    def _check(self, due: Due, check: Callable[[Transaction], Checked]) -> None:
        checked = self._database.transact(check)
        self._life.publish(due.batch_id, checked.released, checked.elements)

    def _cancel(self, due: Due) -> None:
        kinds = list(self._life.kinds)
        claimed = self._database.transact(lambda tx: take_cancellation(tx, due.key, due.attempt, kinds))
        if claimed is None:
            return
        problem = storable(redacted(self._end_outside(claimed)))
        if problem is None:
            logger.info("attempt %s has ended outside", claimed.attempt, extra=names_for_logs(claimed))
            self._check(due, lambda tx: _confirm(tx, due.key, due.attempt, claimed.polls))
        else:
            logger.warning("attempt %s has not ended: %s", claimed.attempt, problem, extra=names_for_logs(claimed))
            self._database.transact(lambda tx: note_problem(tx, due.key, due.attempt, problem))

    def _end_outside(self, claimed: Claimed) -> str | None:
        """Have the kind end what the attempt has begun; None when that is confirmed, else why it is not."""
        files: Sequence[LoggedFile] = ()
        if claimed.has_files:
            files = self._database.transact(lambda tx: files_of_attempt(tx, claimed.key, claimed.attempt))
        kind = self._life.kinds[claimed.kind]
        try:
            config = kind.config.model_validate(claimed.config)
            results = self._life.results.of_former(claimed)
            work = make_work(claimed, files, self._names, results=results)
            ended = kind.cancel(config, work, claimed.handle)
        except (TaskFailure, Unavailable) as error:
            return str(error)
        except Exception as error:  # whatever a kind raises is why the end is not confirmed
            logger.exception("attempt %s could not be ended", claimed.attempt, extra=names_for_logs(claimed))
            return f"{type(error).__name__}: {error}"
        return None if ended else "the other side has not confirmed it yet"


def _retry(tx: Transaction, key: TaskKey) -> Checked:
    # Locked in a statement of its own, so that the check reads the batch's version after the wait.
    own = lock_one(tx, key)
    if own is not None and own.is_due:
        retry_now(tx, key)
    return check_alone(tx, key)


def _confirm(tx: Transaction, key: TaskKey, attempt: int, tries: int) -> Checked:
    lock_one(tx, key)
    confirm_ended(tx, key, attempt, tries)
    return check_alone(tx, key)


def _miss(tx: Transaction, due: Due) -> Checked:
    batch = due.key.batch
    # The tasks before the batch, as in every transaction.
    lock_batch_tasks(tx, batch)
    missed = miss_deadline(tx, batch)
    if missed is None:
        return Checked()
    names = {"workflow": missed.workflow, "batch": batch.batch_id}
    logger.error("the batch has missed its deadline", extra=names)
    if missed.tells:
        facts = facts_of_missed_deadline(open_tasks(tx, batch), cancels=missed.cancels)
        note_missed_deadline(tx, batch, facts)
    if missed.cancels:
        cancel_batch(tx, batch, missed.workflow, Who("the deadline", "the batch has not ended in time"))
    return Checked()


#: What needs one transaction and no more.
_CHECKS: Mapping[DueKind, Callable[[Transaction, Due], Checked]] = {
    DueKind.RETRY: lambda tx, due: _retry(tx, due.key),
    DueKind.COMPLETION: lambda tx, due: time_out(tx, due.key),
    DueKind.DEADLINE: _miss,
    DueKind.QUIET: lambda tx, due: close_if_quiet(tx, due.key),
}
