"""The life of a task message: claim, do the work, complete, publish the children. It is told here and nowhere else."""

from __future__ import annotations

import logging
import traceback
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from database.attempts import Claimed, claim, finish, hand_back, take_over
from database.batches import task_state
from database.files import LoggedFile, NewPlace, files_of_attempt, store_places
from database.keys import TaskKey
from database.sessions import Database, Transaction
from database.statuses import Status
from run.engine.dependency_checker import Checked, check_and_trigger_children, check_with_descendants
from run.engine.leases import LeaseKeeper
from run.engine.stored_values import storable
from run.engine.work import make_work
from run.errors import Rejected, TaskFailure, Unavailable
from run.kinds.kind import Kind, Moved
from run.pubsub.messages import execute_message
from run.pubsub.publisher import Publisher

logger = logging.getLogger(__name__)

#: After so many dead workers an attempt is ERROR: it would kill the next one too.
MOST_TAKEOVERS = 3
#: The longest error text that is kept, in characters; the end of a traceback says most.
LONGEST_ERROR = 1_000_000
#: Cloud Logging takes entries of 256 KiB (https://docs.cloud.google.com/logging/quotas); the whole is in the task log.
LONGEST_LOGGED_ERROR = 10_000


@dataclass(frozen=True)
class Outcome:
    """How an attempt has ended."""

    status: Status
    error: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    moved: tuple[Moved, ...] = ()


class TaskLife:
    """Runs a task of a batch when a message says so."""

    def __init__(
        self, database: Database, kinds: Mapping[str, Kind[Any]], publisher: Publisher, names: Mapping[str, str]
    ) -> None:
        self._database = database
        self._kinds = kinds
        self._publisher = publisher
        self._names = names
        self._leases = LeaseKeeper(database)

    def execute(self, key: TaskKey) -> None:
        """Live one task message. When this returns, the message's fate is in the database.

        Raises Rejected when there is no such batch task, DatabaseUnavailable when nothing could be stored.
        """
        claimed = self._claim(key)
        if claimed is None:
            return
        outcome = self._do_the_work(claimed)
        if outcome is None:
            self._hand_back(claimed)
            return
        checked = self._complete(claimed, outcome)
        self.publish(key.batch_id, checked.released)

    def publish(self, batch_id: str, task_ids: Sequence[int]) -> bool:
        """Send the messages of tasks that are NEW; when it returns False, they are the sweep's to send."""
        if not task_ids:
            return True
        try:
            self._publisher.publish([execute_message(task_id, batch_id) for task_id in task_ids])
        except Unavailable as error:
            logger.warning("could not publish %s tasks of batch %s: %s", len(task_ids), batch_id, error)
            return False
        return True

    @property
    def kinds(self) -> list[str]:
        """The names of the kinds that this revision knows."""
        return list(self._kinds)

    def _claim(self, key: TaskKey) -> Claimed | None:
        token = str(uuid.uuid4())
        kinds = self.kinds

        def claim_or_take_over(tx: Transaction) -> Claimed | None:
            return claim(tx, key, token, kinds) or take_over(tx, key, token, kinds)

        claimed = self._database.transact(claim_or_take_over)
        if claimed is None:
            self._say_why_not(key)
        else:
            how = "took over" if claimed.takeovers else "started"
            logger.info("%s attempt %s of %s", how, claimed.attempt, claimed.task, extra=_names(claimed))
        return claimed

    def _say_why_not(self, key: TaskKey) -> None:
        state = self._database.transact(lambda tx: task_state(tx, key))
        if state is None:
            raise Rejected(f"there is no batch {key.batch_id!r} with a task {key.task_id}")
        why = f"it is {state.status}"
        if state.status is Status.NEW and state.kind not in self._kinds:
            why = f"this revision does not know its kind {state.kind}; it stays NEW"
        elif state.status is Status.WAITING:
            missing = [*state.open_parents, *(["its file"] if state.awaits_file else [])]
            why = f"it waits for {', '.join(missing)}"
        names = {"workflow": state.workflow, "batch": key.batch_id, "task": state.task}
        logger.info("%s is not to be started: %s", state.task, why, extra=names)

    def _do_the_work(self, claimed: Claimed) -> Outcome | None:
        if claimed.takeovers >= MOST_TAKEOVERS:
            return Outcome(Status.ERROR, f"the worker died {MOST_TAKEOVERS} times")
        # A database that does not answer is not the task's failure; its lease brings the attempt back.
        files = self._files(claimed)
        kind = self._kinds[claimed.kind]
        try:
            with self._leases.held(claimed):
                config = kind.config.model_validate(claimed.config)
                finished = kind.start(config, make_work(claimed, files, self._names))
            return Outcome(Status.SUCCESS, details=storable(finished.details), moved=finished.moved)
        except Unavailable as error:
            logger.info("attempt %s goes on later: %s", claimed.attempt, error, extra=_names(claimed))
            return None
        except TaskFailure as failure:
            return _failed(str(failure), failure.details)
        except Exception:  # noqa: BLE001 - whatever a kind raises is the outcome of its attempt
            return _failed(traceback.format_exc(), {})

    def _files(self, claimed: Claimed) -> dict[str, LoggedFile]:
        if not claimed.has_files:
            return {}
        return self._database.transact(lambda tx: files_of_attempt(tx, claimed.key, claimed.attempt))

    def _hand_back(self, claimed: Claimed) -> None:
        # The next sweep finds the attempt, and whoever takes it over finds what is going on outside.
        self._database.transact(lambda tx: hand_back(tx, claimed.key, claimed.token))

    def _complete(self, claimed: Claimed, outcome: Outcome) -> Checked:
        def write_and_check(tx: Transaction) -> Checked | None:
            key = claimed.key
            status = finish(tx, key, claimed.token, outcome.status, outcome.error, outcome.details)
            if status is None:
                return None
            if status is Status.WAITING:
                checked = check_with_descendants(tx, key)
            else:
                may_skip = status is not Status.SUCCESS or claimed.success_may_skip
                checked = check_and_trigger_children(tx, key, may_skip=may_skip)
            store_places(tx, [_new_place(moved) for moved in outcome.moved])
            return checked

        checked = self._database.transact(write_and_check)
        _log_outcome(claimed, outcome, checked)
        return checked or Checked()


def _failed(text: str, details: Mapping[str, Any]) -> Outcome:
    cut = text if len(text) <= LONGEST_ERROR else f"... {text[-LONGEST_ERROR:]}"
    return Outcome(Status.ERROR, storable(cut) or "no message", storable(details))


def _new_place(moved: Moved) -> NewPlace:
    return NewPlace(moved.file_log_id, moved.place.bucket, moved.place.name, moved.place.generation)


def _names(claimed: Claimed) -> dict[str, str]:
    return {"workflow": claimed.workflow, "batch": claimed.key.batch_id, "task": claimed.task}


def _log_outcome(claimed: Claimed, outcome: Outcome, checked: Checked | None) -> None:
    extra = _names(claimed)
    if checked is None:
        logger.warning("attempt %s was taken over; its outcome is dropped", claimed.attempt, extra=extra)
        return
    if outcome.error is None:
        logger.info("attempt %s succeeded", claimed.attempt, extra=extra)
    else:
        logger.error("attempt %s failed: %s", claimed.attempt, outcome.error[-LONGEST_LOGGED_ERROR:], extra=extra)
    if checked.released:
        logger.info("ready to run: tasks %s", list(checked.released), extra=extra)
    if checked.still_waiting:
        logger.info("not ready, waiting for other parents: tasks %s", list(checked.still_waiting), extra=extra)
    if checked.batch_outcome:
        logger.info("the batch is %s", checked.batch_outcome, extra=extra)
