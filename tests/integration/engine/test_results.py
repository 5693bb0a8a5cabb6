"""What a task returns is there for those that come after it, whatever its size and however often it is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from database.attempts import claim
from database.statuses import Status
from run.engine.life import TaskLife
from run.engine.results import MOST_BYTES_IN_DATABASE
from run.errors import Unavailable
from run.kinds.kind import Finished, Returned, Skipped, Work
from run.redaction import HIDDEN, hide
from run.workflows.definition import TriggerRule
from run.workflows.results import MOST_BYTES
from tests.engine_room import ME, EngineRoom, failing

#: A token of nobody's.
TOKEN = "00000000-0000-0000-0000-0000000000aa"
READS_A = {"b": {"reads_results": ["a"]}}


class Shelf:
    """Keeps large results in memory, as a bucket would; may be told that it does not answer."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.is_down = False

    def write(self, name: str, content: bytes) -> Mapping[str, Any]:
        if self.is_down:
            raise Unavailable("the bucket does not answer")
        assert name not in self.objects
        self.objects[name] = content
        return {"name": name}

    def read(self, place: Mapping[str, Any]) -> bytes:
        if self.is_down:
            raise Unavailable("the bucket does not answer")
        return self.objects[place["name"]]


@pytest.fixture
def shelf(room: EngineRoom) -> Shelf:
    shelf = Shelf()
    room.life = TaskLife(room.database, room.life.kinds, room.publisher, {}, shelf)
    return shelf


def returning(value: Any) -> Any:
    return lambda _work: Finished(returned=Returned(value))


def results_of(room: EngineRoom, task: str = "b") -> list[Mapping[str, Any]]:
    return [work.results for work in room.told.works if work.task == task]


def run(room: EngineRoom, details: Mapping[str, Mapping[str, Any]] = READS_A) -> None:
    room.apply({"a": [], "b": ["a"], "c": ["b"]}, details=details)
    room.start()
    room.deliver_all()


@pytest.mark.parametrize("value", [None, 7, 0.5, "text", True, [1, [2]], {"rows": 3, "deep": {"list": [None]}}, {}, []])
def test_a_child_gets_what_its_parent_has_returned(room: EngineRoom, value: Any) -> None:
    room.told.orders["a"] = returning(value)
    run(room)
    assert results_of(room) == [{"a": value}]


def test_the_details_are_the_result_where_nothing_else_is_said(room: EngineRoom) -> None:
    room.told.orders["a"] = lambda _work: {"rows": 3}
    run(room)
    assert results_of(room) == [{"a": {"rows": 3}}]


def test_a_task_that_reads_no_results_costs_no_statement(room: EngineRoom) -> None:
    room.told.orders["a"] = returning({"rows": 3})
    run(room, {})
    assert results_of(room) == [{}]


def test_a_template_names_a_part_of_a_result(room: EngineRoom) -> None:
    room.told.orders["a"] = returning({"rows": 3, "places": ["north", {"code": "s"}]})
    note = "{results.a.rows} rows from {results.a.places.1.code}, {other} stays"
    run(room, {"b": {"reads_results": ["a"], "config": {"note": note}}})
    [work] = [work for work in room.told.works if work.task == "b"]
    assert (work.values["results.a.rows"], work.values["results.a.places.1.code"]) == ("3", "s")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.row", "'{results.a.row}': the result of 'a' is a mapping of 'places', 'rows' without 'row'"),
        ("a.places.9", "'{results.a.places.9}': the result of 'a', 'places' is a list of 2 without '9'"),
        ("a.places", "the result of 'a', 'places' is a list of 2, which has no text; name a part of it"),
        ("a.rows.deep", "the result of 'a', 'rows' is the value '3' without 'deep'"),
    ],
)
def test_a_part_that_is_not_there_ends_the_attempt_with_what_is(room: EngineRoom, name: str, reason: str) -> None:
    room.told.orders["a"] = returning({"rows": 3, "places": ["north", "south"]})
    run(room, {"b": {"reads_results": ["a"], "config": {"note": f"{{results.{name}}}"}}})
    [(_, status, error)] = room.log("b")
    assert status == "ERROR"
    assert reason in error


def test_a_parent_that_a_person_has_marked_has_no_result(room: EngineRoom) -> None:
    room.told.orders["a"] = returning(1)
    run(room)
    room.told.orders["a"] = lambda _work: (_ for _ in ()).throw(ValueError("broken"))
    room.moves.rerun_task(room.task("a"), ME)
    room.deliver_all()
    room.moves.mark_task(room.task("a"), ME, Status.SUCCESS)
    room.moves.rerun_task(room.task("b"), ME)
    room.deliver_all()
    assert results_of(room)[-1] == {}


@pytest.mark.parametrize("then", [returning(2), failing("broken")])
def test_what_goes_on_outside_keeps_the_results_with_which_it_began(room: EngineRoom, then: Any) -> None:
    room.told.orders["a"] = returning(1)
    run(room, {"b": {"kind": "told_outside", "reads_results": ["a"], "config": {"note": "{results.a}"}}})
    room.told.orders["a"] = then
    room.moves.rerun_task(room.task("a"), ME)
    for _ in range(2):
        room.pass_time(31)
        room.sweep()
        assert room.statuses()["b"] == "PROCESSING"
        room.deliver_all()
    room.told_outside.end_jobs()
    room.pass_time(31)
    room.sweep()
    assert [row[:2] for row in room.log("b")] == [(1, "SUCCESS")]


@pytest.mark.parametrize(("before", "expected"), [(returning(1), {"a": 1}), (failing("broken"), {})])
def test_a_parent_that_is_being_run_again_has_what_its_last_attempt_has_returned(
    room: EngineRoom, before: Any, expected: Any
) -> None:
    room.told.orders["a"] = returning(0)
    room.apply({"a": [], "b": ["a"]}, details={"b": {"reads_results": ["a"], "rule": TriggerRule.all_done}})
    room.start()
    room.deliver_all()
    room.told.orders["a"] = before
    room.moves.rerun_task(room.task("a"), ME, downstream=True)
    room.execute("a")
    room.moves.rerun_task(room.task("a"), ME)
    assert room.statuses() == {"a": "NEW", "b": "NEW"}
    room.execute("b")
    assert results_of(room)[1:] == [expected]


def test_a_list_with_gaps_is_no_result_for_a_child_that_starts_while_an_element_runs_again(room: EngineRoom) -> None:
    room.told.orders["list"] = returning([1, 2])
    mapped = {"over": "list", "max_failures": 0}
    room.apply(
        {"list": [], "a": ["list"], "b": ["a"]},
        details={"a": {"map": mapped}, "b": {"reads_results": ["a"], "rule": TriggerRule.all_done}},
    )
    room.start()
    for task, element in (("list", None), ("a", None), ("a", 0), ("a", 1)):
        room.execute(task, element=element)
    room.moves.rerun_task(room.task("a", element=0), ME)
    room.execute("b")
    assert results_of(room) == [{}]


def leave_to_the_next_worker(room: EngineRoom) -> None:
    """Let a worker claim b, and die; `a` may be run again meanwhile."""
    room.database.transact(lambda tx: claim(tx, room.key("b"), TOKEN, ["told"]))
    room.change("UPDATE batch_task SET lease_until = clock_timestamp() WHERE lease_until IS NOT NULL")


@pytest.mark.parametrize("then", [returning(2), failing("broken"), None])
def test_whoever_takes_an_attempt_over_gets_the_results_with_which_it_began(room: EngineRoom, then: Any) -> None:
    room.told.orders["a"] = returning(1)
    room.apply({"a": [], "b": ["a"]}, details=READS_A)
    room.start()
    room.execute("a")
    leave_to_the_next_worker(room)
    room.moves.rerun_task(room.task("a"), ME)
    if then is not None:
        room.told.orders["a"] = then
        room.execute("a")
    room.execute("b")
    assert results_of(room) == [{"a": 1}]
    assert room.log("b") == [(1, "SUCCESS", None)]


def test_a_result_that_was_none_when_the_attempt_began_is_none_for_who_takes_it_over(room: EngineRoom) -> None:
    room.told.orders["a"] = returning(1)
    room.apply({"a": [], "b": ["a"]}, details={"b": {"reads_results": ["a"], "rule": TriggerRule.all_done}})
    room.start()
    room.deliver_all()
    room.told.orders["a"] = failing("broken")
    room.moves.rerun_task(room.task("a"), ME, downstream=True)
    room.execute("a")
    leave_to_the_next_worker(room)
    room.execute("b")
    assert results_of(room) == [{"a": 1}, {}]


def test_a_large_result_is_an_object_and_the_row_says_which(room: EngineRoom, shelf: Shelf) -> None:
    large = "x" * MOST_BYTES_IN_DATABASE
    room.told.orders["a"] = returning(large)
    run(room)
    assert results_of(room) == [{"a": large}]
    [(name, content)] = shelf.objects.items()
    assert json.loads(content) == large
    assert room.rows("SELECT result, result_place FROM task_log JOIN task USING (task_id) WHERE name = 'a'") == [
        (None, {"name": name})
    ]


@pytest.mark.parametrize(("length", "error"), [(MOST_BYTES_IN_DATABASE, None), (MOST_BYTES // 2, "67,108,864")])
def test_results_of_elements_are_joined_from_rows_and_objects_unless_they_are_too_large_together(
    room: EngineRoom, shelf: Shelf, length: int, error: str | None
) -> None:
    room.told.orders["a"] = returning(["small", None])
    room.told.orders["b"] = lambda work: Finished(returned=Returned(work.item or "x" * length))
    run(room, {"b": {"map": {"over": "a", "max_failures": 0}}, "c": {"reads_results": ["b"]}})
    assert room.statuses()["c"] == "SUCCESS"
    room.told.orders["a"] = returning([None, None])
    room.moves.rerun_task(room.task("a"), ME, downstream=True)
    room.deliver_all()
    assert len(shelf.objects) == 3
    assert results_of(room, "c")[0] == {"b": ["small", "x" * length]}
    [_, (_, status, said)] = room.log("c")
    assert (status == "ERROR", (said or "").count("results of the 2 elements of 'b'")) == (
        bool(error),
        int(bool(error)),
    )


def test_a_result_just_as_large_as_a_row_may_hold_stays_in_it(room: EngineRoom, shelf: Shelf) -> None:
    room.told.orders["a"] = returning("x" * (MOST_BYTES_IN_DATABASE - 2))
    run(room)
    assert shelf.objects == {}
    assert room.batch_status() == "SUCCESS"


def test_a_bucket_that_does_not_answer_puts_the_attempt_off(room: EngineRoom, shelf: Shelf) -> None:
    room.told.orders["a"] = returning("x" * MOST_BYTES_IN_DATABASE)
    shelf.is_down = True
    run(room)
    assert room.statuses()["a"] == "PROCESSING"
    shelf.is_down = False
    room.pass_time(900)
    room.sweep()
    room.deliver_all()
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert len(results_of(room)) == 1


def test_a_result_beyond_all_bounds_ends_the_attempt_with_what_to_do(room: EngineRoom, shelf: Shelf) -> None:
    room.told.orders["a"] = returning("x" * MOST_BYTES)
    run(room)
    [(_, status, error)] = room.log("a")
    assert (status, shelf.objects) == ("ERROR", {})
    assert "67,108,866 bytes of JSON, and 67,108,864 are the most; write it to a file or a table" in error


def test_what_an_outside_system_says_is_the_result(room: EngineRoom) -> None:
    run(room, {"a": {"kind": "told_external"}, **READS_A})
    room.completed("a", result={"rows": [1, None]})
    room.deliver_all()
    assert results_of(room) == [{"a": {"rows": [1, None]}}]


def test_a_task_that_has_nothing_to_do_is_skipped_and_says_why(room: EngineRoom) -> None:
    room.told.orders["a"] = lambda _work: Skipped("no file today", {"looked": 3})
    room.apply({"a": [], "b": ["a"], "c": ["a"]}, details={"c": {"rule": "none_failed"}})
    room.start()
    room.deliver_all()
    assert room.statuses() == {"a": "SKIPPED:raised", "b": "SKIPPED:rule", "c": "SUCCESS"}
    assert room.batch_status() == "SUCCESS"
    assert room.rows("SELECT l.status, details FROM task_log l JOIN task USING (task_id) WHERE name = 'a'") == [
        ("SKIPPED", {"skipped": "no file today", "looked": 3})
    ]


def test_a_skipped_task_that_is_run_again_may_succeed(room: EngineRoom) -> None:
    room.told.orders["a"] = lambda _work: Skipped("no file today")
    room.apply({"a": [], "b": ["a"]})
    room.start()
    room.deliver_all()
    del room.told.orders["a"]
    room.moves.rerun_task(room.task("a"), ME, downstream=True)
    room.deliver_all()
    assert room.statuses() == {"a": "SUCCESS", "b": "SUCCESS"}
    assert [status for _, status, _ in room.log("a")] == ["SKIPPED", "SUCCESS"]


def test_a_reset_while_it_is_skipped_lets_it_wait_anew(room: EngineRoom) -> None:
    def skip(_work: Work) -> Skipped:
        room.change("UPDATE batch_task SET reset = true WHERE status = 'PROCESSING'")
        del room.told.orders["a"]
        return Skipped("no file today")

    room.told.orders["a"] = skip
    room.apply({"a": []})
    room.start()
    room.deliver_all()
    assert [status for _, status, _ in room.log("a")] == ["SKIPPED", "SUCCESS"]
    assert room.statuses() == {"a": "SUCCESS"}


def test_a_secret_is_in_no_result(room: EngineRoom) -> None:
    hide("whispered-by-a-result")
    room.told.orders["a"] = returning({"token": "whispered-by-a-result"})
    run(room, {"c": {"kind": "told_external", "reads_results": ["b"]}, **READS_A})
    room.completed("c", result="whispered-by-a-result")
    assert results_of(room) == [{"a": {"token": HIDDEN}}]
    assert "whispered" not in str(room.rows("SELECT * FROM task_log"))
