"""Random graphs of functions: a Process does, in either way, what a slow and simple reading of the rules says."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from run.workflows import Process, ProcessReport, Skip, Task, TaskDependency
from run.workflows.definition import TriggerRule
from run.workflows.trigger_rules import STARTS_EARLY
from tests.unit.workflows.test_trigger_rules import FAILED, MET, SKIPPED, SUCCEEDED

ENDS = st.sampled_from(["ok"] * 6 + ["fails", "fails", "exits", "skips", "no json"])
ERRORS = {"fails": "ValueError", "exits": "SystemExit", "no json": "NotJson"}
RULES = st.just(TriggerRule.all_success) | st.sampled_from(TriggerRule)


@dataclass(frozen=True)
class Plan:
    """One task: how the result of each parent is passed, its rule, and how it ends when it runs."""

    name: str
    parents: Mapping[str, str]
    rule: TriggerRule
    ends: str
    preset: tuple[Any, ...]


@dataclass(frozen=True)
class Told:
    """How a task ended: its result, its error, or why it was skipped because of whom."""

    result: Any = None
    error: str = ""
    cause: str = ""
    because_of: frozenset[str] = frozenset()


@st.composite
def graphs(draw: st.DrawFn) -> list[Plan]:
    plans: list[Plan] = []
    for number in range(draw(st.integers(1, 12))):
        above = [plan.name for plan in plans]
        names = draw(st.lists(st.sampled_from(above), max_size=4, unique=True)) if above else []
        rule = draw(RULES)
        ways = ["order"] if rule in STARTS_EARLY else ["order", "positional", "keyword", "both"]
        parents = {name: draw(st.sampled_from(ways)) for name in names}
        plans.append(Plan(f"t{number}", parents, rule, draw(ENDS), draw(st.sampled_from([(), (1,), ([2], {"x": 3})]))))
    return plans


def saw(name: str, args: list[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a function returns: it depends on everything that it was given."""
    # The keys of a mapping have no order.
    return {"task": name, "saw": [crc32(json.dumps([args, kwargs], sort_keys=True).encode())]}


def planned(name: str, ends: str, *args: Any, **kwargs: Any) -> Any:
    """The function of every task, told how it is to end."""
    result = saw(name, list(args), kwargs)
    for given_value in [*args, *kwargs.values()]:
        # Nobody else may notice what a function does to its arguments.
        if isinstance(given_value, dict | list):
            given_value.clear()
    match ends:
        case "fails":
            raise ValueError(name)
        case "exits":
            raise SystemExit(name)
        case "skips":
            raise Skip(name)
    return object() if ends == "no json" else result


def task_of(plan: Plan) -> Task:
    dependencies = [
        TaskDependency(
            parent,
            use_result_as_additional_args=way in {"positional", "both"},
            use_result_as_additional_kwargs=way in {"keyword", "both"},
            additional_kwarg_name=f"of_{parent}" if way in {"keyword", "both"} else "",
        )
        for parent, way in plan.parents.items()
    ]
    args = (plan.name, plan.ends, *plan.preset)
    return Task(plan.name, os.devnull, planned, args, dependencies=dependencies, rule=plan.rule)


def model(plans: list[Plan]) -> dict[str, Told]:
    """Task by task, parents first, from how all parents have ended."""
    told: dict[str, Told] = {}
    for plan in plans:
        standing = {parent: _standing(told[parent]) for parent in plan.parents}
        if not plan.parents or MET[plan.rule](tuple(standing.values())):
            told[plan.name] = _ended(plan, told)
        elif FAILED in standing.values() and plan.rule is not TriggerRule.all_failed:
            blamed = [told[parent].because_of or {parent} for parent, how in standing.items() if how == FAILED]
            told[plan.name] = Told(cause="upstream_failed", because_of=frozenset().union(*blamed))
        else:
            told[plan.name] = Told(cause="rule")
    return told


def _standing(one: Told) -> str:
    if one.error or one.cause == "upstream_failed":
        return FAILED
    return SKIPPED if one.cause else SUCCEEDED


def _ended(plan: Plan, told: Mapping[str, Told]) -> Told:
    if plan.ends != "ok":
        return Told(cause="raised") if plan.ends == "skips" else Told(error=ERRORS[plan.ends])
    results = {parent: told[parent].result for parent in plan.parents}
    args = [results[parent] for parent, way in plan.parents.items() if way in {"positional", "both"}]
    kwargs = {
        f"of_{parent}": results[parent]
        for parent, way in plan.parents.items()
        if way in {"keyword", "both"} and results[parent] is not None
    }
    return Told(result=saw(plan.name, [*plan.preset, *args], kwargs))


def told_by(report: ProcessReport) -> dict[str, Told]:
    successes = {name: Told(result=one.result) for name, one in report.successes.items()}
    errors = {name: Told(error=type(one.exception).__name__) for name, one in report.errors.items()}
    skipped = {
        # Which parents a rule did not want is told by tests of their own.
        name: Told(cause=one.cause, because_of=frozenset(one.because_of if one.cause == "upstream_failed" else ()))
        for name, one in report.skipped.items()
    }
    return {**successes, **errors, **skipped}


@given(graphs(), st.randoms(use_true_random=False), st.integers(1, 4))
def test_any_graph_gives_the_same_report_in_any_order_of_creation_and_in_either_way(
    plans: list[Plan], random: Any, workers: int
) -> None:
    tasks = [task_of(plan) for plan in plans]
    random.shuffle(tasks)
    expected = model(plans)
    with Process(tasks) as process:
        one_after_another = process.run()
        in_parallel = process.run(parallel=True, max_workers=workers)
        again = process.run()
    for report in (one_after_another, in_parallel, again):
        assert told_by(report) == expected
        assert {**report.skipped} == {**one_after_another.skipped}
        assert list(report.successes) == [name for name in process.tasks if name in report.successes]
