"""Mapped tasks at the command line: what their elements do, and one of them run again or marked."""

from __future__ import annotations

import pytest

from tests.integration.cli.conftest import CommandLine
from tests.integration.engine.test_map import fails_for, kitchen


@pytest.fixture
def cooked(cli: CommandLine) -> CommandLine:
    """A batch in which two of four elements have failed."""
    kitchen(cli.room, ["a", {"name": "b"}, "c", "d"])
    cli.room.told.orders["cook"] = fails_for("c", "d")
    cli.room.execute("cook")
    cli.room.deliver_all()
    return cli


def test_show_tells_how_the_elements_stand_and_which_have_failed(cooked: CommandLine) -> None:
    said = cooked.good("batch", "show", "cake", "2024-03")
    assert "2 of 4 elements failed: 2, 3" in said
    assert "elements: 2 ERROR, 2 SUCCESS" in said
    assert "✗ [2] ERROR  attempt 1" in said
    assert said.count("burnt") == 2
    assert "[0]" not in said
    shown = cooked.json("batch", "show", "cake", "2024-03", "--attempts")
    assert {task["task"]: task["elements"] for task in shown["tasks"]} == {
        "list": None,
        "cook": {"ERROR": 2, "SUCCESS": 2},
        "serve": None,
    }
    assert [(one["task"], one["element"], one["error"]) for one in shown["elements"]] == [
        ("cook", 2, "burnt"),
        ("cook", 3, "burnt"),
    ]
    attempts = [(one["task"], one["element"], one["status"]) for one in shown["attempts"]]
    assert attempts[:2] == [("list", None, "SUCCESS"), ("cook", None, "ERROR")]
    assert attempts[2:] == [("cook", n, status) for n, status in enumerate(["SUCCESS", "SUCCESS", "ERROR", "ERROR"])]
    # The tasks of the batch are those of the graph.
    assert cooked.json("batch", "list")[0]["tasks"] == {"SUCCESS": 1, "ERROR": 1, "SKIPPED": 1}
    assert "cook[3] attempt 1" in cooked.good("batch", "history", "cake", "2024-03")


def test_show_tells_how_many_elements_are_open(cli: CommandLine) -> None:
    kitchen(cli.room, list("abc"))
    cli.room.execute("cook")
    cli.room.execute("cook", element=1)
    assert "2 of 3 elements are open" in cli.good("batch", "show", "cake", "2024-03")
    [reason] = cli.json("batch", "show", "cake", "2024-03")["tasks"][1]["reasons"]
    assert (reason["kind"], reason["ids"]) == ("elements", ["2 of 3 elements"])
    cli.room.deliver_all()
    assert "2 ERROR" not in cli.good("batch", "show", "cake", "2024-03")


def test_elements_are_listed_with_their_items(cooked: CommandLine) -> None:
    listed = cooked.json("task", "elements", "cake", "2024-03", "cook")
    assert [(one["element"], one["item"], one["status"]) for one in listed] == [
        (0, "a", "SUCCESS"),
        (1, {"name": "b"}, "SUCCESS"),
        (2, "c", "ERROR"),
        (3, "d", "ERROR"),
    ]
    lines = cooked.good("task", "elements", "cake", "2024-03", "cook", "--status", "ERROR").splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["2", "ERROR", "1", '"c"', "burnt"],
        ["3", "ERROR", "1", '"d"', "burnt"],
    ]
    assert len(cooked.json("task", "elements", "cake", "2024-03", "cook", "--limit", "1")) == 1
    assert "has no task 'cooc'" in cooked.bad("task", "elements", "cake", "2024-03", "cooc")
    assert cooked.json("task", "elements", "cake", "2024-03", "list") == []


def test_one_element_is_run_again_or_marked(cooked: CommandLine) -> None:
    said = cooked.good("task", "mark", "cake", "2024-03", "cook", "--element", "2", "--success")
    assert said == "moved: cook[2]\nmay start now: nothing\ncake 2024-03 is ERROR\n"
    said = cooked.good(
        "task", "rerun", "cake", "2024-03", "cook", "--element", "3", "--actor", "ann", "--reason", "oven"
    )
    assert said == "moved: cook[3]\nmay start now: cook[3]\ncake 2024-03 is PROCESSING\n"
    [message] = cooked.pushes.messages
    assert message["element"] == 3
    [_, move] = cooked.json("batch", "history", "cake", "2024-03")["audit"]
    assert (move["task"], move["action"], move["reason"]) == ("cook[3]", "rerun", "oven")
    said = cooked.bad("task", "rerun", "cake", "2024-03", "cook", "--element", "4")
    assert "task cook has 4 elements, which count from 0; there is no 4" in said


def test_a_workflow_with_a_map_is_applied_and_shown(cli: CommandLine) -> None:
    cli.apply(
        "workflow: days\nbatch: '{month}'\ntasks:\n"
        "  list_days: {kind: external}\n"
        "  load: {kind: bigquery_query, needs: [list_days], map: list_days.days, sql: 'CALL load(@item_day)'}\n"
    )
    [_, load] = cli.json("workflow", "show", "days")["definition"]["tasks"]
    assert load["map"] == {"over": "list_days.days", "max_failures": 0}
    # Its elements stand before it in the order of locks.
    assert cli.room.rows("SELECT position, map FROM task_version ORDER BY position") == [
        (0, None),
        (2, {"over": "list_days.days", "max_failures": 0}),
    ]
