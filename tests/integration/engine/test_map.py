"""A task is mapped over a list: its elements do the work, and its outcome is what they make together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from database.attempts import claim
from database.completions import StoredCompletion
from run.engine.completions import take_completion
from run.engine.expanding import MOST_ELEMENTS
from run.errors import Rejected
from run.kinds.kind import Work
from tests.engine_room import EngineRoom, failing
from tests.integration.engine.test_growth import counted_statements

NEEDS = {"list": [], "cook": ["list"], "serve": ["cook"]}
#: A token of nobody's.
TOKEN = "00000000-0000-0000-0000-0000000000aa"


def kitchen(
    room: EngineRoom, items: Any, *, max_failures: int = 0, started: bool = True, **cook: Any
) -> Callable[[Any], None]:
    """A workflow whose `cook` has an element for each item of a list; what is returned changes the list."""
    mapped = {"over": "list.dishes", "max_failures": max_failures}
    details = {"cook": {"map": mapped, **cook}, "serve": {"reads_results": ("cook",)}}
    room.apply(NEEDS, details=details)

    def lists(dishes: Any) -> None:
        room.told.orders["list"] = lambda _work: {"dishes": dishes}

    lists(items)
    if started:
        room.start()
        room.execute("list")
        room.publisher.messages.clear()
    return lists


def open_elements(room: EngineRoom, items: Any, **more: Any) -> Callable[[Any], None]:
    """The same, with the list read."""
    lists = kitchen(room, items, **more)
    room.execute("cook")
    return lists


def works(room: EngineRoom, task: str = "cook") -> list[Work]:
    return [work for work in room.told.works if work.task == task]


def test_each_item_is_worked_on_by_an_element_and_the_results_are_joined_in_order(room: EngineRoom) -> None:
    kitchen(room, ["soup", {"name": "pie"}, None], started=False)
    room.told.orders["cook"] = lambda work: {"cooked": work.item}
    room.start()
    room.deliver_all()
    assert room.statuses() == {"list": "SUCCESS", "cook": "SUCCESS", "serve": "SUCCESS"}
    assert room.elements("cook") == ["SUCCESS"] * 3
    assert [(work.element, work.item) for work in works(room)] == [(0, "soup"), (1, {"name": "pie"}), (2, None)]
    [serve] = works(room, "serve")
    assert serve.results == {"cook": [{"cooked": "soup"}, {"cooked": {"name": "pie"}}, {"cooked": None}]}
    assert room.batch_status() == "SUCCESS"


def test_every_element_has_a_key_of_its_own_outside_and_a_task_that_is_not_mapped_has_the_one_it_always_had(
    room: EngineRoom,
) -> None:
    kitchen(room, ["a", "b"], started=False)
    room.start()
    room.deliver_all()
    assert len({work.key for work in works(room)}) == 2
    [listing] = works(room, "list")
    assert listing.key == f"{listing.batch_uid}/cake/2024-03/list/1"


def test_the_messages_of_elements_name_them_and_are_sent_once(room: EngineRoom) -> None:
    open_elements(room, list("abc"))
    task_id = room.key("cook").task_id
    assert room.publisher.messages == [
        {"trigger_type": "task", "task_id": task_id, "batch_id": "2024-03", "element": n} for n in range(3)
    ]


def test_a_list_without_items_is_a_success_at_once(room: EngineRoom) -> None:
    kitchen(room, [])
    room.execute("cook")
    assert room.statuses() == {"list": "SUCCESS", "cook": "SUCCESS", "serve": "NEW"}
    room.deliver_all()
    assert works(room, "serve")[0].results == {"cook": []}
    assert room.log("cook") == [(1, "SUCCESS", None)]


@pytest.mark.parametrize(
    ("dishes", "what"),
    [
        ("soup", "no list; it is the value 'soup'"),
        ({"a": 1}, "no list; it is a mapping of 'a'"),
        (None, "no list; it is the value 'null'"),
        ([0] * (MOST_ELEMENTS + 1), "has 100,001 items, and 100,000 are the most"),
    ],
)
def test_what_is_no_list_or_too_long_a_one_is_an_error_that_says_so(room: EngineRoom, dishes: Any, what: str) -> None:
    kitchen(room, dishes, retries=3)
    room.execute("cook")
    [(attempt, status, error)] = room.log("cook")
    assert (attempt, status) == (1, "ERROR")
    assert what in error
    assert error.startswith("map over list.dishes: the result of 'list', 'dishes' ")
    assert room.statuses()["serve"] == "SKIPPED:upstream_failed"


def test_a_result_without_the_key_is_an_error_that_says_what_is_there(room: EngineRoom) -> None:
    kitchen(room, [], started=False)
    room.told.orders["list"] = lambda _work: {"dishs": []}
    room.start()
    room.deliver_all()
    [(_, _, error)] = room.log("cook")
    assert error == (
        "map over list.dishes: the result of 'list' is a mapping of 'dishs' without 'dishes'; did you mean 'dishs'?"
    )


def fails_for(*names: str) -> Callable[[Work], Mapping[str, Any] | None]:
    def work_or_fail(work: Work) -> Mapping[str, Any] | None:
        if work.item in names:
            failing("burnt")(work)
        return {"cooked": work.item}

    return work_or_fail


def test_more_failures_than_are_allowed_are_an_error_that_names_them(room: EngineRoom) -> None:
    kitchen(room, list("abcde"), max_failures=1)
    room.told.orders["cook"] = fails_for("b", "e")
    room.execute("cook")
    room.deliver_all()
    assert room.log("cook") == [(1, "ERROR", "2 of 5 elements failed: 1, 4\nelement 1: burnt")]
    assert room.statuses()["serve"] == "SKIPPED:upstream_failed"
    assert room.batch_status() == "ERROR"


def test_as_many_failures_as_are_allowed_are_a_success_and_have_no_result(room: EngineRoom) -> None:
    kitchen(room, list("abc"), max_failures=1)
    room.told.orders["cook"] = fails_for("b")
    room.execute("cook")
    room.deliver_all()
    assert works(room, "serve")[0].results == {"cook": [{"cooked": "a"}, None, {"cooked": "c"}]}
    assert room.batch_status() == "SUCCESS"


def test_an_element_is_retried_as_the_task_says_while_the_others_go_on(room: EngineRoom) -> None:
    open_elements(room, list("ab"), retries=1)
    room.told.orders["cook"] = failing("busy", passing=True)
    room.execute("cook", element=0)
    room.told.orders.pop("cook")
    room.execute("cook", element=1)
    assert room.elements("cook") == ["WAITING", "SUCCESS"]
    room.publisher.messages.clear()
    room.pass_time(3600)
    assert room.sweep()["retry"] == 1
    room.deliver_all()
    assert room.elements("cook") == ["SUCCESS", "SUCCESS"]
    assert [(work.element, work.attempt) for work in works(room)] == [(0, 1), (1, 1), (0, 2)]
    assert room.log("cook") == [(1, "SUCCESS", None)]


def test_a_message_that_comes_twice_expands_no_second_time_and_starts_no_element_twice(room: EngineRoom) -> None:
    open_elements(room, list("ab"))
    room.execute("cook")
    for _ in range(2):
        room.execute("cook", element=0)
    assert len(works(room)) == 1
    assert room.rows("SELECT count(*) FROM batch_task WHERE element >= 0") == [(2,)]
    assert room.log("cook") == [(1, "PROCESSING", None)]


def test_a_worker_that_lost_its_list_to_another_one_writes_no_elements(room: EngineRoom) -> None:
    kitchen(room, list("ab"))
    key = room.key("cook")
    lost = room.database.transact(lambda tx: claim(tx, key, TOKEN, ["told"]))
    assert lost is not None
    room.pass_time(3600)
    room.sweep()
    room.deliver_all()
    assert room.statuses()["cook"] == "SUCCESS"
    from run.engine.expanding import Expands, write_elements

    assert room.database.transact(lambda tx: write_elements(tx, lost, Expands(list("abcd")))) is None
    assert len(room.elements("cook")) == 2


def test_an_element_whose_worker_died_is_taken_over(room: EngineRoom) -> None:
    open_elements(room, list("ab"))
    room.publisher.messages.clear()
    for element in (0, 1):
        key = room.key("cook", element=element)
        assert room.database.transact(lambda tx: claim(tx, key, TOKEN, ["told"])) is not None  # noqa: B023
    room.pass_time(3600)
    assert room.sweep()["dead_attempts"] == 2
    room.deliver_all()
    assert room.elements("cook") == ["SUCCESS"] * 2
    assert room.rows("SELECT DISTINCT takeovers, attempt FROM batch_task WHERE element >= 0") == [(1, 1)]
    assert room.batch_status() == "SUCCESS"


def test_lost_messages_of_elements_are_published_again(room: EngineRoom) -> None:
    open_elements(room, list("abc"))
    room.publisher.messages.clear()
    room.pass_time(61)
    assert room.sweep() == {"overdue_messages": 3}
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"


def test_work_outside_goes_on_for_each_element(room: EngineRoom) -> None:
    open_elements(room, list("ab"), kind="told_outside")
    room.deliver_all()
    assert len(room.told_outside.jobs) == 2
    room.told_outside.end_jobs()
    room.pass_time(60)
    assert room.sweep()["poll"] == 2
    assert room.statuses()["cook"] == "SUCCESS"


def test_a_completion_message_ends_one_element(room: EngineRoom) -> None:
    open_elements(room, list("ab"), kind="told_external")
    room.deliver_all()
    room.completed("cook", result={"eggs": 1}, element=1)
    assert room.elements("cook") == ["PROCESSING", "SUCCESS"]
    with pytest.raises(Rejected, match="task cook is mapped; say which element is done"):
        room.completed("cook")
    with pytest.raises(Rejected, match="there is no element 2 of task"):
        room.completed("cook", element=2)
    room.completed("cook", result={"eggs": 0}, element=0)
    room.deliver_all()
    assert works(room, "serve")[0].results == {"cook": [{"eggs": 0}, {"eggs": 1}]}


def test_an_element_of_a_task_that_is_not_mapped_is_rejected(room: EngineRoom) -> None:
    kitchen(room, [])
    with pytest.raises(Rejected, match="there is no element 3 of task"):
        room.execute("list", element=3)
    said = StoredCompletion("SUCCESS", None, None)
    with pytest.raises(Rejected, match="there is no element 0 of task"):
        room.database.transact(lambda tx: take_completion(tx, room.key("list", element=0), 1, said))


def test_the_end_of_an_element_asks_few_questions_and_looks_for_the_others_only_at_the_last(room: EngineRoom) -> None:
    open_elements(room, list(range(50)))
    counts = []
    for element in range(50):
        key = room.key("cook", element=element)
        with counted_statements(room) as statements:
            room.life.execute(key)
        # The claim is one of them, and is not part of the completion.
        counts.append(len(statements) - 1)
        if element < 49:
            assert not any("last_open_element" in statement for statement in statements)
    assert max(counts[:-1]) == 1
    assert counts[-1] <= 8
    assert room.statuses()["serve"] == "NEW"


def test_the_expansion_asks_as_few_questions_for_a_thousand_elements_as_for_one(room: EngineRoom) -> None:
    counts = []
    for number, items in enumerate(([1], list(range(90)))):
        kitchen(room, items, started=False)
        batch = room.start(str(number)).batch_id
        room.execute("list", batch)
        with counted_statements(room) as statements:
            room.execute("cook", batch)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_the_condition_of_a_mapped_task_is_asked_once_and_its_elements_do_not_read_what_only_that_reads(
    room: EngineRoom,
) -> None:
    condition = {"condition": "results.list.dishes.size() > 1", "reads_results": ("list",)}
    open_elements(room, list("ab"), **condition)
    room.told.orders["list"] = lambda _work: {"dishes": []}
    # Were an element asked too, what its parent would say now could skip it.
    room.change("UPDATE task_log SET details = '{\"dishes\": []}' WHERE task_id = :t", t=room.key("list").task_id)
    room.deliver_all()
    assert room.elements("cook") == ["SUCCESS", "SUCCESS"]
    assert [work.results for work in works(room)] == [{}, {}]


def test_a_mapped_task_whose_condition_is_false_is_skipped_without_elements(room: EngineRoom) -> None:
    kitchen(room, ["a"], condition="results.list.dishes.size() > 1", reads_results=("list",))
    room.execute("cook")
    assert room.statuses()["cook"] == "SKIPPED:branch"
    assert room.elements("cook") == []


@pytest.mark.timeout(300)
def test_ten_thousand_elements_end_together_and_each_costs_as_little_as_one_of_few(room: EngineRoom) -> None:
    many = 10_000
    kitchen(room, list(range(many)), started=False)
    room.start()
    with counted_statements(room) as statements:
        room.deliver_all()
    assert room.batch_status() == "SUCCESS"
    assert len(works(room)) == many
    assert works(room, "serve")[0].results == {"cook": [{}] * many}
    # Claim and outcome; what remains is the same for any number, but for the pages of the results.
    ours = [statement for statement in statements if not statement.startswith("SELECT workflow_id FROM task ")]
    assert len(ours) <= 2.02 * many
