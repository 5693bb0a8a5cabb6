"""Objects that lie in the buckets and were never announced: found by listing, and handed over as if notified."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event

from database.errors import DatabaseUnavailable
from database.scanning import ScanCursor, WantedObject, never_announced, read_cursor, store_cursor
from database.sessions import Database
from database.workflows import FileTask
from run.clients import Clients
from run.clients.storage import LONGEST_PAGE, StoredObject
from run.errors import PermanentFailure, TaskFailure, Unavailable
from run.handlers.file import FINALIZE, FileHandler
from run.pubsub.envelope import Delivery, read_delivery
from run.pubsub.json_text import is_storable
from run.pubsub.messages import FileMessage
from run.workflows.prefixes import Prefix, merged, narrowed, prefixes_of

logger = logging.getLogger(__name__)

#: How many objects are looked at to say how many wait for a workflow that was just stored.
MOST_COUNTED = 10_000


@dataclass(frozen=True)
class NewFile:
    """An object that was never announced to a task that wants it, and whether it could be handed over now."""

    file: str
    generation: int
    wanted_by: tuple[str, ...]
    handed_over: bool


@dataclass
class ScanReport:
    """What a look through the buckets has found; `problems` say what could not be looked at."""

    looked_at: int = 0
    #: Files that a task wants, and that were announced to it before.
    known: int = 0
    files: list[NewFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    stored: StoredObject
    wanted_by: tuple[str, ...]


@dataclass(frozen=True)
class _Places:
    listed: list[Prefix]
    problems: list[str]


OnPage = Callable[[Prefix, Sequence[NewFile], ScanReport], None]


class Scanner:
    """Looks through the places where files land."""

    def __init__(
        self,
        database: Database,
        files: FileHandler,
        clients: Clients,
        is_ours: Callable[[str, Mapping[str, str]], bool],
        *,
        page_size: int = LONGEST_PAGE,
        ending: Event | None = None,
    ) -> None:
        self._database = database
        self._files = files
        self._clients = clients
        self._is_ours = is_ours
        self._page_size = page_size
        self._ending = ending or Event()

    def scan(self, within: Prefix | None = None, *, dry_run: bool = False, on_page: OnPage | None = None) -> ScanReport:
        """Hand over what was never announced, of all places or of those `within`; `on_page` is told of each page.

        What cannot be listed is a problem of the report and does not keep the rest from being looked at.
        """
        tasks = self._files.file_tasks()
        places = self._places(tasks)
        report = ScanReport(problems=places.problems)
        within_reach = places.listed if within is None else narrowed(places.listed, within)
        if within is not None and not within_reach:
            report.problems.append(f"no file pattern of any workflow looks under {within.uri}")
        for place in within_reach:
            try:
                for objects in self._pages(place):
                    new = [self._taken(found, dry_run=dry_run) for found in self._look(tasks, objects, report)]
                    report.files += new
                    if on_page is not None:
                        on_page(place, new, report)
            except TaskFailure as failure:
                report.problems.append(str(failure))
        return report

    def scan_daily(self, seconds: float) -> bool:
        """Go on with the look through all places for about so many seconds; whether it has come to its end.

        A call does something in any case, unless the process is ending. It begins where the last one has stopped.
        """
        until = time.monotonic() + seconds
        tasks = self._files.file_tasks()
        places = self._places(tasks)
        for problem in places.problems:
            logger.warning("the daily scan leaves something out: %s", problem)
        cursor = self._database.transact(read_cursor)
        for number, (bucket, objects) in enumerate(self._pages_after(cursor, places.listed)):
            if self._ending.is_set() or (number > 0 and time.monotonic() >= until):
                return False
            last = self._hand_over_until(until, tasks, objects)
            self._remember(ScanCursor(bucket, last))
            if last != objects[-1].name:
                return False
        self._remember(None)
        return True

    def count_waiting(self, workflows: Collection[str]) -> tuple[int, bool]:
        """How many objects were never announced to tasks of these workflows, and whether there may be more.

        At most MOST_COUNTED objects are looked at. Raises TaskFailure when Cloud Storage does not answer.
        """
        tasks = [task for task in self._files.file_tasks() if task.current.workflow in workflows]
        report, waiting = ScanReport(), 0
        for place in self._places(tasks).listed:
            for objects in self._pages(place):
                if report.looked_at + len(objects) > MOST_COUNTED:
                    return waiting, True
                waiting += len(self._look(tasks, objects, report))
        return waiting, False

    def _places(self, tasks: Sequence[FileTask]) -> _Places:
        listed: list[Prefix] = []
        problems: list[str] = []
        for task in tasks:
            name = _name(task)
            try:
                patterns = [one.pattern for one in self._files.patterns_of(task) if one is not None]
            except ValueError:
                problems.append(f"this revision cannot read the file trigger of {name}")
                continue
            prefixes = [prefix for pattern in patterns for prefix in prefixes_of(pattern)]
            listed += [prefix for prefix in prefixes if prefix is not None]
            if None in prefixes:
                problems.append(f"the pattern of {name} does not name its bucket; there is no telling where to look")
        return _Places(merged(listed), problems)

    def _pages(self, place: Prefix, after: str = "") -> Iterator[Sequence[StoredObject]]:
        token: str | None = None
        while True:
            objects, token = self._clients.storage.list_page(
                place.bucket, place.name, token, start=after, size=self._page_size
            )
            # Cloud Storage begins with the name that it is given; who names one has seen it.
            if page := [stored for stored in objects if stored.name > after]:
                yield page
            if token is None:
                return

    def _pages_after(
        self, cursor: ScanCursor | None, places: Sequence[Prefix]
    ) -> Iterator[tuple[str, Sequence[StoredObject]]]:
        """The pages of all places that were not looked at yet, each with its bucket."""
        for place, after in _from(places, cursor):
            try:
                for objects in self._pages(place, after):
                    yield place.bucket, objects
            except PermanentFailure:
                # A person must mend this; until then the other places are looked at all the same.
                logger.exception("the daily scan cannot look at %s", place.uri)

    def _look(self, tasks: Sequence[FileTask], objects: Sequence[StoredObject], report: ScanReport) -> list[_Found]:
        """Those of a page's objects that were never announced to a task that wants them."""
        wanted = [
            (stored, by) for stored in objects if self._is_file(stored) and (by := self._wanted_by(tasks, stored))
        ]
        pairs = [_pair(stored, task) for stored, by in wanted for task in by]
        new = self._database.transact(lambda tx: never_announced(tx, objects[0].bucket, pairs)) if pairs else set()
        found = []
        for stored, by in wanted:
            names = tuple(_name(task) for task in by if _pair(stored, task) in new)
            if names:
                found.append(_Found(stored, names))
        report.looked_at += len(objects)
        report.known += len(wanted) - len(found)
        return found

    def _is_file(self, stored: StoredObject) -> bool:
        is_placeholder = stored.name.endswith("/")
        return not is_placeholder and is_storable(stored.name) and not self._is_ours(stored.uri, stored.metadata)

    def _wanted_by(self, tasks: Sequence[FileTask], stored: StoredObject) -> list[FileTask]:
        found = self._files.find_wanted(stored.uri, tasks)
        # A name with a date that is none is a rejection, and that is said once too.
        return [*(wanted.file_task for wanted in found.wanted), *(task for task, _ in found.mismatches)]

    def _taken(self, found: _Found, *, dry_run: bool) -> NewFile:
        handed_over = not dry_run and self._hand_over(found.stored)
        return NewFile(found.stored.uri, found.stored.generation, found.wanted_by, handed_over)

    def _hand_over_until(self, until: float, tasks: Sequence[FileTask], objects: Sequence[StoredObject]) -> str:
        """Hand over what is new on a page; returns the name of its last object, or of the one where time was over."""
        for found in self._look(tasks, objects, ScanReport()):
            self._hand_over(found.stored)
            if self._ending.is_set() or time.monotonic() >= until:
                return found.stored.name
        return objects[-1].name

    def _hand_over(self, stored: StoredObject) -> bool:
        message, delivery = as_notified(stored)
        try:
            self._files.handle(message, delivery)
        except Unavailable as error:
            # Whoever could be given it has it.
            logger.warning("%s#%s was not given to everybody: %s", stored.uri, stored.generation, error)
            return False
        except DatabaseUnavailable:
            raise
        except Exception:  # one object's trouble must not keep the others from being handed over
            logger.exception("could not hand over %s#%s", stored.uri, stored.generation)
            return False
        return True

    def _remember(self, cursor: ScanCursor | None) -> None:
        self._database.transact(lambda tx: store_cursor(tx, cursor))


def as_notified(stored: StoredObject) -> tuple[FileMessage, Delivery]:
    """What Cloud Storage would have told us of this object, the same whenever it is found."""
    moment = None if stored.created is None else stored.created.isoformat()
    attributes = {
        "eventType": FINALIZE,
        "payloadFormat": "JSON_API_V1",
        "bucketId": stored.bucket,
        "objectId": stored.name,
        "objectGeneration": str(stored.generation),
        **({} if moment is None else {"eventTime": moment}),
    }
    resource = {
        "bucket": stored.bucket,
        "name": stored.name,
        "generation": str(stored.generation),
        "size": str(stored.size),
        "metadata": dict(stored.metadata),
    }
    digest = hashlib.sha256(f"{stored.uri}#{stored.generation}".encode()).hexdigest()
    message = {
        "data": base64.b64encode(json.dumps(resource).encode()).decode(),
        "attributes": attributes,
        "messageId": f"scan-{digest[:32]}",
        "publishTime": moment,
    }
    delivery = read_delivery({}, json.dumps({"message": message, "subscription": "scan"}).encode())
    known = FileMessage(
        FINALIZE, stored.bucket, stored.name, stored.generation, stored.size, stored.metadata, stored.created
    )
    return known, delivery


def _pair(stored: StoredObject, task: FileTask) -> WantedObject:
    return WantedObject(stored.name, stored.generation, task.task_id)


def _name(task: FileTask) -> str:
    return f"{task.current.workflow}.{task.task}"


def _from(places: Sequence[Prefix], cursor: ScanCursor | None) -> Iterator[tuple[Prefix, str]]:
    """The places that are not wholly before the cursor, each with the last name in it that was looked at."""
    for place in places:
        if cursor is None or (place.bucket, place.name) > (cursor.bucket, cursor.name):
            yield place, ""
        elif place.bucket == cursor.bucket and cursor.name.startswith(place.name):
            yield place, cursor.name
