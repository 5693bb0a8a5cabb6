from __future__ import annotations

from graphlib import CycleError
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run.workflows.graph import ancestors, find_cycles, topological_order

Needs = dict[str, list[str]]
NAMES = [f"t{number}" for number in range(8)]
ANY_GRAPH: st.SearchStrategy[Needs] = st.fixed_dictionaries(
    {name: st.lists(st.sampled_from(NAMES), max_size=3, unique=True) for name in NAMES}
)


@st.composite
def acyclic(draw: st.DrawFn) -> Needs:
    order = draw(st.permutations(NAMES))
    needs = {
        name: draw(st.lists(st.sampled_from(order[:index]), unique=True)) if index else []
        for index, name in enumerate(order)
    }
    return {name: needs[name] for name in draw(st.permutations(NAMES))}


@given(acyclic())
def test_every_parent_comes_before_its_children(needs: Needs) -> None:
    order = topological_order(needs)
    assert sorted(order) == sorted(needs)
    assert all(order.index(parent) < order.index(child) for child in needs for parent in needs[child])
    assert find_cycles(needs) == []


@given(ANY_GRAPH)
def test_a_graph_has_cycles_exactly_when_it_has_no_order(needs: Needs) -> None:
    cycles = find_cycles(needs)
    if cycles:
        with pytest.raises(CycleError):
            topological_order(needs)
    else:
        topological_order(needs)
    for cycle in cycles:
        assert cycle[0] == cycle[-1] == min(cycle, key=list(needs).index)
        assert len(set(cycle)) == len(cycle) - 1
        assert all(parent in needs[child] for parent, child in pairwise(cycle))


def test_equals_keep_the_order_of_declaration() -> None:
    assert topological_order({"c": ["a"], "z": [], "b": [], "a": []}) == ["z", "b", "a", "c"]


def test_a_cycle_is_read_from_parent_to_child() -> None:
    assert find_cycles({"a": ["c"], "b": ["a"], "c": ["b"], "d": ["a"]}) == [["a", "b", "c", "a"]]


def test_cycles_that_share_a_task_are_all_found() -> None:
    found = find_cycles({"a": ["b"], "b": ["a", "c"], "c": ["b", "c"]})
    assert found == [["a", "b", "a"], ["b", "c", "b"], ["c", "c"]]


def test_only_chosen_tasks_above_are_told_at_any_distance() -> None:
    needs: Needs = {"d": ["c"], "c": ["b"], "b": ["a"], "a": [], "x": []}
    assert ancestors(needs, {"a", "c", "x"})["d"] == {"a", "c"}
    assert ancestors(needs, {"a", "c", "x"})["a"] == frozenset()


def test_a_chain_of_thousands_is_no_recursion() -> None:
    names = [f"t{number}" for number in range(5000)]
    needs = {name: names[index - 1 : index] if index else [] for index, name in enumerate(names)}
    assert topological_order(needs) == names
    assert ancestors(needs, ["t0"])["t4999"] == {"t0"}
    assert len(find_cycles(needs | {"t0": ["t4999"]})[0]) == 5001
