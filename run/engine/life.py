"""The life of a task message: claim, do the work, complete, publish the children. It is told here and nowhere else."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from database.attempts import Claimed, claim, claim_without_file, let_go, pick_up, take_over
from database.batches import overdue_children, task_state
from database.completions import find_completion
from database.errors import DatabaseError, DatabaseUnavailable
from database.files import LoggedFile, file_made, files_of_attempt
from database.keys import TaskKey
from database.sessions import Database, Transaction
from database.statuses import TERMINAL, SkipCause, Status
from run.engine.completions import no_such, outcome_of
from run.engine.conditions import skip_unless_needed
from run.engine.dependency_checker import Elements
from run.engine.expanding import Expands, is_mapped, read_list
from run.engine.handles import StoredHandle
from run.engine.leases import LeaseKeeper
from run.engine.outcomes import (
    Outcome,
    failed,
    failure,
    log_expansion,
    log_outcome,
    names_for_logs,
    skipped,
    success,
    timed_out,
)
from run.engine.results import LargeResults, Results
from run.engine.work import make_work
from run.engine.writing import CameOfIt, LaterAgain, write_patiently
from run.errors import Rejected, Unavailable
from run.kinds.kind import AwaitsCompletion, Finished, GoesOn, Kind, Progress, Skipped, Work
from run.pubsub.messages import execute_message
from run.pubsub.publisher import Publisher
from run.workflows.result_names import parents_of, result_names_in

logger = logging.getLogger(__name__)

#: How long a message stays with work that goes on outside, in seconds, before the sweep asks for it.
PATIENCE_SECONDS = 5.0
#: The first and the longest pause of an attempt whose other side does not answer, in seconds.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 10.0, 300.0
#: A mapped task may have very many elements; their messages are not all in memory at once.
MESSAGES_AT_ONCE = 1000


class TaskLife:
    """Runs a task of a batch when a message says so, and goes on with it when the sweep does."""

    def __init__(
        self,
        database: Database,
        kinds: Mapping[str, Kind[Any]],
        publisher: Publisher,
        names: Mapping[str, str],
        large_results: LargeResults | None = None,
    ) -> None:
        self._database = database
        self._kinds = kinds
        self._kind_names = list(kinds)
        self._publisher = publisher
        self._names = names
        self._leases = LeaseKeeper(database)
        self.results = Results(database, large_results)

    def execute(self, key: TaskKey) -> None:
        """Live one task message. When this returns, the message's fate is in the database.

        Raises Rejected when there is no such batch task, DatabaseUnavailable when nothing could be stored.
        """
        claimed = self._claim(key)
        if claimed is not None:
            self._live(claimed, PATIENCE_SECONDS)

    def go_on(self, key: TaskKey) -> bool:
        """Ask once for the work of an attempt that is due; False when somebody else has it, or nobody here can."""
        token = str(uuid.uuid4())
        claimed = self._database.transact(lambda tx: pick_up(tx, key, token, self._kind_names))
        if claimed is None:
            return False
        self._live(claimed, patience=0)
        return True

    def _live(self, claimed: Claimed, patience: float) -> None:
        came_of_it = self._do_the_work(claimed, patience)
        with self._leases.held(claimed, to_be_given_back=False):
            checked = write_patiently(self._database, claimed, came_of_it)
        if isinstance(came_of_it, Outcome):
            log_outcome(claimed.attempt, came_of_it, checked, names_for_logs(claimed))
        elif isinstance(came_of_it, Expands):
            log_expansion(claimed.attempt, len(came_of_it.items), checked, names_for_logs(claimed))
        elif checked is None:
            logger.warning("attempt %s is in other hands", claimed.attempt, extra=names_for_logs(claimed))
        if checked is not None:
            self.publish(claimed.key.batch_id, checked.released, checked.elements)

    def publish(self, batch_id: str, task_ids: Sequence[int], elements: Iterable[Elements] = ()) -> bool:
        """Send the messages of tasks and elements that are NEW; when it returns False, they are the sweep's to send."""
        of_elements = (execute_message(one.task_id, batch_id, number) for one in elements for number in one.numbers)
        messages = chain((execute_message(task_id, batch_id) for task_id in task_ids), of_elements)
        sent = 0
        try:
            while page := list(islice(messages, MESSAGES_AT_ONCE)):
                self._publisher.publish(page)
                sent += len(page)
        except Unavailable as error:
            logger.warning("could publish only %s messages of batch %s: %s", sent, batch_id, error)
            return False
        return True

    def give_back_all(self) -> int:
        """Let somebody else go on with every attempt that this process works on; how many those were."""
        return sum(map(self._give_back, self._leases.all_to_be_given_back()))

    def _give_back(self, claimed: Claimed) -> bool:
        try:
            return self._database.transact(lambda tx: let_go(tx, claimed.key, claimed.token, 0, None))
        except DatabaseError as error:
            # Its lease brings it back; the others are still to be given back.
            logger.warning("could not give back attempt %s: %s", claimed.attempt, error, extra=names_for_logs(claimed))
            return False

    @property
    def kinds(self) -> Mapping[str, Kind[Any]]:
        """The kinds that this revision knows, by name."""
        return self._kinds

    def _claim(self, key: TaskKey) -> Claimed | None:
        token = str(uuid.uuid4())
        kinds = self._kind_names

        def claim_or_take_over(tx: Transaction) -> Claimed | None:
            return claim(tx, key, token, kinds) or take_over(tx, key, token, kinds)

        # Most messages are about a task that is NEW and takes no file.
        claimed = self._database.run_alone(lambda tx: claim_without_file(tx, key, token, kinds))
        if claimed is None:
            claimed = self._database.transact(claim_or_take_over)
        if claimed is None and self._say_why_not(key) is Status.NEW:
            # A task with a file, which was waited for while its batch moved to another version.
            claimed = self._database.transact(claim_or_take_over)
        if claimed is None:
            return None
        how = "took over" if claimed.takeovers else "started"
        logger.info("%s attempt %s of %s", how, claimed.attempt, claimed.task, extra=names_for_logs(claimed))
        return claimed

    def _say_why_not(self, key: TaskKey) -> Status:
        state = self._database.transact(lambda tx: task_state(tx, key))
        if state is None:
            raise Rejected(no_such(key))
        if state.status in TERMINAL:
            # Its worker may have died between the commit and the publishing; the sweep would find them later.
            self.publish(key.batch_id, self._database.transact(lambda tx: overdue_children(tx, key)))
        why = f"it is {state.status}"
        if state.status is Status.NEW and state.kind not in self._kinds:
            why = f"this revision does not know its kind {state.kind}; it stays NEW"
        elif state.status is Status.WAITING:
            parents = () if key.is_element else state.open_parents
            missing = [*parents, *(["its file"] if state.awaits_file else [])]
            why = f"it waits for {', '.join(missing) or 'its retry'}"
        names = {"workflow": state.workflow, "batch": key.batch_id, "task": state.task}
        logger.info("%s is not to be started: %s", state.task, why, extra=names)
        return state.status

    def _do_the_work(self, claimed: Claimed, patience: float) -> CameOfIt:
        known = self._known_outcome(claimed)
        if known is not None:
            return known
        return self._read_list(claimed) if is_mapped(claimed) else self._do_its_work(claimed, patience)

    def _do_its_work(self, claimed: Claimed, patience: float) -> CameOfIt:
        # A database that does not answer is not the task's failure; its lease brings the attempt back.
        kind = self._kinds[claimed.kind]
        files = self._files(claimed)
        progress: Progress | LaterAgain
        try:
            with self._leases.held(claimed) as is_lost:
                results = self.results.of(claimed, _reads(kind, claimed))
                unneeded = skip_unless_needed(claimed, results)
                if unneeded is not None:
                    return unneeded
                work = make_work(claimed, files, self._names, is_lost, results)
                progress = self._make_progress(kind, claimed, work, patience)
                if isinstance(progress, Finished):
                    return self.results.kept(success(progress), claimed)
        except Unavailable as error:
            progress = _later_again(claimed, error)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a kind raises is the outcome of its attempt
            return failure(error, kind)
        if isinstance(progress, Skipped):
            return skipped(SkipCause.RAISED, progress.reason, progress.details)
        # Asked once more, and only then given up.
        handle = progress.handle if isinstance(progress, GoesOn) else None
        return timed_out(claimed.timeout_seconds, handle) if claimed.timed_out else progress

    def _read_list(self, claimed: Claimed) -> CameOfIt:
        try:
            with self._leases.held(claimed):
                return read_list(claimed, self.results)
        except Unavailable as error:
            return _later_again(claimed, error)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the list is the outcome of its attempt
            return failure(error, self._kinds[claimed.kind])

    def _known_outcome(self, claimed: Claimed) -> Outcome | None:
        """The outcome of an attempt that needs no more work."""
        if claimed.takeovers >= claimed.max_takeovers:
            return failed(f"the worker died {claimed.max_takeovers} times", ending=True)
        is_first_look = claimed.takeovers == 0 and claimed.polls == 0
        if claimed.awaits_completion and not is_first_look:
            said = self._database.transact(lambda tx: find_completion(tx, claimed.key, claimed.attempt))
            if said is not None:
                return outcome_of(said)
        if claimed.timed_out and claimed.handle is None:
            return timed_out(claimed.timeout_seconds)
        return None

    def _files(self, claimed: Claimed) -> Sequence[LoggedFile]:
        if not claimed.has_files:
            return ()
        return self._database.transact(lambda tx: self._files_in(tx, claimed))

    def _files_in(self, tx: Transaction, claimed: Claimed) -> list[LoggedFile]:
        files = files_of_attempt(tx, claimed.key, claimed.attempt)
        source_key = self._kinds[claimed.kind].source_key
        source = claimed.config.get(source_key) if source_key else None
        found = file_made(tx, claimed.key.batch, claimed.version_id, source) if source else None
        if found is None:
            return files
        kind, made = found
        makes_file = kind in self._kinds and self._kinds[kind].makes_file
        if made is None and not makes_file:
            return files
        # What it has taken is not what it was to make.
        others = [file for file in files if file.task != source]
        return others if made is None else [*others, made]

    def _make_progress(self, kind: Kind[Any], claimed: Claimed, work: Work, patience: float) -> Progress:
        config = kind.config.model_validate(claimed.config)
        stored = StoredHandle(self._database, claimed)
        work = replace(work, store_handle=stored.store)
        until = time.monotonic() + patience
        progress = kind.start(config, work) if claimed.handle is None else kind.poll(config, work, claimed.handle)
        while isinstance(progress, GoesOn) and time.monotonic() + progress.poll_after < until:
            # What was begun outside is known to the database before it is asked for the first time. New places become
            # known when the attempt is let go of.
            if progress.moved or not stored.is_known(progress.handle):
                break
            time.sleep(progress.poll_after)
            progress = kind.poll(config, work, progress.handle)
        _refuse_what_is_no_progress(progress, claimed)
        return progress


def _reads(kind: Kind[Any], claimed: Claimed) -> Collection[str]:
    """The parents whose results an attempt needs; an element can do without those that only the condition reads."""
    if claimed.condition is None or not claimed.key.is_element:
        return claimed.reads_results
    config = kind.config.model_validate(claimed.config)
    return parents_of(result_names_in(claimed.config)).union(kind.reads_results(config))


def _later_again(claimed: Claimed, error: Unavailable) -> LaterAgain:
    logger.warning("attempt %s goes on later: %s", claimed.attempt, error, extra=names_for_logs(claimed))
    return LaterAgain(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(claimed.polls, 10)))


def _refuse_what_is_no_progress(progress: object, claimed: Claimed) -> None:
    """A kind that forgets to say how its work stands has a bug; the task must not hang because of it."""
    if not isinstance(progress, Progress):
        raise TypeError(
            f"the kind {claimed.kind} returned {progress!r}; it must be Finished, Skipped, GoesOn or AwaitsCompletion"
        )
    if isinstance(progress, AwaitsCompletion) and not claimed.awaits_completion:
        raise TypeError(
            f"the kind {claimed.kind} awaits a completion message, and awaits_completion() says that it does not"
        )
