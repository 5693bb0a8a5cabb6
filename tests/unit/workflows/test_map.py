"""Mapped tasks: what they say is what is stored, and which names their elements have."""

from __future__ import annotations

from typing import Any

import pytest

from run.errors import InvalidWorkflow, PermanentFailure
from run.workflows.builder import build_workflow
from run.workflows.definition import MapDefinition, WorkflowDefinition
from run.workflows.process import Process
from run.workflows.python_tasks import Task
from run.workflows.result_names import item_names_in, item_values
from run.workflows.templates import TemplateError
from tests.unit.workflows.toy_kinds import KINDS, SETTINGS


def built(params: dict[str, Any] | None = None, **each: Any) -> tuple[WorkflowDefinition | None, list[str]]:
    tasks = {
        "days": {"kind": "query", "sql": "x"},
        "each": {"kind": "query", "needs": ["days"], "sql": "{item}", **each},
    }
    data = {"workflow": "w", "batch": "{period}", "params": params or {}, "tasks": tasks}
    definition, problems = build_workflow(data, KINDS, SETTINGS)
    return definition, [problem.reason for problem in problems]


def defined(**each: Any) -> WorkflowDefinition:
    definition, problems = built(**each)
    assert definition is not None, problems
    return definition


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("days", MapDefinition(over="days")),
        ("days.of.month", MapDefinition(over="days.of.month")),
        ({"over": "days", "max_failures": 2}, MapDefinition(over="days", max_failures=2)),
    ],
)
def test_a_list_is_named_alone_or_with_how_many_may_fail(written: object, meant: MapDefinition) -> None:
    assert defined(map=written).tasks[1].map == meant


def test_a_task_that_is_not_mapped_is_stored_as_before_and_another_map_is_another_definition() -> None:
    assert "map" not in defined(sql="x").tasks[1].meaning()
    written: list[dict[str, Any]] = [{}, {"map": "days"}, {"map": {"over": "days", "max_failures": 1}}]
    assert len({defined(**one).digest for one in written}) == 3
    assert defined(map="days").digest == defined(map={"over": "days"}).digest


@pytest.mark.parametrize("name", ["item", "element"])
def test_a_param_of_a_workflow_with_a_mapped_task_is_not_called_as_what_elements_have(name: str) -> None:
    _, problems = built(params={name: 1}, map="days")
    assert problems == [
        f"task 'each': 'map': '{name}' is what an element has; call the param, or the part of the batch id, otherwise"
    ]
    assert built(params={name: 1}, sql="x")[1] == []


@pytest.mark.parametrize(
    ("template", "item", "text"),
    [
        ("{item}", "soup", "soup"),
        ("{item}", 7, "7"),
        ("{item}", None, "null"),
        ("{item.day}", {"day": "2024-03-05"}, "2024-03-05"),
        ("{item.days.1}", {"days": ["a", "b"]}, "b"),
    ],
)
def test_the_parts_of_an_item_have_names(template: str, item: object, text: str) -> None:
    names = item_names_in({"sql": template})
    assert list(item_values(names, item).values()) == [text]


@pytest.mark.parametrize(
    ("template", "item", "why"),
    [
        ("{item}", {"day": 1}, "'{item}': the item is a mapping of 'day', which has no text; name a part of it"),
        (
            "{item.dayy}",
            {"day": 1},
            "'{item.dayy}': the item is a mapping of 'day' without 'dayy'; did you mean 'day'?",
        ),
    ],
)
def test_a_part_that_is_not_there_is_told_with_what_is(template: str, item: object, why: str) -> None:
    with pytest.raises(TemplateError) as caught:
        item_values(item_names_in(template), item)
    assert str(caught.value) == why


def test_a_process_refuses_a_mapped_task() -> None:
    listing = Task("list", "list.log", print)
    mapped = Task("each", "each.log", print, options={"map": "list"})
    with pytest.raises(InvalidWorkflow, match="task 'each' is mapped over a list, which only the service does"):
        Process([listing, mapped])


def test_a_way_into_a_result_says_where_it_ends() -> None:
    from run.engine.expanding import items_of

    assert items_of("days.of.march", {"days": {"of": {"march": [1, 2]}}}) == [1, 2]
    with pytest.raises(PermanentFailure, match=r"'of' is a list of 1 without 'march'$"):
        items_of("days.of.march", {"days": {"of": [1]}})
    with pytest.raises(PermanentFailure, match="the task 'days' has no result"):
        items_of("days", {})
