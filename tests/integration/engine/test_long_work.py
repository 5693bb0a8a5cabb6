"""Work that goes on outside: it is let go of, polled, timed out, and ended when its attempt is taken away."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from database.attempts import claim
from database.cancellations import return_lost
from run.errors import Unavailable
from run.kinds.kind import Progress, Work
from tests.engine_room import ME, EngineRoom, ToldConfig
from tests.local_parts import eventually

TOKEN = "00000000-0000-0000-0000-000000000001"
OUTSIDE = {"kind": "told_outside"}


def begin(room: EngineRoom, **details: object) -> None:
    room.apply({"a": [], "b": ["a"]}, details={"a": {**OUTSIDE, **details}})
    room.start()
    room.deliver_all()


def test_work_that_goes_on_outside_is_let_go_of_and_finished_by_a_poll(room: EngineRoom) -> None:
    begin(room)
    [(status, token, handle, polls)] = room.rows(
        "SELECT status, token, handle, polls FROM batch_task WHERE attempt = 1"
    )
    assert (status, token, polls) == ("PROCESSING", None, 1)
    assert list(handle) == ["job"]
    assert room.statuses()["b"] == "WAITING"
    assert room.sweep() == {}, "it is not asked before its time"
    room.pass_time(40)
    assert room.sweep() == {"poll": 1}
    assert room.log("a") == [(1, "PROCESSING", None)]
    room.told_outside.end_jobs()
    room.pass_time(40)
    assert room.sweep() == {"poll": 1}
    room.deliver_all()
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert room.told_outside.starts("a") == 1
    assert room.batch_status() == "SUCCESS"


def test_work_that_ends_at_once_is_finished_by_the_message_that_began_it(room: EngineRoom) -> None:
    room.told_outside.orders["a"] = lambda work: room.told_outside.jobs.update({work.key: "done"})
    room.told_outside.poll_after = 0.01
    begin(room)
    assert room.log("a") == [(1, "SUCCESS", None)]


def test_a_message_for_work_that_goes_on_outside_changes_nothing(room: EngineRoom) -> None:
    begin(room)
    before = room.rows("SELECT * FROM batch_task ORDER BY task_id")
    room.execute("a")
    assert room.rows("SELECT * FROM batch_task ORDER BY task_id") == before
    assert room.told_outside.starts("a") == 1


def test_a_poller_that_dies_is_followed_by_another_poll_of_the_same_attempt(room: EngineRoom) -> None:
    begin(room)
    room.change(
        "UPDATE batch_task SET due_at = NULL, token = gen_random_uuid(), lease_until = 'epoch' WHERE attempt = 1"
    )
    assert room.sweep() == {"dead_attempts": 1}
    room.told_outside.end_jobs()
    room.deliver_all()
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert room.told_outside.starts("a") == 1, "what it began is known, so nothing is begun again"


def test_a_worker_that_died_before_it_could_say_what_it_had_begun_is_followed_by_one_that_finds_it(
    room: EngineRoom,
) -> None:
    room.apply({"a": []}, details={"a": OUTSIDE})
    room.start()
    key = room.key("a")
    claimed = room.database.transact(lambda tx: claim(tx, key, TOKEN, ["told_outside"]))
    assert claimed is not None
    job = f"{claimed.batch_uid}/cake/2024-03/a/1"
    room.told_outside.jobs[job] = "done"
    room.pass_time(120)
    assert room.sweep() == {"dead_attempts": 1}
    room.deliver_all()
    room.pass_time(60)
    room.sweep()
    assert list(room.told_outside.jobs) == [job]
    assert room.log("a") == [(1, "SUCCESS", None)]


def test_the_other_side_that_does_not_answer_is_asked_again_ever_more_rarely(room: EngineRoom) -> None:
    def no_answer(_work: Work) -> None:
        raise Unavailable("nobody answers")

    room.told.orders["a"] = no_answer
    room.apply({"a": []})
    room.start()
    pauses = []
    for _ in range(7):
        room.deliver_all()
        pauses.append(round(room.rows("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM batch_task")[0][0]))
        room.pass_time(310)
        assert room.sweep() == {"handed_back": 1}
    assert pauses == [10, 20, 40, 80, 160, 300, 300]
    assert room.rows("SELECT takeovers, attempt FROM batch_task") == [(0, 1)]


@pytest.mark.parametrize("ends", [False, True])
def test_work_that_lasts_too_long_is_asked_once_more_and_then_ended_before_the_next_attempt(
    room: EngineRoom, ends: bool
) -> None:
    room.told_outside.confirms = False
    begin(room, timeout_seconds=100, retries=1)
    if ends:
        room.told_outside.end_jobs()
    room.pass_time(110)
    room.sweep()
    if ends:
        assert room.log("a") == [(1, "SUCCESS", None)]
        return
    assert room.log("a") == [(1, "ERROR", "timed out after 100 s")]
    room.pass_time(4000)
    room.sweep()
    assert room.statuses()["a"] == "WAITING", "its work may still go on outside"
    assert room.published() == []
    room.told_outside.confirms = True
    room.pass_time(4000)
    assert room.sweep() == {"cancellation": 1}
    assert room.published() == ["a"]
    assert set(room.told_outside.jobs.values()) == {"cancelled"}


def test_work_that_is_due_just_when_it_times_out_is_not_asked_later(room: EngineRoom) -> None:
    begin(room, timeout_seconds=10)
    [(seconds,)] = room.rows("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM batch_task WHERE attempt = 1")
    assert 5 < seconds <= 10


def test_what_is_cancelled_is_ended_outside_too(room: EngineRoom) -> None:
    begin(room)
    room.moves.cancel_batch("cake", "2024-03", ME)
    assert room.statuses() == {"a": "CANCELLED", "b": "CANCELLED"}
    assert room.batch_status() == "CANCELLED"
    assert room.sweep() == {"cancellation": 1}
    assert list(room.told_outside.jobs.values()) == ["cancelled"]
    assert room.rows("SELECT count(*) FROM cancellation") == [(0,)]


def test_a_frozen_worker_that_begins_something_after_it_was_cancelled_has_that_ended_too(room: EngineRoom) -> None:
    def cancelled_meanwhile(_work: Work) -> None:
        room.moves.cancel_batch("cake", "2024-03", ME)
        room.pass_time(120)
        room.sweep()
        assert room.rows("SELECT count(*) FROM cancellation") == [(0,)]
        room.told_outside.jobs.clear()

    room.told_outside.orders["a"] = cancelled_meanwhile
    begin(room)
    assert list(room.told_outside.jobs.values()) == ["running"]
    assert room.sweep() == {"cancellation": 1}
    assert list(room.told_outside.jobs.values()) == ["cancelled"]
    assert room.log("a") == [(1, "CANCELLED", None)]


def test_a_worker_that_is_alive_and_was_cancelled_keeps_the_next_attempt_waiting_until_it_comes_back(
    room: EngineRoom,
) -> None:
    def rerun_meanwhile(_work: Work) -> None:
        if room.told.starts("a") > 1:
            return
        room.moves.rerun_task(room.task("a"), ME)
        deadline = time.monotonic() + 4.5
        while time.monotonic() < deadline:
            room.sweep()
            time.sleep(0.2)
        assert room.published() == []

    room.told.orders["a"] = rerun_meanwhile
    room.apply({"a": []}, details={"a": {"lease_seconds": 3}})
    room.start()
    room.deliver_all()
    assert room.sweep() == {"cancellation": 1}
    room.deliver_all()
    assert [status for _, status, _ in room.log("a")] == ["CANCELLED", "SUCCESS"]


def test_work_of_ours_that_hangs_is_not_kept_alive_beyond_its_timeout(room: EngineRoom) -> None:
    other = EngineRoom(room.database, publisher=room.publisher)

    def hang(_work: Work) -> None:
        eventually(lambda: other.sweep().get("dead_attempts"), "the lease to run out")
        other.deliver_all()

    room.told.orders["a"] = hang
    room.apply({"a": []}, details={"a": {"lease_seconds": 1, "timeout_seconds": 1}})
    room.start()
    room.deliver_all()
    assert room.log("a") == [(1, "ERROR", "timed out after 1 s")]


def test_what_was_begun_last_is_what_is_ended(room: EngineRoom) -> None:
    def surprise(_config: object, _work: Work, _handle: object) -> Progress:
        raise ValueError("what is this?")

    room.told_outside.poll_after = 0.05
    room.told_outside.poll = surprise  # type: ignore[method-assign, assignment]
    begin(room)
    assert room.log("a")[0][1] == "ERROR"
    assert [list(handle) for (handle,) in room.rows("SELECT handle FROM cancellation")] == [["job"]]


def test_what_has_ended_outside_is_known_by_no_handle_any_more(room: EngineRoom) -> None:
    def surprise(_config: object, _work: Work, _handle: object) -> Progress:
        raise ValueError("what is this?")

    room.told_outside.poll_after = 0.05
    room.told_outside.poll = surprise  # type: ignore[method-assign, assignment]
    begin(room)
    room.sweep()
    assert len(room.told_outside.cancels) == 1
    assert room.rows("SELECT status, ending, handle FROM batch_task WHERE attempt = 1") == [("ERROR", False, None)]


def test_what_a_lost_worker_tells_while_the_end_is_being_confirmed_is_still_ended(room: EngineRoom) -> None:
    begin(room)
    key = room.key("a")
    room.moves.cancel_batch("cake", "2024-03", ME)
    confirm = room.told_outside.cancel

    def cancel_while_the_worker_comes_back(config: ToldConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:
        if not room.told_outside.cancels:
            room.database.transact(lambda tx: return_lost(tx, key, 1, 1, {"job": "late"}))
        return confirm(config, work, handle)

    room.told_outside.cancel = cancel_while_the_worker_comes_back  # type: ignore[method-assign]
    room.sweep()
    assert len(room.told_outside.cancels) == 2
    assert room.rows("SELECT count(*) FROM cancellation") == [(0,)]


def test_the_next_attempt_waits_for_what_a_lost_worker_has_told_after_the_end_was_confirmed(room: EngineRoom) -> None:
    begin(room)
    key = room.key("a")
    room.moves.rerun_task(room.task("a"), ME)
    room.sweep()
    assert room.statuses()["a"] == "NEW"
    room.database.transact(lambda tx: return_lost(tx, key, 1, 1, {"job": "late"}))
    room.deliver_all()
    assert room.log("a") == [(1, "CANCELLED", None)]
    room.sweep()
    room.deliver_all()
    assert [status for _, status, _ in room.log("a")] == ["CANCELLED", "PROCESSING"]
