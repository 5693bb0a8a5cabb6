"""A task with a condition does its work when that holds, is skipped when it is false, and fails when nobody can say."""

from __future__ import annotations

from typing import Any

import pytest

from run.kinds.kind import Finished, Returned, Skipped
from tests.engine_room import ME, EngineRoom


def run(room: EngineRoom, condition: str, returned: Any = None, **details: Any) -> None:
    """`a` returns something, `b` has the condition, `c` comes after it."""
    room.told.orders.setdefault("a", lambda _work: Finished(returned=Returned(returned)))
    of_b = {"condition": condition, "reads_results": ["a"], **details}
    room.apply({"a": [], "b": ["a"], "c": ["b"], "d": ["b"]}, details={"b": of_b, "d": {"rule": "none_failed"}})
    room.start()
    room.deliver_all()


def test_a_task_whose_condition_holds_does_its_work(room: EngineRoom) -> None:
    run(room, "results.a.rows > 2", {"rows": 3})
    assert room.statuses() == dict.fromkeys("abcd", "SUCCESS")


def test_a_task_whose_condition_is_false_is_skipped_and_its_branch_with_it(room: EngineRoom) -> None:
    run(room, "results.a.rows > 3", {"rows": 3})
    assert room.told.starts("b") == 0
    assert room.statuses() == {"a": "SUCCESS", "b": "SKIPPED:branch", "c": "SKIPPED:rule", "d": "SUCCESS"}
    assert room.batch_status() == "SUCCESS"
    [(status, details)] = room.rows("SELECT status, details FROM task_log JOIN task USING (task_id) WHERE name = 'b'")
    assert (status, details) == ("SKIPPED", {"skipped": "its condition is false: results.a.rows > 3"})


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("results.a.row > 3", "the condition `results.a.row > 3` cannot be evaluated"),
        ("results.a.rows", "the condition `results.a.rows` must be true or false"),
        ("1 / results.a.none == 1", "cannot be evaluated"),
    ],
)
def test_a_condition_that_cannot_be_evaluated_is_an_error_and_never_false(
    room: EngineRoom, condition: str, reason: str
) -> None:
    run(room, condition, {"rows": 3, "none": 0}, retries=3)
    assert room.told.starts("b") == 0
    assert room.statuses() == {"a": "SUCCESS", "b": "ERROR"} | dict.fromkeys("cd", "SKIPPED:upstream_failed")
    [(_, _, error)] = room.log("b")
    assert reason in error


def test_the_batch_and_its_params_can_be_asked_for(room: EngineRoom) -> None:
    run(room, "batch_id == '2024-03' && period.startsWith('2024')")
    assert room.statuses()["b"] == "SUCCESS"


def test_a_condition_is_asked_before_the_results_that_the_work_needs(room: EngineRoom) -> None:
    room.told.orders["a"] = lambda _work: Skipped("nothing there")
    run(room, "has(results.a)", rule="none_failed", config={"note": "{results.a.rows}"})
    assert room.statuses()["b"] == "SKIPPED:branch"


def test_a_condition_is_asked_once_and_not_of_work_that_goes_on(room: EngineRoom) -> None:
    run(room, "results.a", True, kind="told_outside")
    assert room.statuses()["b"] == "PROCESSING"
    room.change("UPDATE task_log SET result = 'false' WHERE result = 'true'")
    room.told_outside.end_jobs()
    room.pass_time(60)
    room.sweep()
    room.deliver_all()
    assert room.statuses()["b"] == "SUCCESS"


def test_a_rerun_asks_again(room: EngineRoom) -> None:
    run(room, "results.a", False)
    room.told.orders["a"] = lambda _work: Finished(returned=Returned(True))
    room.moves.rerun_task(room.task("a"), ME, downstream=True)
    room.deliver_all()
    assert [status for _, status, _ in room.log("b")] == ["SKIPPED", "SUCCESS"]
    assert room.statuses() == dict.fromkeys("abcd", "SUCCESS")
