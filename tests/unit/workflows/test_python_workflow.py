"""A workflow written in Python means what the same workflow in YAML means, and is refused for the same reasons."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from run.errors import InvalidWorkflow
from run.workflows import KindTask, Task, TaskDependency, Workflow
from run.workflows.definition import WorkflowDefinition
from run.workflows.function_keys import FunctionKeys, reference_of
from run.workflows.kind_config import ConfigurableKind
from run.workflows.reader import read_workflow
from run.workflows.scope import Scope
from tests.six_tasks import six_tasks
from tests.unit.workflows.toy_kinds import KINDS as TOYS
from tests.unit.workflows.toy_kinds import SETTINGS


class Function:
    """What a definition asks of the kind that calls functions."""

    config = FunctionKeys
    takes_file = False
    takes_many_files = False
    source_key = None
    makes_file = False
    timeout_seconds = 540

    def problems(self, config: FunctionKeys, scope: Scope) -> Iterator[tuple[str, str]]:
        yield from config.problems(scope)

    def awaits_completion(self, config: FunctionKeys) -> bool:
        return False

    def reads_results(self, config: FunctionKeys) -> Collection[str]:
        return config.passing.parents


KINDS: dict[str, ConfigurableKind] = {**TOYS, "python_function": Function()}

SIX = """
workflow: people
batch: "{period}"
params: {currency: EUR, limits: [1, 2]}
tasks:
  fetch_data: {kind: python_function, function: "tests.six_tasks:fetch_user_data"}
  validate:
    kind: python_function
    function: tests.six_tasks:validate_data
    needs: [fetch_data]
    results_as_args: [fetch_data]
  calculate_stats:
    kind: python_function
    function: tests.six_tasks:calculate_statistics
    needs: [fetch_data, validate]
    results_as_args: [fetch_data]
  prepare_storage:
    kind: python_function
    function: tests.six_tasks:prepare_for_storage
    needs: [validate, calculate_stats]
    results_as_args: [validate, calculate_stats]
  save_data:
    kind: python_function
    function: tests.six_tasks:save_data
    needs: [prepare_storage]
    results_as_args: [prepare_storage]
  generate_report:
    kind: python_function
    function: tests.six_tasks:generate_report
    needs: [save_data, calculate_stats]
    results_as_args: [save_data]
    results_as_kwargs: {stats: calculate_stats}
"""


def from_yaml(folder: Path, text: str) -> WorkflowDefinition:
    (folder / "w.yaml").write_text(dedent(text))
    return read_workflow(folder / "w.yaml", KINDS, SETTINGS)


def complaints(workflow: Workflow) -> list[str]:
    with pytest.raises(InvalidWorkflow) as caught:
        workflow.definition(KINDS, SETTINGS)
    return str(caught.value).splitlines()


def top(*_args: Any, **_kwargs: Any) -> None:
    """A function that another process finds."""


def task(name: str, *after: str, function: Callable[..., Any] = top, **details: Any) -> Task:
    return Task(name, "x.log", function, dependencies=[TaskDependency(one) for one in after], **details)


def test_the_six_tasks_are_the_same_workflow_in_python_as_in_yaml(tmp_path: Path) -> None:
    params = {"currency": "EUR", "limits": (1, 2)}
    written = Workflow(
        "people", six_tasks(tmp_path, stats_waits_for_validate=True), batch="{period}", params=params
    ).definition(KINDS, SETTINGS)
    read = from_yaml(tmp_path, SIX)
    assert written == read
    assert written.digest == read.digest


def test_every_key_of_a_task_and_of_a_workflow_can_be_said(tmp_path: Path) -> None:
    dependency = TaskDependency(
        "load", use_result_as_additional_args=True, use_result_as_additional_kwargs=True, additional_kwarg_name="x"
    )
    written = Workflow(
        "sales",
        [
            Task(
                "report",
                "report.log",
                top,
                args=(1, ("a", None)),
                kwargs={"currency": "EUR"},
                dependencies=[dependency],
                rule="all_done",
                when='results.load.rows > 0 || batch_id == "x"',
                options={"retries": 3, "timeout": "5m", "allow_failure": True},
            ),
            KindTask("load", "load", {"file": r"gs://b/(?P<period>\d+)", "table": "t"}),
            KindTask("sum", "query", {"sql_file": "sum.sql"}, needs=["load"]),
        ],
        batch="{period}",
        options={"deadline": "2h", "description": "Sales."},
    )
    (tmp_path / "sum.sql").write_text("SELECT 1")
    read = from_yaml(
        tmp_path,
        rf"""
        workflow: sales
        description: Sales.
        batch: "{{period}}"
        deadline: 2h
        tasks:
          report:
            kind: python_function
            function: {__name__}:top
            args: [1, [a, null]]
            kwargs: {{currency: EUR}}
            needs: [load]
            results_as_args: [load]
            results_as_kwargs: {{x: load}}
            rule: all_done
            when: results.load.rows > 0 || batch_id == "x"
            retries: 3
            timeout: 5m
            allow_failure: true
          load: {{kind: load, file: 'gs://b/(?P<period>\d+)', table: t}}
          sum: {{kind: query, sql_file: sum.sql, needs: [load]}}
        """,
    )
    assert written.definition(KINDS, SETTINGS, tmp_path).digest == read.digest


def test_the_order_in_which_results_are_passed_is_part_of_the_meaning(tmp_path: Path) -> None:
    def digest(*order: str) -> str:
        after = [TaskDependency(one, use_result_as_additional_args=True) for one in order]
        tasks = [task("a"), task("b"), Task("c", "x.log", top, dependencies=after)]
        return Workflow("w", tasks).definition(KINDS, SETTINGS).digest

    assert digest("a", "b") != digest("b", "a")
    passing = SIX.replace(
        "results_as_args: [validate, calculate_stats]", "results_as_args: [calculate_stats, validate]"
    )
    needing = SIX.replace("needs: [validate, calculate_stats]", "needs: [calculate_stats, validate]")
    assert from_yaml(tmp_path, passing).digest != from_yaml(tmp_path, SIX).digest
    assert from_yaml(tmp_path, needing).digest == from_yaml(tmp_path, SIX).digest


def test_every_problem_is_told_at_once_as_of_a_file() -> None:
    tasks: list[Task | KindTask] = [
        task("a", "no_such"),
        task("B"),
        task("c", "d"),
        task("d", "c"),
        task("e", function=lambda: None, args=({1, 2},)),
        task("f", options={"retries": "many", "colour": "red"}),
        KindTask("g", "lod"),
        task("h"),
        task("h"),
    ]
    told = complaints(Workflow("My Workflow", tasks, params={"when": {1}}, options={"dead_line": "2h"}))
    expected = [
        "2 tasks are called 'h'",
        "task 'e': a lambda cannot be found by another process; give it a name at the top of a module",
        "task 'e': args[0] is no JSON: it is of the type set",
        "params['when'] is no JSON: it is of the type set",
        "unknown key 'dead_line'",
        "'My Workflow' is no name",
        "task 'B': 'B' is no name",
        "task 'f': 'retries' must be a whole number, not 'many'",
        "task 'f': unknown key 'colour'",
        "task 'g': unknown kind 'lod'; did you mean 'load'?",
        "task 'a': needs 'no_such', which is no task of this workflow",
        "the tasks wait for each other: c -> d -> c",
    ]
    assert len(told) == len(expected), told
    for reason in expected:
        assert sum(reason in line for line in told) == 1, reason


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("results_as_args: [b]", "'results_as_args': passes the result of 'b', which the task does not need"),
        ("results_as_args: [a, a]", "'results_as_args': passes the result of 'a' 2 times"),
        ("results_as_kwargs: {x y: a}", "'results_as_kwargs.x y': 'x y' is no name of a parameter"),
        ("results_as_kwargs: {x: b}", "'results_as_kwargs.x': passes the result of 'b'"),
        ("results_as_args: [a], rule: one_success", "for which the rule one_success does not wait"),
        ("function: no_colon", "'function' must"),
        ("args: 7", "'args' must be a list, not 7"),
        ("pass_results: {a: positional}", "unknown key 'pass_results'"),
    ],
)
def test_keys_in_yaml_that_make_no_sense_are_refused(tmp_path: Path, keys: str, reason: str) -> None:
    function = "" if "function" in keys else "function: 'm:f', "
    text = (
        "workflow: w\ntasks:\n  a: {kind: query}\n  b: {kind: query}\n"
        f"  c: {{kind: python_function, {function}needs: [a], {keys}}}\n"
    )
    with pytest.raises(InvalidWorkflow, match=rf"w\.yaml:5: .*{re.escape(reason)}"):
        from_yaml(tmp_path, text)


class Holder:
    def method(self) -> None: ...

    @staticmethod
    def static() -> None: ...


@functools.wraps(top)
def pretender() -> None: ...


def nested() -> Callable[[], None]:
    def inner() -> None: ...

    return inner


@functools.cache
def decorated() -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda: None, "a lambda cannot be found by another process"),
        (nested(), "'nested.<locals>.inner' is inside another function"),
        (functools.partial(top, 1), "is no function at the top of a module"),
        (Holder().method, "'Holder.method' is not what the module"),
        (Holder.static, "'Holder.static' is not what the module"),
        (pretender, "'top' is not what the module"),
    ],
    ids=["lambda", "nested", "partial", "method", "static", "pretender"],
)
def test_a_function_that_no_other_process_finds_is_refused(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        reference_of(function)
    [told] = complaints(Workflow("w", [task("a", function=function)]))
    assert told.startswith("task 'a': ")
    assert reason in told


def test_a_function_of_the_script_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top, "__module__", "__main__")
    with pytest.raises(ValueError, match="'top' is in the script that runs, which cannot be imported; move it"):
        reference_of(top)


@pytest.mark.parametrize(
    "function", [top, decorated, print, re.compile], ids=["own", "decorated", "built in", "library"]
)
def test_a_function_at_the_top_of_a_module_is_named(function: Callable[..., Any]) -> None:
    assert reference_of(function) == f"{function.__module__}:{function.__name__}"


def test_the_keys_give_the_arguments_of_the_call() -> None:
    keys = FunctionKeys(
        function="m:f", args=[1], kwargs={"b": 2}, results_as_args=["p"], results_as_kwargs={"b": "q", "c": "p"}
    )
    assert keys.effective({"p": [3], "q": 4}) == ((1, [3]), {"b": 4, "c": [3]})
