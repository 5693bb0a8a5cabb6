"""A kind that says, right before it begins something outside, that it may have begun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from database.sessions import Database
from run.kinds.kind import Finished, GoesOn, Progress, Work
from tests.engine_room import ME, EngineRoom, Told, ToldConfig


class Killed(BaseException):
    """What ends a worker without a word."""


class Careful(Told):
    """Begins nothing outside before the database knows that it may have; `begun` is what it has begun."""

    name = "careful"

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []
        self.seen: list[Mapping[str, Any]] = []

    def start(self, config: ToldConfig, work: Work) -> Progress:
        self.works.append(work)
        if "before" in self.orders:
            self.orders.pop("before")(work)
        work.store_handle({"begun": work.attempt})
        self.begun.append(work.key)
        if "after" in self.orders:
            self.orders.pop("after")(work)
        return GoesOn({"found": work.attempt}, 30)

    def poll(self, config: ToldConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        self.seen.append(handle)
        return Finished({"handle": dict(handle)})


@pytest.fixture
def careful() -> Careful:
    return Careful()


@pytest.fixture
def room(database: Database, careful: Careful) -> EngineRoom:
    room = EngineRoom(database, more_kinds=[careful])
    room.apply({"a": []}, details={"a": {"kind": "careful"}})
    room.start()
    return room


def die(_work: Work) -> None:
    raise Killed


def test_who_comes_after_a_worker_that_died_when_it_had_begun_is_told_so(room: EngineRoom, careful: Careful) -> None:
    careful.orders["after"] = die
    with pytest.raises(Killed):
        room.deliver_all()
    room.pass_time(120)
    room.sweep()
    room.deliver_all()
    assert careful.seen == [{"begun": 1}]
    assert len(careful.begun) == careful.starts("a") == 1
    assert room.log("a") == [(1, "SUCCESS", None)]


def test_who_comes_after_a_worker_that_died_before_it_had_begun_begins(room: EngineRoom, careful: Careful) -> None:
    careful.orders["before"] = die
    with pytest.raises(Killed):
        room.deliver_all()
    room.pass_time(120)
    room.sweep()
    room.deliver_all()
    assert careful.seen == []
    assert (len(careful.begun), careful.starts("a")) == (1, 2)


def test_a_worker_that_slept_right_before_it_begins_begins_nothing_once_others_have_the_attempt(
    room: EngineRoom, careful: Careful
) -> None:
    def taken_over_meanwhile(_work: Work) -> None:
        room.pass_time(120)
        room.execute("a")
        assert len(careful.begun) == 1

    careful.orders["before"] = taken_over_meanwhile
    room.deliver_all()
    assert (len(careful.begun), careful.starts("a")) == (1, 2)
    [(handle, takeovers)] = room.rows("SELECT handle, takeovers FROM batch_task")
    assert (handle, takeovers) == ({"found": 1}, 1)


def test_a_worker_whose_attempt_was_cancelled_begins_nothing(room: EngineRoom, careful: Careful) -> None:
    def cancelled_meanwhile(_work: Work) -> None:
        room.moves.cancel_batch("cake", "2024-03", ME)

    careful.orders["before"] = cancelled_meanwhile
    room.deliver_all()
    assert careful.begun == []
    assert room.log("a") == [(1, "CANCELLED", None)]


def test_what_is_stored_again_asks_again_whose_the_attempt_is(database: Database, careful: Careful) -> None:
    """The handle is the same, and still nothing may be begun by a worker that slept between."""
    room = EngineRoom(database, more_kinds=[careful])
    room.apply({"a": []}, details={"a": {"kind": "careful"}})
    room.start()

    def store_twice(work: Work) -> None:
        work.store_handle({"begun": 1})
        room.pass_time(120)
        room.execute("a")

    careful.orders["before"] = store_twice
    room.deliver_all()
    assert careful.begun == []
    assert careful.seen == [{"begun": 1}]


def test_nobody_but_the_worker_of_an_attempt_can_store_a_handle(room: EngineRoom, careful: Careful) -> None:
    room.deliver_all()
    problems: list[str] = []

    def cancel(config: ToldConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:
        try:
            work.store_handle({"begun": 2})
        except RuntimeError as error:
            problems.append(str(error))
        return True

    careful.cancel = cancel  # type: ignore[method-assign]
    room.moves.cancel_batch("cake", "2024-03", ME)
    room.sweep()
    assert problems == ["only the worker of an attempt can store its handle, in start and in poll"]
