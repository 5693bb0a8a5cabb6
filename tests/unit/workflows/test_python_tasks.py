from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from run.errors import InvalidWorkflow
from run.workflows import KindTask, Process, Task, TaskDependency

LOG = "never_opened.log"


def task(name: str, *parents: str) -> Task:
    return Task(name, LOG, print, dependencies=[TaskDependency(parent) for parent in parents])


@pytest.mark.parametrize("name", ["", " ", "x y", "x\ty", "x\n", "x\u00a0y", 7])
def test_a_name_without_text_or_with_a_space_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="is no name of a task: write a text without spaces"):
        Task(name, LOG, print)


def test_two_tasks_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="2 tasks are called 'a'"):
        Process([task("a"), task("b"), task("a")])


def test_an_unknown_parent_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(
        ValueError, match=r"task 'b': needs 'fetch_dat', which is no task .*; did you mean 'fetch_data'"
    ):
        Process([task("fetch_data"), task("b", "fetch_dat")])


def test_a_cycle_is_refused_by_its_names_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="the tasks wait for each other: a -> c -> b -> a"):
        Process([task("a", "b"), task("b", "c"), task("c", "a"), task("d")])
    with pytest.raises(ValueError, match="the tasks wait for each other: a -> a"):
        Process([task("a", "a")])


def test_every_problem_of_the_graph_is_told_at_once() -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        Process([task("a", "b"), task("b", "a"), task("c", "no"), task("d"), task("d")])
    assert str(caught.value).splitlines() == [
        "2 tasks are called 'd'",
        "task 'c': needs 'no', which is no task of this workflow",
        "the tasks wait for each other: a -> b -> a",
    ]


def test_a_task_of_another_kind_is_only_for_the_service() -> None:
    with pytest.raises(TypeError, match="of the kind 'load_file', which only the service runs"):
        Process([KindTask("a", "load_file")])  # type: ignore[list-item]


WRONG: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    (TypeError, "additional_kwarg_name is missing", lambda: TaskDependency("a", use_result_as_additional_kwargs=True)),
    (TypeError, "only with use_result_as_additional_kw", lambda: TaskDependency("a", additional_kwarg_name="x")),
    (
        ValueError,
        "'a b' is no name of a parameter",
        lambda: TaskDependency("a", use_result_as_additional_kwargs=True, additional_kwarg_name="a b"),
    ),
    (TypeError, "is no function; write its name without ()", lambda: Task("t", LOG, "print")),  # type: ignore[arg-type]
    (TypeError, "is no dependency", lambda: Task("t", LOG, print, dependencies=["a"])),  # type: ignore[list-item]
    (TypeError, r"args is a tuple or a list", lambda: Task("t", LOG, print, args="ab")),
    (ValueError, "'sometimes' is no rule; the rules are all_success,", lambda: Task("t", LOG, print, rule="sometimes")),
    (ValueError, "does not wait", lambda: Task("t", LOG, print, dependencies=[positional("a")], rule="one_success")),
    (
        ValueError,
        "2 results are passed as 'x'",
        lambda: Task("t", LOG, print, dependencies=[keyword("a", "x"), keyword("b", "x")]),
    ),
]


def positional(parent: str) -> TaskDependency:
    return TaskDependency(parent, use_result_as_additional_args=True)


def keyword(parent: str, name: str) -> TaskDependency:
    return TaskDependency(parent, use_result_as_additional_kwargs=True, additional_kwarg_name=name)


@pytest.mark.parametrize(("error", "reason", "build"), WRONG, ids=[reason for _, reason, _ in WRONG])
def test_what_makes_no_sense_is_refused_where_it_is_written(
    error: type[Exception], reason: str, build: Callable[[], Any]
) -> None:
    with pytest.raises(error, match=reason):
        build()


def test_parents_come_before_children_however_they_are_listed() -> None:
    tasks = [task("d", "b", "c"), task("b", "a"), task("c", "a"), task("a")]
    order = list(Process(tasks).tasks)
    assert (order[0], order[3], set(order)) == ("a", "d", {"a", "b", "c", "d"})
