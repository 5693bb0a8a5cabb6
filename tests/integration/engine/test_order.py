"""Tasks start once, after their parents, and a batch ends when nothing in it is open."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from run.errors import Rejected
from tests.engine_room import EngineRoom, failing

CAKE = {"mix": [], "bake": ["mix"], "cool": ["bake"], "frosting": ["mix"], "frost": ["cool", "frosting"]}


def test_a_cake_is_baked_in_order_and_the_batch_ends(room: EngineRoom) -> None:
    room.apply(CAKE)
    room.start()
    assert room.published() == ["mix"]
    room.deliver_all()
    order = [work.task for work in room.told.works]
    assert sorted(order) == sorted(CAKE)
    assert all(order.index(parent) < order.index(child) for child, parents in CAKE.items() for parent in parents)
    assert room.batch_status() == "SUCCESS"
    times = room.rows("SELECT bool_and(ended_at >= started_at), count(*) FROM task_log WHERE status = 'SUCCESS'")
    assert times == [(True, 5)]


def test_a_child_waits_for_the_last_of_its_parents(room: EngineRoom) -> None:
    room.apply({"left": [], "right": [], "child": ["left", "right"]})
    room.start()
    room.publisher.messages.clear()
    room.execute("left")
    assert room.published() == []
    assert room.statuses()["child"] == "WAITING"
    room.execute("right")
    assert room.published() == ["child"]
    assert room.statuses()["child"] == "NEW"


def test_the_row_of_a_running_task_is_seen_by_others_as_processing(room: EngineRoom) -> None:
    room.apply({"only": []})
    room.start()
    seen: list[object] = []
    room.told.orders["only"] = lambda _work: seen.extend(room.rows("SELECT status, ended_at FROM task_log"))
    room.deliver_all()
    assert seen == [("PROCESSING", None)]


def test_two_batches_of_one_workflow_never_mix(room: EngineRoom) -> None:
    room.apply({"sales": [], "expenses": [], "profit": ["sales", "expenses"]})
    room.start("2024-03")
    room.start("2024-04")
    room.publisher.messages.clear()
    room.execute("sales", "2024-03")
    room.execute("expenses", "2024-04")
    assert room.published() == []
    assert room.statuses("2024-03")["profit"] == room.statuses("2024-04")["profit"] == "WAITING"


def test_a_message_that_comes_again_has_no_effect(room: EngineRoom) -> None:
    room.apply({"a": [], "b": ["a"]})
    room.start()
    for _ in range(3):
        room.execute("a")
    assert room.told.starts("a") == 1
    assert room.published() == ["a", "b"]
    for _ in range(3):
        room.execute("b")
    assert room.told.starts("b") == 1
    assert room.batch_status() == "SUCCESS"


def test_a_message_for_a_task_that_waits_has_no_effect(room: EngineRoom) -> None:
    room.apply({"a": [], "b": ["a"]})
    room.start()
    room.execute("b")
    assert room.told.starts("b") == 0
    assert room.statuses() == {"a": "NEW", "b": "WAITING"}


def test_a_message_for_a_batch_that_does_not_exist_is_rejected(room: EngineRoom) -> None:
    room.apply({"a": []})
    with pytest.raises(Rejected, match="no batch '1999-01'"):
        room.execute("a", "1999-01")
    assert room.rows("SELECT count(*) FROM task_batch") == [(0,)]


def test_a_failure_is_kept_with_its_reason_and_what_is_below_is_skipped_because_of_it(room: EngineRoom) -> None:
    room.apply(CAKE | {"serve": ["frost"]})
    room.told.orders["frosting"] = failing("oops, ran out of sugar")
    room.start()
    room.deliver_all()
    assert room.log("frosting") == [(1, "ERROR", "oops, ran out of sugar")]
    statuses = room.statuses()
    assert statuses["cool"] == "SUCCESS"
    assert statuses["frost"] == statuses["serve"] == "SKIPPED:upstream_failed"
    culprits = room.rows(
        "SELECT c.name FROM batch_task b JOIN task c ON c.task_id = b.skipped_because_of ORDER BY b.position"
    )
    assert culprits == [("frosting",), ("frosting",)]
    assert room.batch_status() == "ERROR"


def test_an_error_that_nobody_foresaw_is_kept_with_its_traceback(room: EngineRoom) -> None:
    room.apply({"a": []})

    def divide(_work: object) -> None:
        raise ZeroDivisionError("by\0zero")

    room.told.orders["a"] = divide
    room.start()
    room.deliver_all()
    [(_, status, error)] = room.log("a")
    assert status == "ERROR"
    assert "ZeroDivisionError: by\N{REPLACEMENT CHARACTER}zero" in error
    assert "test_order.py" in error


def test_an_error_text_of_many_megabytes_keeps_its_end(room: EngineRoom) -> None:
    room.apply({"a": []})
    room.told.orders["a"] = failing("x" * 5_000_000 + " the end")
    room.start()
    room.deliver_all()
    assert room.rows("SELECT length(error), right(error, 7) FROM task_log") == [(1_000_004, "the end")]


def test_a_failure_that_is_allowed_does_not_fail_the_batch(room: EngineRoom) -> None:
    room.apply({"a": [], "b": []}, details={"a": {"allow_failure": True}})
    room.told.orders["a"] = failing("no")
    room.start()
    room.deliver_all()
    assert room.statuses() == {"a": "ERROR", "b": "SUCCESS"}
    assert room.batch_status() == "SUCCESS"


def test_a_disabled_task_is_skipped_and_so_is_what_needs_its_success(room: EngineRoom) -> None:
    graph = {"off": [], "below": ["off"], "anyway": ["off"], "on": [], "off_too": ["on"], "last": ["off_too"]}
    details: dict[str, dict[str, Any]] = {
        "off": {"disabled": True},
        "off_too": {"disabled": True},
        "anyway": {"rule": "all_done"},
        "on": {"success_may_skip": True},
        "last": {"rule": "none_failed"},
    }
    room.apply(graph, details=details)
    room.start()
    room.deliver_all()
    assert room.statuses() == {
        "off": "SKIPPED:disabled",
        "below": "SKIPPED:rule",
        "anyway": "SUCCESS",
        "on": "SUCCESS",
        "off_too": "SKIPPED:disabled",
        "last": "SUCCESS",
    }
    assert room.batch_status() == "SUCCESS"


def test_a_batch_whose_tasks_are_all_disabled_ends_as_it_begins(room: EngineRoom) -> None:
    room.apply({"a": [], "b": ["a"]}, details={"a": {"disabled": True}, "b": {"disabled": True}})
    room.start()
    assert room.statuses() == {"a": "SKIPPED:disabled", "b": "SKIPPED:rule"}
    assert room.batch_status() == "SUCCESS"


def test_a_skip_goes_down_a_chain_of_three_hundred_in_a_handful_of_statements(room: EngineRoom) -> None:
    names = [f"t{number:03d}" for number in range(300)]
    room.apply({name: names[max(0, n - 1) : n] for n, name in enumerate(names)})
    room.told.orders["t000"] = failing("no")
    room.start()
    room.deliver_all()
    assert room.rows("SELECT status, count(*) FROM batch_task GROUP BY 1 ORDER BY 1") == [
        ("ERROR", 1),
        ("SKIPPED", 299),
    ]
    assert room.batch_status() == "ERROR"


def test_five_hundred_children_are_released_together(room: EngineRoom) -> None:
    children = [f"c{number}" for number in range(500)]
    room.apply({"root": [], **{child: ["root"] for child in children}})
    room.start()
    room.publisher.messages.clear()
    room.execute("root")
    assert sorted(room.published()) == sorted(children)


def test_task_number_zero_is_a_task(room: EngineRoom) -> None:
    room.apply({"a": [], "b": ["a"]})
    room.change("ALTER TABLE task ALTER COLUMN task_id SET GENERATED BY DEFAULT")
    room.change("INSERT INTO task (task_id, workflow_id, name) SELECT 0, workflow_id, 'zero' FROM workflow")
    room.apply({"zero": [], "b": ["zero"]})
    room.start()
    room.deliver_all()
    assert room.told.starts("zero") == room.told.starts("b") == 1
    assert room.batch_status() == "SUCCESS"


def test_a_kind_that_this_revision_does_not_know_leaves_the_task_new(room: EngineRoom) -> None:
    room.apply({"a": []}, details={"a": {"kind": "of_tomorrow"}})
    room.start()
    room.deliver_all()
    assert room.statuses() == {"a": "NEW"}
    assert room.rows("SELECT count(*) FROM task_log") == [(0,)]


@pytest.mark.parametrize("seed", range(3))
def test_two_hundred_tasks_in_a_random_graph_run_once_each_in_topological_order(room: EngineRoom, seed: int) -> None:
    chance = random.Random(seed)
    graph = _random_graph(chance, 200)
    room.apply(graph)
    second = EngineRoom(room.database, told=room.told, publisher=room.publisher)
    room.start()
    while room.publisher.messages:
        chance.shuffle(room.publisher.messages)
        message = room.publisher.messages.pop()
        if chance.random() < 0.3:
            room.publisher.messages.append(message)
        workflow_id = room.key("t0").workflow_id
        instance = chance.choice([room, second])
        instance.life.execute(type(room.key("t0"))(workflow_id, message["batch_id"], message["task_id"]))
    order = [work.task for work in room.told.works]
    assert sorted(order) == sorted(graph)
    assert all(order.index(parent) < order.index(child) for child, parents in graph.items() for parent in parents)
    assert room.batch_status() == "SUCCESS"


def _random_graph(chance: random.Random, size: int) -> Mapping[str, Sequence[str]]:
    names = [f"t{number}" for number in range(size)]
    return {name: chance.sample(names[:n], min(n, chance.randint(0, 3))) for n, name in enumerate(names)}
