"""People's moves: run again, mark, cancel; each with its row in the audit."""

from __future__ import annotations

import pytest

from database.errors import Missing
from database.statuses import Status
from run.engine.moved import TaskOfBatch
from run.errors import Refused
from run.kinds.kind import Work
from tests.engine_room import ME, EngineRoom, failing

CHAIN = {"a": [], "b": ["a"], "c": ["b"]}


def run_chain(room: EngineRoom, *, b_fails: bool = False) -> None:
    if b_fails:
        room.told.orders["b"] = failing("no")
    room.apply(CHAIN)
    room.start()
    room.deliver_all()


def audit(room: EngineRoom) -> list[tuple[object, ...]]:
    return room.rows("SELECT actor, action, subject, reason FROM audit ORDER BY audit_id")


def test_a_task_is_run_again_alone(room: EngineRoom) -> None:
    run_chain(room)
    result = room.moves.rerun_task(room.task("b"), ME)
    assert (result.changed, result.released, result.batch_status) == (("b",), ("b",), "PROCESSING")
    room.deliver_all()
    assert [len(room.log(task)) for task in CHAIN] == [1, 2, 1]
    assert room.batch_status() == "SUCCESS"
    assert audit(room) == [("ann", "rerun", "task cake 2024-03 b", "because of a test")]


def test_a_task_is_run_again_with_all_that_is_below_it(room: EngineRoom) -> None:
    run_chain(room)
    result = room.moves.rerun_task(room.task("b"), ME, downstream=True)
    assert (result.changed, result.released) == (("b", "c"), ("b",))
    room.deliver_all()
    assert [len(room.log(task)) for task in CHAIN] == [1, 2, 2]
    assert room.batch_status() == "SUCCESS"


def test_running_downstream_again_brings_back_what_was_skipped(room: EngineRoom) -> None:
    run_chain(room, b_fails=True)
    room.told.orders.clear()
    room.moves.rerun_task(room.task("b"), ME, downstream=True)
    room.deliver_all()
    assert set(room.statuses().values()) == {"SUCCESS"}
    assert room.batch_status() == "SUCCESS"


def test_running_a_failed_task_again_alone_leaves_what_was_skipped(room: EngineRoom) -> None:
    run_chain(room, b_fails=True)
    room.told.orders.clear()
    room.moves.rerun_task(room.task("b"), ME)
    room.deliver_all()
    assert room.statuses() == {"a": "SUCCESS", "b": "SUCCESS", "c": "SKIPPED:upstream_failed"}


@pytest.mark.parametrize(
    ("task", "why"), [("c", "would be skipped again"), ("d", "is about to start"), ("e", "waits already")]
)
def test_a_task_that_cannot_run_now_is_not_run_again(room: EngineRoom, task: str, why: str) -> None:
    room.told.orders["b"] = failing("no")
    room.apply({**CHAIN, "d": [], "e": ["d"]})
    room.start()
    room.execute("a")
    room.execute("b")
    before = room.rows("SELECT * FROM batch_task ORDER BY position")
    with pytest.raises(Refused, match=why):
        room.moves.rerun_task(room.task(task), ME)
    assert room.rows("SELECT * FROM batch_task ORDER BY position") == before
    assert audit(room) == []


def test_a_retry_that_a_person_does_not_want_to_wait_for_is_due_at_once(room: EngineRoom) -> None:
    room.told.orders["a"] = failing("busy", passing=True)
    room.apply({"a": []}, details={"a": {"retries": 1}})
    room.start()
    room.deliver_all()
    assert room.moves.rerun_task(room.task("a"), ME).released == ("a",)


def test_all_that_has_failed_runs_again_and_the_batch_goes_on_from_there(room: EngineRoom) -> None:
    room.told.orders |= {"b": failing("no"), "y": failing("no")}
    room.apply(
        {**CHAIN, "x": [], "y": ["x"], "z": ["c", "y"], "cleanup": ["b"]}, details={"cleanup": {"rule": "all_done"}}
    )
    room.start()
    room.deliver_all()
    assert room.batch_status() == "ERROR"
    room.told.orders.clear()
    result = room.moves.rerun_batch("cake", "2024-03", ME)
    assert set(result.changed) == {"b", "y"}
    room.deliver_all()
    assert set(room.statuses().values()) == {"SUCCESS"}
    assert [len(room.log(task)) for task in ("a", "b", "c", "y", "z", "cleanup")] == [1, 2, 1, 2, 1, 1]
    assert room.batch_status() == "SUCCESS"
    with pytest.raises(Refused, match="no task of batch 2024-03 has failed"):
        room.moves.rerun_batch("cake", "2024-03", ME)


def test_marking_a_failure_as_success_brings_back_what_was_skipped_because_of_it(room: EngineRoom) -> None:
    run_chain(room, b_fails=True)
    result = room.moves.mark_task(room.task("b"), ME, Status.SUCCESS)
    assert result.released == ("c",)
    room.deliver_all()
    assert room.statuses() == {"a": "SUCCESS", "b": "SUCCESS", "c": "SUCCESS"}
    assert room.log("b") == [(1, "ERROR", "no")], "history stays as it was"
    assert room.batch_status() == "SUCCESS"
    assert audit(room) == [("ann", "mark", "task cake 2024-03 b", "because of a test")]


def test_what_is_skipped_because_of_two_failures_comes_back_when_both_are_marked(room: EngineRoom) -> None:
    room.told.orders |= {"a": failing("no"), "b": failing("no")}
    room.apply({"a": [], "b": [], "c": ["a", "b"], "d": ["c"]})
    room.start()
    room.deliver_all()
    room.moves.mark_task(room.task("a"), ME, Status.SUCCESS)
    assert room.statuses()["d"] == "SKIPPED:upstream_failed"
    assert room.moves.mark_task(room.task("b"), ME, Status.SUCCESS).released == ("c",)
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"


@pytest.mark.parametrize(
    ("status", "shown", "below"),
    [
        (Status.ERROR, "ERROR", "SKIPPED:upstream_failed"),
        (Status.SKIPPED, "SKIPPED:marked", "SKIPPED:rule"),
        (Status.SUCCESS, "SUCCESS", "NEW"),
    ],
)
def test_a_task_that_has_not_run_may_be_marked(room: EngineRoom, status: Status, shown: str, below: str) -> None:
    room.apply(CHAIN)
    room.start()
    room.moves.mark_task(room.task("a"), ME, status)
    assert (room.statuses()["a"], room.statuses()["b"]) == (shown, below)
    room.execute("a")
    assert room.told.starts("a") == 0


def test_the_only_failure_marked_as_success_makes_the_ended_batch_a_success(room: EngineRoom) -> None:
    room.told.orders["a"] = failing("no")
    room.apply({"a": []})
    room.start()
    room.deliver_all()
    assert room.batch_status() == "ERROR"
    assert room.moves.mark_task(room.task("a"), ME, Status.SUCCESS).batch_status == "SUCCESS"


def test_a_task_in_somebody_s_hands_that_is_marked_is_taken_away(room: EngineRoom) -> None:
    def marked_meanwhile(_work: Work) -> None:
        room.moves.mark_task(room.task("a"), ME, Status.ERROR)

    room.told.orders["a"] = marked_meanwhile
    run_chain(room)
    assert room.log("a") == [(1, "CANCELLED", None)]
    assert room.statuses() == {"a": "ERROR", "b": "SKIPPED:upstream_failed", "c": "SKIPPED:upstream_failed"}


def test_a_task_in_somebody_s_hands_runs_again_only_when_its_work_has_ended(room: EngineRoom) -> None:
    def rerun_meanwhile(work: object) -> None:
        if room.told_outside.starts("a") == 1:
            room.moves.rerun_task(room.task("a"), ME)
            assert room.statuses()["a"] == "WAITING"
            assert room.sweep() == {}, "its worker may still be at it"

    room.told_outside.orders["a"] = rerun_meanwhile
    room.apply({"a": []}, details={"a": {"kind": "told_outside"}})
    room.start()
    room.deliver_all()
    assert room.log("a") == [(1, "CANCELLED", None)]
    room.told_outside.confirms = False
    assert room.sweep() == {"cancellation": 1}
    assert room.published() == []
    room.told_outside.confirms = True
    room.pass_time(60)
    assert room.sweep() == {"cancellation": 1}
    room.deliver_all()
    assert [status for _, status, _ in room.log("a")] == ["CANCELLED", "PROCESSING"]
    assert sorted(room.told_outside.jobs.values()) == ["cancelled", "running"]


def test_a_batch_is_cancelled_and_can_be_run_again(room: EngineRoom) -> None:
    room.apply(CHAIN)
    room.start()
    room.execute("a")
    result = room.moves.cancel_batch("cake", "2024-03", ME)
    assert (result.changed, result.released, result.batch_status) == (("b", "c"), (), "CANCELLED")
    room.deliver_all()
    assert room.statuses() == {"a": "SUCCESS", "b": "CANCELLED", "c": "CANCELLED"}
    with pytest.raises(Refused, match="has ended"):
        room.moves.cancel_batch("cake", "2024-03", ME)
    room.moves.rerun_batch("cake", "2024-03", ME)
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"
    assert [action for _, action, _, _ in audit(room)] == ["cancel", "rerun"]


def test_a_batch_moves_to_the_newest_version_and_only_what_has_changed_runs_again(room: EngineRoom) -> None:
    room.apply({"a": [], "b": ["a"], "c": ["b"], "side": ["a"], "gone": ["a"]})
    room.start()
    room.deliver_all()
    room.apply({"a": [], "new": ["a"], "b": ["a", "new"], "c": ["b"], "side": ["a"]})
    result = room.moves.rerun_batch("cake", "2024-03", ME, failed=False, latest=True)
    assert set(result.changed) == {"new", "b", "c"}
    assert result.released == ("new",)
    room.deliver_all()
    assert [len(room.log(task)) for task in ("a", "side", "gone", "new", "b", "c")] == [1, 1, 1, 1, 2, 2]
    assert room.batch_status() == "SUCCESS"
    with pytest.raises(Refused, match="has the newest version of workflow cake already"):
        room.moves.rerun_batch("cake", "2024-03", ME, failed=False, latest=True)


def test_what_the_newest_version_no_longer_has_is_cancelled(room: EngineRoom) -> None:
    room.apply({"a": [], "gone": ["a"], "c": ["gone"]})
    room.start()
    room.apply({"a": [], "c": ["a"]})
    room.moves.rerun_batch("cake", "2024-03", ME, failed=False, latest=True)
    room.deliver_all()
    assert room.statuses() == {"a": "SUCCESS", "c": "SUCCESS", "gone": "CANCELLED"}
    assert room.batch_status() == "SUCCESS", "a task that is no longer there does not count"


@pytest.mark.parametrize(
    "address",
    [TaskOfBatch("pie", "2024-03", "a"), TaskOfBatch("cake", "2024-04", "a"), TaskOfBatch("cake", "2024-03", "z")],
)
def test_what_is_not_there_is_said_to_be_missing(room: EngineRoom, address: TaskOfBatch) -> None:
    run_chain(room)
    with pytest.raises(Missing):
        room.moves.rerun_task(address, ME)


def test_a_success_that_skips_a_task_because_of_a_mark_skips_what_is_below_too(room: EngineRoom) -> None:
    room.apply({"p1": [], "p2": [], "x": ["p1", "p2"], "g": ["x"]})
    room.start()
    room.moves.mark_task(room.task("p1"), ME, Status.SKIPPED)
    room.deliver_all()
    assert room.statuses() == {"p1": "SKIPPED:marked", "p2": "SUCCESS", "x": "SKIPPED:rule", "g": "SKIPPED:rule"}
    assert room.batch_status() == "SUCCESS"


def test_a_success_that_skips_a_task_because_of_another_version_skips_what_is_below_too(room: EngineRoom) -> None:
    graph = {"a": [], "b": ["a"], "c": ["b"]}

    def move_meanwhile(_work: Work) -> None:
        room.apply(graph, details={"b": {"disabled": True}})
        room.moves.rerun_batch("cake", "2024-03", ME, failed=False, latest=True)

    room.told.orders["a"] = move_meanwhile
    room.apply(graph)
    room.start()
    room.deliver_all()
    assert room.statuses() == {"a": "SUCCESS", "b": "SKIPPED:disabled", "c": "SKIPPED:rule"}
    assert room.batch_status() == "SUCCESS"


def test_a_running_task_of_another_kind_in_the_newest_version_is_ended_as_its_old_kind_does(room: EngineRoom) -> None:
    room.apply({"a": []}, details={"a": {"kind": "told_outside"}})
    room.start()
    room.deliver_all()
    [job] = room.told_outside.jobs
    room.apply({"a": []}, details={"a": {"kind": "told"}})
    room.moves.rerun_batch("cake", "2024-03", ME, failed=False, latest=True)
    assert room.told_outside.jobs[job] == "running"
    room.sweep()
    assert room.told_outside.jobs[job] == "cancelled"
    room.deliver_all()
    assert room.statuses() == {"a": "SUCCESS"}
    assert room.told.starts("a") == 1
