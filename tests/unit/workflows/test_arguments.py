from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run.workflows.arguments import Passing, effective_arguments
from run.workflows.definition import TriggerRule
from run.workflows.trigger_rules import STARTS_EARLY

NAMES = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.integers() | st.lists(st.integers())


def test_results_are_appended_in_the_order_of_the_list() -> None:
    results = {"b": 2, "a": 1, "c": 3}
    assert effective_arguments((), {}, Passing(["a", "b", "c"]), results) == ((1, 2, 3), {})
    assert effective_arguments((8, 9), {}, Passing(["c", "a"]), results) == ((8, 9, 3, 1), {})


def test_a_passed_keyword_overrides_the_preset_one() -> None:
    preset = {"b": "default", "other": 1}
    assert effective_arguments((1,), preset, Passing((), {"b": "source"}), {"source": 2}) == (
        (1,),
        {"b": 2, "other": 1},
    )
    assert preset == {"b": "default", "other": 1}


def test_one_result_may_be_passed_both_ways() -> None:
    args, kwargs = effective_arguments((), {}, Passing(["a"], {"x": "a"}), {"a": [1]})
    assert (args, kwargs) == (([1],), {"x": [1]})
    args[0].append(2)
    assert kwargs == {"x": [1]}


def test_a_parent_without_a_result_is_none_in_its_place_and_leaves_a_keyword_alone() -> None:
    passing = Passing(["failed", "ok"], {"x": "failed", "y": "ok"})
    assert effective_arguments((), {"x": "default"}, passing, {"ok": 1}) == ((None, 1), {"x": "default", "y": 1})
    assert effective_arguments((), {}, Passing((), {"x": "ok"}), {"ok": None}) == ((), {"x": None})


def test_nothing_that_a_function_changes_reaches_anybody_else() -> None:
    shared = object()
    preset: tuple[Any, ...] = ([1], {"deep": [{2}]}, (3, [4]), shared)
    options: dict[str, Any] = {"o": {"p": []}}
    result = {"rows": [1]}
    args, kwargs = effective_arguments(preset, options, Passing(["a"], {"r": "a"}), {"a": result})
    args[0].append(9)
    args[1]["deep"][0].add(9)
    args[2][1].append(9)
    args[4]["rows"].append(9)
    kwargs["o"]["p"].append(9)
    kwargs["r"]["rows"].append(8)
    assert preset == ([1], {"deep": [{2}]}, (3, [4]), shared)
    assert options == {"o": {"p": []}}
    assert result == {"rows": [1]}
    assert args[3] is shared


@given(
    st.lists(VALUES, max_size=3),
    st.dictionaries(NAMES, VALUES),
    st.lists(NAMES, unique=True),
    st.dictionaries(NAMES, NAMES),
    st.dictionaries(NAMES, VALUES),
)
def test_every_result_that_is_there_arrives_where_it_was_sent(
    preset: list[Any], options: dict[str, Any], as_args: list[str], as_kwargs: dict[str, str], results: dict[str, Any]
) -> None:
    args, kwargs = effective_arguments(preset, options, Passing(as_args, as_kwargs), results)
    assert list(args[: len(preset)]) == preset
    assert list(args[len(preset) :]) == [results.get(parent) for parent in as_args]
    for keyword in {*options, *as_kwargs}:
        parent = as_kwargs.get(keyword)
        if parent in results:
            assert kwargs[keyword] == results[parent]
        else:
            assert kwargs.get(keyword, "absent") == options.get(keyword, "absent")
    assert kwargs.keys() <= {*options, *as_kwargs}


@pytest.mark.parametrize(
    ("passing", "problem"),
    [
        (
            Passing(["loda"]),
            ("as_args", "passes the result of 'loda', which the task does not need; did you mean 'load'?"),
        ),
        (Passing(["load", "load"]), ("as_args", "passes the result of 'load' 2 times")),
        (Passing((), {"x": "no"}), ("as_kwargs.x", "passes the result of 'no', which the task does not need")),
        (Passing((), {"a b": "load"}), ("as_kwargs.a b", "'a b' is no name of a parameter")),
        (Passing((), {"class": "load"}), ("as_kwargs.class", "'class' is no name of a parameter")),
    ],
    ids=str,
)
def test_a_passing_that_cannot_be_is_told(passing: Passing, problem: tuple[str, str]) -> None:
    assert list(passing.problems(["load", "other"], TriggerRule.all_success)) == [problem]


@pytest.mark.parametrize("rule", TriggerRule)
def test_a_rule_that_does_not_wait_for_a_parent_cannot_pass_its_result(rule: TriggerRule) -> None:
    told = [reason for _, reason in Passing(["a"], {"x": "a"}).problems(["a"], rule)]
    early = f"passes the result of 'a', for which the rule {rule} does not wait"
    assert told == ([early, early] if rule in STARTS_EARLY else [])
    assert not list(Passing().problems(["a"], rule))
