"""Completion messages: applied, kept until they can be, acked when repeated, and rejected when they cannot be true."""

from __future__ import annotations

from typing import Any

import pytest

from run.errors import Rejected
from tests.engine_room import ME, EngineRoom

OUTSIDE = {"kind": "told_external"}


def begin(room: EngineRoom, **details: object) -> None:
    room.apply({"before": [], "a": ["before"], "after": ["a"]}, details={"a": {**OUTSIDE, **details}})
    room.start()


def test_a_task_whose_work_is_outside_waits_for_its_completion_message(room: EngineRoom) -> None:
    begin(room)
    room.deliver_all()
    assert room.statuses() == {"before": "SUCCESS", "a": "PROCESSING", "after": "WAITING"}
    assert room.rows("SELECT token, awaits_completion FROM batch_task WHERE awaits_completion") == [(None, True)]
    room.completed("a", result={"rows": 7})
    assert room.published() == ["after"]
    room.deliver_all()
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert room.rows("SELECT details FROM task_log JOIN task t USING (task_id) WHERE t.name = 'a'") == [
        ({"result": {"rows": 7}},)
    ]
    assert room.batch_status() == "SUCCESS"


def test_a_message_for_a_task_that_awaits_its_completion_changes_nothing(room: EngineRoom) -> None:
    begin(room)
    room.deliver_all()
    before = room.rows("SELECT * FROM batch_task ORDER BY task_id")
    room.execute("a")
    assert room.rows("SELECT * FROM batch_task ORDER BY task_id") == before
    assert room.told_external.starts("a") == 1


def test_a_failure_outside_is_the_task_s_error(room: EngineRoom) -> None:
    begin(room)
    room.deliver_all()
    room.completed("a", "ERROR", error="ran out of sugar")
    assert room.log("a") == [(1, "ERROR", "ran out of sugar")]
    assert room.statuses() == {"before": "SUCCESS", "a": "ERROR", "after": "SKIPPED:upstream_failed"}


def test_a_completion_that_comes_before_the_parents_are_done_is_kept(room: EngineRoom) -> None:
    begin(room)
    room.completed("a", result=1)
    assert room.statuses() == {"before": "NEW", "a": "WAITING", "after": "WAITING"}
    room.deliver_all()
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert room.batch_status() == "SUCCESS"


def test_a_completion_that_comes_while_the_task_is_in_our_hands_is_kept(room: EngineRoom) -> None:
    def complete_meanwhile(_work: object) -> None:
        room.completed("a", attempt=1)
        assert room.log("a") == [(1, "PROCESSING", None)]

    room.told_external.orders["a"] = complete_meanwhile
    begin(room)
    room.deliver_all()
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert room.batch_status() == "SUCCESS"


def test_a_completion_that_came_before_its_worker_died_needs_no_second_start(room: EngineRoom) -> None:
    begin(room)
    room.execute("before")
    room.publisher.messages.clear()
    room.told_external.orders["a"] = lambda _work: room.completed("a", attempt=1)
    key = room.key("a")
    room.change(
        "UPDATE batch_task SET status = 'PROCESSING', attempt = 1, token = gen_random_uuid(), lease_until = 'epoch', "
        "publish_after = NULL WHERE task_id = :t",
        t=key.task_id,
    )
    room.change(
        "INSERT INTO task_log (workflow_id, batch_id, task_id, attempt, status) "
        "VALUES (:w, '2024-03', :t, 1, 'PROCESSING')",
        w=key.workflow_id,
        t=key.task_id,
    )
    room.completed("a")
    assert room.sweep() == {"dead_attempts": 1}
    room.deliver_all()
    assert room.told_external.starts("a") == 0
    assert room.batch_status() == "SUCCESS"


def test_a_completion_that_is_repeated_changes_nothing(room: EngineRoom) -> None:
    begin(room)
    room.deliver_all()
    room.completed("a", result=[1])
    before = room.rows("SELECT * FROM task_log ORDER BY task_id"), room.published()
    room.completed("a", result=[1])
    room.completed("a", attempt=1, result=[1])
    assert (room.rows("SELECT * FROM task_log ORDER BY task_id"), room.published()) == before


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"status": "ERROR", "error": "no"}, "was said to be SUCCESS before"),
        ({"attempt": 2}, "is SUCCESS; its attempt 2 is not open"),
        ({"attempt": 1, "result": "another"}, "was said to be SUCCESS before"),
    ],
)
def test_a_completion_of_an_attempt_that_has_ended_is_rejected(
    room: EngineRoom, said: dict[str, Any], why: str
) -> None:
    begin(room)
    room.deliver_all()
    room.completed("a")
    before = room.statuses()
    with pytest.raises(Rejected, match=why):
        room.completed("a", **said)
    assert room.statuses() == before


def test_a_completion_without_an_attempt_is_rejected_once_there_has_been_more_than_one(room: EngineRoom) -> None:
    begin(room)
    room.deliver_all()
    room.completed("a")
    room.deliver_all()
    room.moves.rerun_task(room.task("a"), ME)
    room.deliver_all()
    with pytest.raises(Rejected, match="names no attempt, and there have been 2"):
        room.completed("a")
    assert room.statuses()["a"] == "PROCESSING"
    room.completed("a", attempt=2)
    assert room.statuses()["a"] == "SUCCESS"


@pytest.mark.parametrize("task", ["before", "after"])
def test_nobody_else_can_say_that_a_task_of_ours_is_done(room: EngineRoom, task: str) -> None:
    begin(room)
    before = room.statuses()
    with pytest.raises(Rejected, match="does its own work"):
        room.completed(task)
    assert room.statuses() == before


def test_a_completion_of_an_attempt_that_is_far_away_is_rejected(room: EngineRoom) -> None:
    begin(room)
    with pytest.raises(Rejected, match="there is no attempt 2 of task a; its last one is 0"):
        room.completed("a", attempt=2)
    room.deliver_all()
    with pytest.raises(Rejected, match="there is no attempt 2 of task a; its last one is 1"):
        room.completed("a", attempt=2)


def test_a_completion_that_never_comes_ends_as_an_error(room: EngineRoom) -> None:
    begin(room, timeout_seconds=600)
    room.deliver_all()
    room.pass_time(500)
    assert room.sweep() == {}
    room.pass_time(101)
    assert room.sweep()["completion"] == 1
    assert room.log("a") == [(1, "ERROR", "timed out: no completion message has come")]
    assert room.batch_status() == "ERROR"
    with pytest.raises(Rejected, match="is ERROR"):
        room.completed("a", attempt=1)


def test_a_failure_outside_is_tried_again_if_the_task_says_so(room: EngineRoom) -> None:
    begin(room, retries=1)
    room.deliver_all()
    room.completed("a", "ERROR", error="busy")
    assert room.statuses()["a"] == "WAITING"
    room.pass_time(900)
    room.sweep()
    room.deliver_all()
    room.completed("a", attempt=2)
    room.deliver_all()
    assert [status for _, status, _ in room.log("a")] == ["ERROR", "SUCCESS"]
    assert room.batch_status() == "SUCCESS"


def test_a_completion_may_take_as_long_as_its_task_says_however_long_that_is(room: EngineRoom) -> None:
    begin(room, timeout_seconds=30 * 24 * 3600)
    room.deliver_all()
    room.pass_time(29 * 24 * 3600)
    room.sweep()
    assert room.statuses()["a"] == "PROCESSING"
    room.pass_time(2 * 24 * 3600)
    assert room.sweep()["completion"] == 1
    assert room.statuses()["a"] == "ERROR"
