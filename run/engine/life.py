"""The life of a task message: claim, do the work, complete, publish the children. It is told here and nowhere else."""

from __future__ import annotations

import json
import logging
import traceback
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from database.attempts import Claimed, claim, finish, hand_back, take_over
from database.batches import task_state
from database.files import files_of_attempt, store_place
from database.keys import TaskKey
from database.sessions import Database, Transaction
from database.statuses import Status
from run.engine.dependency_checker import Checked, check_and_trigger_children, check_with_descendants
from run.engine.leases import LeaseKeeper
from run.engine.work import make_work
from run.errors import Rejected, TaskFailure, Unavailable
from run.kinds.kind import Finished, Kind, Moved
from run.pubsub.messages import execute_message
from run.pubsub.publisher import Publisher

logger = logging.getLogger(__name__)

#: After so many dead workers an attempt is ERROR: it would kill the next one too.
MOST_TAKEOVERS = 3
#: The longest error text that is kept, in characters; the end of a traceback says most.
LONGEST_ERROR = 1_000_000


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

    def publish(self, batch_id: str, task_ids: Sequence[int]) -> None:
        """Send the messages of tasks that are NEW; one that cannot be sent now is the sweep's to send."""
        if not task_ids:
            return
        try:
            self._publisher.publish([execute_message(task_id, batch_id) for task_id in task_ids])
        except Unavailable as error:
            logger.warning("could not publish %s tasks of batch %s: %s", len(task_ids), batch_id, error)

    def _claim(self, key: TaskKey) -> Claimed | None:
        token = str(uuid.uuid4())
        kinds = list(self._kinds)

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
        logger.info("task %s is not to be started: %s", key.task_id, why, extra={"batch": key.batch_id})

    def _do_the_work(self, claimed: Claimed) -> Outcome | None:
        if claimed.takeovers > MOST_TAKEOVERS:
            return Outcome(Status.ERROR, f"the worker died {MOST_TAKEOVERS} times")
        kind = self._kinds[claimed.kind]
        try:
            with self._leases.held(claimed):
                return _succeeded(self._start(kind, claimed))
        except Unavailable as error:
            logger.info("attempt %s goes on later: %s", claimed.attempt, error, extra=_names(claimed))
            return None
        except TaskFailure as failure:
            return Outcome(Status.ERROR, _error_text(str(failure)), _storable(failure.details))
        except Exception:  # noqa: BLE001 - whatever a kind raises is the outcome of its attempt
            return Outcome(Status.ERROR, _error_text(traceback.format_exc()))

    def _start(self, kind: Kind[Any], claimed: Claimed) -> Finished:
        files = {}
        if claimed.has_files:
            files = self._database.transact(lambda tx: files_of_attempt(tx, claimed.key, claimed.attempt))
        return kind.start(kind.config.model_validate(claimed.config), make_work(claimed, files, self._names))

    def _hand_back(self, claimed: Claimed) -> None:
        # The next sweep finds the attempt, and whoever takes it over finds what is going on outside.
        self._database.transact(lambda tx: hand_back(tx, claimed.key, claimed.token))

    def _complete(self, claimed: Claimed, outcome: Outcome) -> Checked:
        def write_and_check(tx: Transaction) -> Checked | None:
            key = claimed.key
            status = finish(tx, key, claimed.token, outcome.status, outcome.error, outcome.details)
            if status is None:
                return None
            for moved in outcome.moved:
                place = moved.place
                store_place(tx, moved.file_log_id, place.bucket, place.name, place.generation)
            if status is Status.WAITING:
                return check_with_descendants(tx, key)
            may_skip = status is not Status.SUCCESS or claimed.success_may_skip
            return check_and_trigger_children(tx, key, may_skip=may_skip)

        checked = self._database.transact(write_and_check)
        _log_outcome(claimed, outcome, checked)
        return checked or Checked()


def _succeeded(finished: Finished) -> Outcome:
    return Outcome(Status.SUCCESS, details=_storable(finished.details), moved=finished.moved)


def _storable(details: Mapping[str, Any]) -> dict[str, Any]:
    """The details as Postgres can hold them; raises TypeError or ValueError where they are no JSON."""
    text = json.dumps(dict(details), allow_nan=False).replace("\\u0000", "\\ufffd")
    stored: dict[str, Any] = json.loads(text)
    return stored


def _error_text(text: str) -> str:
    cut = text if len(text) <= LONGEST_ERROR else f"... {text[-LONGEST_ERROR:]}"
    # Postgres holds no NUL in a text.
    return cut.replace("\0", "\N{REPLACEMENT CHARACTER}") or "no message"


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
        logger.error("attempt %s failed: %s", claimed.attempt, outcome.error, extra=extra)
    if checked.released:
        logger.info("ready to run: tasks %s", list(checked.released), extra=extra)
    if checked.batch_outcome:
        logger.info("the batch is %s", checked.batch_outcome, extra=extra)
