"""The once-a-minute kick: it mends the database, polls what goes on outside, and does what is due."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from threading import Event

from database.errors import DatabaseUnavailable
from database.keys import WHOLE, BatchKey
from database.sessions import Database
from database.sweeping import (
    MOST_AT_ONCE,
    Due,
    DueKind,
    ToPublish,
    dead_attempts,
    due_messages,
    due_work,
    finish_chore,
    not_published,
    put_off,
    take_chores,
)
from run.engine.dependency_checker import Elements
from run.engine.due import DueTasks
from run.engine.life import TaskLife
from run.pubsub.envelope import Delivery
from run.pubsub.messages import SweepMessage

logger = logging.getLogger(__name__)

#: How long a kick goes on while something is due; the next kick comes after a minute.
SECONDS_OF_A_KICK = 50.0
#: Polls at a time; each has a connection of the pool and a timeout of its own.
THREADS = 4
#: How long at most a kick rests before it looks again whether a message was lost or a worker has died.
LONGEST_NAP_SECONDS = 5.0
#: What is due again and again must not keep a kick for ever; this often it is done although the time is up.
MOST_LATE_PASSES = 3
#: When something that raised is tried again, in seconds.
PUT_OFF_SECONDS = 60.0

_ASKS_OUTSIDE = (DueKind.POLL, DueKind.CANCELLATION, DueKind.NOTIFICATION)

#: Everything that a sweep counts, in the order in which it is told; `put_off` is what could not be done.
COUNTED = ("overdue_messages", "dead_attempts", *(kind.value for kind in DueKind), "put_off")

#: What is done only now and then: how often, in seconds, and the work, which says whether it is finished.
Chores = Mapping[str, tuple[float, Callable[[float], bool]]]


class SweepHandler:
    """Mends what a crash, a lost message or a lost worker has left behind, and goes on with what waits for its time."""

    def __init__(
        self, database: Database, life: TaskLife, due: DueTasks, chores: Chores, ending: Event | None = None
    ) -> None:
        """A sweep comes to its end as soon as `ending` is set: what it would still begin, another instance does."""
        self._database = database
        self._life = life
        self._due = due
        self._chores = chores
        self._ending = ending or Event()

    def handle(self, _message: SweepMessage, _delivery: Delivery) -> None:
        """Sweep until nothing is due, or the next kick will go on."""
        self.sweep(SECONDS_OF_A_KICK)

    def sweep(self, seconds: float = 0.0) -> dict[str, int]:
        """Do what is due, and what becomes due within so many seconds; return how much of what there was.

        Overlapping sweeps share the work: each item is taken in a transaction of its own.
        """
        until = time.monotonic() + seconds
        last_moment = max(until, time.monotonic() + SECONDS_OF_A_KICK)
        done = Counter(dict.fromkeys(COUNTED, 0))
        seen: set[Due] = set()
        published: set[ToPublish] = set()
        for passes in count(1):
            if self._ending.is_set():
                break
            self._mend(done, published)
            left = max(0.0, until - time.monotonic())
            work = [due for due in self._database.transact(lambda tx: due_work(tx, left)) if _seen_as(due) not in seen]  # noqa: B023
            now = [due for due in work if due.seconds <= 0]
            self._do(now, done, seen, last_moment)
            is_late = time.monotonic() >= until and passes >= MOST_LATE_PASSES
            if not work or is_late or time.monotonic() >= last_moment:
                break
            if not now:
                self._ending.wait(max(0.05, min(LONGEST_NAP_SECONDS, *(due.seconds for due in work))))
        self._do_chores(until)
        if any(done.values()):
            logger.info("swept: %s", ", ".join(f"{count} {what}" for what, count in done.items() if count))
        return dict(done)

    def _mend(self, done: Counter[str], published: set[ToPublish]) -> None:
        """Publish what may have been lost; when Pub/Sub is down, that waits for the next sweep."""
        if done["overdue_messages"] < MOST_AT_ONCE:
            due = self._database.transact(due_messages)
            unpublished = self._publish(due)
            done["overdue_messages"] += len(due) - len(unpublished)
            if unpublished:
                self._database.transact(lambda tx: not_published(tx, unpublished))
                return
        found = self._database.transact(lambda tx: dead_attempts(tx, list(self._life.kinds)))
        dead = [message for message in found if message not in published]
        published.update(dead)
        done["dead_attempts"] += len(dead) - len(self._publish(dead))

    def _publish(self, messages: Sequence[ToPublish]) -> list[ToPublish]:
        """Publish batch by batch, up to the first that cannot be; returns what was not."""
        by_batch: defaultdict[BatchKey, list[ToPublish]] = defaultdict(list)
        for message in messages:
            by_batch[message.batch].append(message)
        published: set[BatchKey] = set()
        for batch, found in by_batch.items():
            tasks = [message.task_id for message in found if message.element == WHOLE]
            elements = [Elements(one.task_id, (one.element,)) for one in found if one.element != WHOLE]
            if not self._life.publish(batch.batch_id, tasks, elements):
                break
            published.add(batch)
        return [message for message in messages if message.batch not in published]

    def _do(self, work: Iterable[Due], done: Counter[str], seen: set[Due], last_moment: float) -> None:
        """Do what is due, as far as there is time; what asks somebody outside in a few threads."""
        quick: list[Due] = []
        slow: list[Due] = []
        for due in work:
            (slow if due.what in _ASKS_OUTSIDE else quick).append(due)

        def do_in_time(due: Due) -> None:
            if not self._ending.is_set() and time.monotonic() < last_moment:
                done[due.what.value if self._do_one(due) else "put_off"] += 1
                seen.add(_seen_as(due))

        # A mail server that does not answer holds up nothing else.
        slow.sort(key=lambda due: due.what is DueKind.NOTIFICATION)
        for due in quick:
            do_in_time(due)
        if slow:
            with ThreadPoolExecutor(THREADS, thread_name_prefix="poll") as threads:
                list(threads.map(do_in_time, slow))

    def _do_one(self, due: Due) -> bool:
        try:
            return self._due.go_on(due)
        except DatabaseUnavailable:
            raise
        except Exception:  # one item's trouble must not stop the others
            logger.exception("could not go on with %s; trying again later", due)
            self._database.transact(lambda tx: put_off(tx, due, PUT_OFF_SECONDS))
            return False

    def _do_chores(self, until: float) -> None:
        if self._ending.is_set():
            return
        for name in sorted(self._database.transact(take_chores)):
            every, work = self._chores.get(name, (PUT_OFF_SECONDS, _nothing))
            try:
                finished = work(max(0.0, until - time.monotonic()))
            except DatabaseUnavailable:
                raise
            except Exception:  # a chore is not what the kick is for
                logger.exception("could not finish %s; trying again later", name)
                finished = False
            if finished:
                self._database.transact(lambda tx: finish_chore(tx, name, every))  # noqa: B023


def _nothing(_seconds: float) -> bool:
    return True


def _seen_as(due: Due) -> Due:
    return replace(due, seconds=0)
