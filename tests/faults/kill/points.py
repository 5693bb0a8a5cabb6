"""The points at which a process may die: around every statement, every COMMIT and every call to the outside."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import Engine, event
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from run.errors import Unavailable
from tests.faults.kill.postgres_proxy import LOSE_NEXT_ANSWER
from tests.faults.kill.statements import Statements

#: How a process ends that SIGKILL has ended, as a shell says it.
KILLED = 137


class Fault(StrEnum):
    """What happens at a point of a run."""

    #: The process dies there, once at each of a sample of the points.
    DEATH = "death"
    #: The same at every one of them.
    EVERY_DEATH = "every death"
    #: What has been done there has taken effect, and its answer does not come; at a sample.
    LOST_ANSWER = "lost answer"
    NONE = "none"


@dataclass(frozen=True)
class Point:
    """The moment before or after something, the `nth` time that it comes."""

    side: str
    name: str
    nth: int

    @property
    def has_answer(self) -> bool:
        """Whether this is where something that lasts has been done, and its answer could be lost."""
        is_call = self.name.endswith("work") or self.name in ("publish", "telling")
        return self.side == "after" and (is_call or self.name.startswith("COMMIT"))

    def __str__(self) -> str:
        return f"{self.side} {self.name}, time {self.nth}"


class Points:
    """Keeps the points that this process has reached while it was watched.

    At the `fatal` one the process ends. After the `lost` one, which has taken effect, its answer does not come.
    """

    def __init__(self) -> None:
        self.reached: list[Point] = []
        self.fatal: Point | None = None
        self.lost: Point | None = None
        #: Whose answer was to be lost, and has come.
        self.unbroken = ""
        self._watching = False
        self._times: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._of_thread = threading.local()
        self._statements = Statements()

    def begin(self, lost: Point | None) -> None:
        """Begin anew."""
        self.reached = []
        self._times.clear()
        self._watching = False
        self.lost = lost
        self.unbroken = ""

    @contextmanager
    def watched(self, watching: bool = True) -> Iterator[None]:
        """Whether points are reached inside the block."""
        before, self._watching = self._watching, watching
        try:
            yield
        finally:
            self._watching = before

    @contextmanager
    def around(self, name: str) -> Iterator[None]:
        """The block takes effect between two points."""
        self.reach("before", name)
        yield
        if self.reach("after", name):
            raise Unavailable(f"there is no answer to {name}")

    def reach(self, side: str, name: str) -> bool:
        """Be at a point; whether the answer is lost there."""
        if not self._watching:
            return False
        with self._lock:
            self._times[side, name] += 1
            point = Point(side, name, self._times[side, name])
            self.reached.append(point)
        if point == self.fatal:
            os._exit(KILLED)
        return point == self.lost

    @property
    def has_lost(self) -> bool:
        """Whether the answer that was to be lost is lost."""
        return self.lost in self.reached

    def wait_for(self, side: str, name: str) -> None:
        """Return when such a point has been reached, by another thread; at once when nobody watches."""
        while self._watching and not self._times[side, name]:
            time.sleep(0.01)

    def watch_statements(self) -> None:
        """Be at points around what this process sends to a database, through whichever engine."""
        event.listen(Engine, "begin", self._begin)
        event.listen(Engine, "before_cursor_execute", self._before_statement)
        event.listen(Engine, "after_cursor_execute", self._after_statement)
        dialect: Any = PGDialect_psycopg2
        commit = dialect.do_commit

        def do_commit(own: Any, connection: Any) -> None:
            if connection.get_transaction_status() == TRANSACTION_STATUS_IDLE:
                # What was alone is committed.
                return
            # A transaction is known by its statements.
            name = f"COMMIT of {', '.join(self._of_thread.statements)}"
            loses = self._begin_commit(name, connection)
            commit(own, connection)
            self._end_commit(name, loses=loses)

        dialect.do_commit = do_commit

    def _is_next(self, side: str, name: str, point: Point | None) -> bool:
        return self._watching and point == Point(side, name, self._times[side, name] + 1)

    def _begin(self, _connection: Any) -> None:
        self._of_thread.statements = []
        self.reach("before", "BEGIN")

    def _begin_commit(self, name: str, connection: Any) -> bool:
        """Be before what lasts; whether its answer will be lost."""
        self.reach("before", name)
        if not self._is_next("after", name, self.lost):
            return False
        with connection.cursor() as cursor:
            cursor.execute(LOSE_NEXT_ANSWER)
        return self.reach("after", name)

    def _end_commit(self, name: str, *, loses: bool) -> None:
        """Be after what lasts, whose answer has come."""
        if loses:
            self.unbroken = name
        else:
            self.reach("after", name)

    def _before_statement(self, *given: Any) -> None:
        name = self._name(given[4], given[2])
        if _commits_itself(given[1], name):
            self._of_thread.loses = self._begin_commit(f"COMMIT of {name}", given[1].connection)
            return
        if not name.startswith("PREPARE"):
            self._of_thread.statements.append(name)
        self.reach("before", name)

    def _after_statement(self, *given: Any) -> None:
        name = self._name(given[4], given[2])
        if _commits_itself(given[1], name):
            self._end_commit(f"COMMIT of {name}", loses=self._of_thread.loses)
        else:
            self.reach("after", name)

    def _name(self, context: Any, statement: str) -> str:
        return self._statements.name_of(getattr(context, "invoked_statement", None), statement)


def _commits_itself(cursor: Any, name: str) -> bool:
    return not name.startswith("PREPARE") and getattr(cursor.connection, "statements_are_alone", False)


class Sample:
    """Chooses the points of a scenario at which a process dies, so that none is of a sort that is never tried.

    The moments around a statement, around the COMMIT of the same statements, and around the same call are each tried
    once in all scenarios together; of a scenario that has few such, some of the moments after a COMMIT too.
    """

    def __init__(self, fewest: int) -> None:
        self._fewest = fewest
        self._tried: set[tuple[str, str]] = set()

    def of(self, points: Sequence[Point]) -> list[Point]:
        """The chosen ones, in their order."""
        chosen = {point for point in points if self._is_new(point)}
        committed = [point for point in points if point.side == "after" and point.name.startswith("COMMIT")]
        chosen.update(_spread(committed, self._fewest - len(chosen)))
        return [point for point in points if point in chosen]

    def _is_new(self, point: Point) -> bool:
        is_new = (point.side, point.name) not in self._tried
        self._tried.add((point.side, point.name))
        return is_new


def _spread(points: Sequence[Point], most: int) -> Sequence[Point]:
    return points[:: -(-len(points) // most)] if most > 0 and points else []
