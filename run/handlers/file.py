"""File messages: which tasks want the object that has landed, and what becomes of one that nobody wants."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

from database.files import Arrival, WantedBy, record_file
from database.places import is_place_of_a_file
from database.sessions import Database, Transaction
from database.statuses import FileDecision
from database.workflows import FileTask, file_tasks
from run.engine.arrivals import Decided, Wanted, take_file
from run.engine.life import TaskLife
from run.errors import Rejected, Unavailable
from run.handlers.inbox import keep
from run.pubsub.envelope import Delivery
from run.pubsub.messages import FileMessage
from run.workflows.definition import FileTrigger
from run.workflows.patterns import FilePattern, PatternMismatch

logger = logging.getLogger(__name__)

FINALIZE = "OBJECT_FINALIZE"

#: The custom metadata of an object generation, None when that generation is not there any more.
FindMetadata = Callable[[str, str, int], Mapping[str, str] | None]


@dataclass
class Found:
    """What the patterns of all workflows say about one address."""

    wanted: list[Wanted] = field(default_factory=list)
    #: Tasks whose pattern fits while a part of the address that should be a date is none.
    mismatches: list[tuple[FileTask, PatternMismatch]] = field(default_factory=list)
    #: Tasks, as "workflow.task", whose trigger this revision cannot read.
    unreadable: list[str] = field(default_factory=list)


class FileHandler:
    """Gives each object to the tasks that want it."""

    def __init__(
        self,
        database: Database,
        life: TaskLife,
        names: Mapping[str, str],
        find_metadata: FindMetadata,
        is_ours: Callable[[str, Mapping[str, str]], bool],
    ) -> None:
        self._database = database
        self._life = life
        self._names = dict(names)
        self._find_metadata = find_metadata
        self._is_ours = is_ours

    def handle(self, message: FileMessage, delivery: Delivery) -> None:
        """Decide about one generation of one object, once for each task that wants it, and once if nobody does."""
        arrival = Arrival(
            message.bucket, message.name, message.generation, message.event_type, message.size, delivery.message_id
        )
        ignored = self._why_ignored_unseen(message)
        if ignored is not None:
            self._record_for_nobody(arrival, FileDecision.IGNORED, ignored)
            return
        found = self.find_wanted(arrival.uri)
        wanted, mismatches = found.wanted, found.mismatches
        if (wanted or mismatches) and self._is_our_own(arrival, message.metadata):
            self._record_for_nobody(arrival, FileDecision.IGNORED, "one of our own tasks has put it here")
            return
        if not wanted and not mismatches and not found.unreadable:
            self._record_for_nobody(arrival, FileDecision.UNWANTED, "no pattern of any workflow fits it")
        for file_task, mismatch in mismatches:
            self._reject(arrival, file_task, str(mismatch), delivery)
        for one in wanted:
            self._take(arrival, one, delivery, _day(message, delivery))
        if found.unreadable:
            raise Unavailable(f"this revision cannot read the file triggers of {', '.join(found.unreadable)}")

    def file_tasks(self) -> list[FileTask]:
        """Every task of every newest version that waits for a file."""
        return self._database.transact(file_tasks)

    def patterns_of(self, file_task: FileTask) -> tuple[FilePattern, FilePattern | None]:
        """The patterns of the addresses that a task wants: of its files, and of their marker if it waits for one.

        Raises ValueError when this revision cannot read them.
        """
        trigger = FileTrigger.model_validate(file_task.file)
        marker = trigger.until.marker if trigger.until else None
        parse, names = tuple(trigger.parse.items()), tuple(self._names.items())
        return _compiled(trigger.pattern, parse, names), _compiled(marker, parse, names) if marker else None

    def find_wanted(self, uri: str, among: Sequence[FileTask] | None = None) -> Found:
        """Which tasks (of these, if they are given) want the object of this address."""
        found = Found()
        for file_task in self.file_tasks() if among is None else among:
            try:
                found.wanted.extend(self._matches(file_task, uri))
            except PatternMismatch as mismatch:
                found.mismatches.append((file_task, mismatch))
            except ValueError:
                # A newer revision may have stored what this one does not understand; the other tasks get their files.
                found.unreadable.append(f"{file_task.current.workflow}.{file_task.task}")
        return found

    def _matches(self, file_task: FileTask, uri: str) -> Iterator[Wanted]:
        files, marker = self.patterns_of(file_task)
        # The pattern of the files may well fit their marker too, which lies beside them.
        groups = marker.match(uri) if marker else None
        if groups is not None:
            yield Wanted(file_task, groups, is_marker=True)
        elif (groups := files.match(uri)) is not None:
            yield Wanted(file_task, groups)

    def _why_ignored_unseen(self, message: FileMessage) -> str | None:
        if message.event_type != FINALIZE:
            return f"its event is {message.event_type}; only {FINALIZE} brings a file"
        if message.name.endswith("/"):
            return "it is the placeholder of a folder"
        return None

    def _is_our_own(self, arrival: Arrival, metadata: Mapping[str, str] | None) -> bool:
        if metadata is None:
            # A notification may be configured without the object's description; then the object itself is asked.
            metadata = self._find_metadata(arrival.bucket, arrival.object, arrival.generation) or {}
        if self._is_ours(arrival.uri, metadata):
            return True
        return self._database.transact(lambda tx: is_place_of_a_file(tx, arrival))

    def _record_for_nobody(self, arrival: Arrival, decision: FileDecision, reason: str) -> None:
        self._database.transact(lambda tx: record_file(tx, arrival, decision, reason))
        logger.info("%s#%s is %s: %s", arrival.uri, arrival.generation, decision, reason)

    def _take(self, arrival: Arrival, wanted: Wanted, delivery: Delivery, day: date | None) -> None:
        def take(tx: Transaction) -> Decided:
            decided = take_file(tx, arrival, wanted, day)
            if decided.decision is FileDecision.REJECTED:
                keep(tx, delivery, decided.reason or "", _rejected_key(arrival, wanted.file_task))
            return decided

        try:
            decided = self._database.transact(take)
        except Rejected as rejected:
            self._reject(arrival, wanted.file_task, str(rejected), delivery)
            return
        why = f": {decided.reason}" if decided.reason else ""
        file_task = wanted.file_task
        names = {"workflow": file_task.current.workflow, "batch": decided.batch_id, "task": file_task.task}
        became = decided.decision or "known"
        logger.info("%s#%s is %s%s", arrival.uri, arrival.generation, became, why, extra=names)
        if decided.batch_id is not None:
            self._life.publish(decided.batch_id, decided.released)

    def _reject(self, arrival: Arrival, file_task: FileTask, reason: str, delivery: Delivery) -> None:
        wanted_by = WantedBy(workflow_id=file_task.current.workflow_id, task_id=file_task.task_id)

        def reject(tx: Transaction) -> None:
            record_file(tx, arrival, FileDecision.REJECTED, reason, wanted_by)
            keep(tx, delivery, reason, _rejected_key(arrival, file_task))

        self._database.transact(reject)
        logger.warning("%s#%s is rejected: %s", arrival.uri, arrival.generation, reason)


def _day(message: FileMessage, delivery: Delivery) -> date | None:
    """The UTC day of the trigger: a message that comes late, or again, belongs to the day of its event."""
    moment = message.event_time or delivery.publish_time
    return None if moment is None else moment.date()


def rejected_keys_begin(uri: str, generation: int) -> str:
    """How the keys of rejected messages begin that are about one generation of an object, each for one task."""
    return f"file {uri}#{generation} for task "


def _rejected_key(arrival: Arrival, file_task: FileTask) -> str:
    return f"{rejected_keys_begin(arrival.uri, arrival.generation)}{file_task.task_id}"


@lru_cache(maxsize=1000)
def _compiled(pattern: str, parse: tuple[tuple[str, str], ...], names: tuple[tuple[str, str], ...]) -> FilePattern:
    return FilePattern(pattern, dict(parse), dict(names))
