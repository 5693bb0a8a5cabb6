"""A failure that may pass is tried again: later, by the database's clock, and only as often as the task says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from run.engine.retry_policy import LONGEST_ASKED_FOR, retry_after
from run.errors import PassingFailure
from run.kinds.kind import Work
from tests.engine_room import EngineRoom, failing


def fail_times(times: int) -> Callable[[Work], None]:
    left = [times]

    def fail(work: Work) -> None:
        if left[0]:
            left[0] -= 1
            failing("busy", passing=True)(work)

    return fail


def test_a_failure_that_may_pass_is_tried_again_when_its_time_has_come(room: EngineRoom) -> None:
    room.told.orders["a"] = fail_times(2)
    room.apply({"a": [], "b": ["a"]}, details={"a": {"retries": 2}})
    room.start()
    room.deliver_all()
    assert room.statuses() == {"a": "WAITING", "b": "WAITING"}
    assert room.log("a") == [(1, "ERROR", "busy")]
    room.execute("a")
    assert room.log("a") == [(1, "ERROR", "busy")], "no message starts it before its time"
    for _ in range(2):
        room.pass_time(900)
        assert room.sweep() == {"retry": 1}
        room.deliver_all()
    assert [status for _, status, _ in room.log("a")] == ["ERROR", "ERROR", "SUCCESS"]
    assert room.batch_status() == "SUCCESS"


def test_a_task_that_fails_more_often_than_it_may_is_an_error(room: EngineRoom) -> None:
    room.told.orders["a"] = fail_times(9)
    room.apply({"a": [], "b": ["a"]}, details={"a": {"retries": 1}})
    room.start()
    room.deliver_all()
    room.pass_time(900)
    room.sweep()
    room.deliver_all()
    assert [status for _, status, _ in room.log("a")] == ["ERROR", "ERROR"]
    assert room.statuses() == {"a": "ERROR", "b": "SKIPPED:upstream_failed"}
    assert room.batch_status() == "ERROR"


@pytest.mark.parametrize(("raised", "attempts"), [(TimeoutError("slow"), 2), (ValueError("wrong"), 1)])
def test_a_kind_declares_which_of_its_errors_may_pass(room: EngineRoom, raised: Exception, attempts: int) -> None:
    def fail(_work: Work) -> None:
        raise raised

    room.told.orders["a"] = fail
    room.apply({"a": []}, details={"a": {"retries": 1}})
    room.start()
    for _ in range(3):
        room.deliver_all()
        room.pass_time(900)
        room.sweep()
    assert len(room.log("a")) == attempts
    assert room.batch_status() == "ERROR"


def test_a_failure_that_cannot_pass_is_never_tried_again(room: EngineRoom) -> None:
    room.told.orders["a"] = failing("a wrong query")
    room.apply({"a": []}, details={"a": {"retries": 5}})
    room.start()
    room.deliver_all()
    assert room.log("a") == [(1, "ERROR", "a wrong query")]
    assert room.batch_status() == "ERROR"


class Terms:
    retries = 100
    retry_delay_seconds = 30
    retry_max_delay_seconds = 900

    def __init__(self, retried: int) -> None:
        self.retried = retried


def test_the_pause_before_a_retry_doubles_up_to_a_ceiling_and_is_drawn_from_all_of_it() -> None:
    drawn = [[retry_after(Terms(retried)) or 0.0 for _ in range(400)] for retried in (0, 1, 2, 5, 60)]
    for pauses, ceiling in zip(drawn, (30, 60, 120, 900, 900), strict=True):
        assert 0 <= min(pauses) < ceiling * 0.1
        assert ceiling * 0.9 < max(pauses) <= ceiling
    assert retry_after(Terms(100)) is None


@pytest.mark.parametrize(
    ("asked_for", "seconds"),
    [(1e9, LONGEST_ASKED_FOR), (1e300, LONGEST_ASKED_FOR), (float("inf"), LONGEST_ASKED_FOR)],
)
def test_an_attempt_that_is_asked_for_at_an_impossible_time_is_due_at_a_possible_one(
    room: EngineRoom, asked_for: float, seconds: float
) -> None:
    def fail(_work: Work) -> None:
        raise PassingFailure("busy", after=asked_for)

    room.apply({"a": []}, details={"a": {"retries": 1}})
    room.told.orders["a"] = fail
    room.start()
    room.execute("a")
    assert room.log("a") == [(1, "ERROR", "busy")]
    [(pause,)] = room.rows("SELECT CAST(extract(epoch FROM due_at - changed_at) AS float8) FROM batch_task")
    assert round(pause) == seconds


def test_a_pause_that_is_no_number_is_drawn_as_any_other() -> None:
    assert (retry_after(Terms(0), float("nan")) or 0.0) < 60


def test_a_newer_parent_outcome_decides_before_a_retry_that_is_due(room: EngineRoom) -> None:
    room.told.orders["b"] = fail_times(1)
    room.apply({"a": [], "b": ["a"]}, details={"b": {"retries": 1}})
    room.start()
    room.deliver_all()
    assert room.statuses() == {"a": "SUCCESS", "b": "WAITING"}
    room.change("UPDATE batch_task SET status = 'WAITING' WHERE task_id = :t", t=room.key("a").task_id)
    room.pass_time(900)
    assert room.sweep() == {"retry": 1}
    assert room.statuses()["b"] == "WAITING", "its parent runs again first"
