"""The order of tasks, from what each one needs."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from run.workflows.problems import did_you_mean

#: More cycles than these help nobody to mend a file.
_MOST_CYCLES = 20


@dataclass(frozen=True)
class Fault:
    """What is wrong with one of the tasks that a task needs; `index` is its place in that list."""

    task: str
    index: int
    reason: str


def faults_of(needs: Mapping[str, Sequence[str]]) -> Iterator[Fault]:
    """Yield why these needs make no sound graph: unknown and repeated parents, then cycles."""
    for task, parents in needs.items():
        before: set[str] = set()
        for index, parent in enumerate(parents):
            if parent not in needs:
                hint = did_you_mean(parent, needs)
                reason = f"task '{task}': needs '{parent}', which is no task of this workflow{hint}"
                yield Fault(task, index, reason)
            elif parent in before:
                yield Fault(task, index, f"task '{task}': needs '{parent}' twice")
            before.add(parent)
    for cycle in find_cycles(needs):
        index = needs[cycle[1]].index(cycle[0])
        yield Fault(cycle[1], index, f"the tasks wait for each other: {' -> '.join(cycle)}")


def find_cycles(needs: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Cycles as ["a", "b", "a"], a parent before its child, each starting at its first declared task.

    Every cycle loses an edge when it is found, so no two are the same and without any the graph is sound.
    """
    declared = {name: position for position, name in enumerate(needs)}
    left = {child: [parent for parent in parents if parent in declared] for child, parents in needs.items()}
    cycles: list[list[str]] = []
    while len(cycles) < _MOST_CYCLES and (cycle := _a_cycle(left)):
        left[cycle[-1]].remove(cycle[-2])
        first = min(range(len(cycle) - 1), key=lambda index: declared[cycle[index]])
        cycles.append([*cycle[first:-1], *cycle[:first], cycle[first]])
    return sorted(cycles, key=lambda cycle: [declared[name] for name in cycle])


def _a_cycle(needs: Mapping[str, list[str]]) -> list[str]:
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


def topological_order(needs: Mapping[str, Collection[str]]) -> list[str]:
    """Parents before children, in the order of declaration among equals; raises graphlib.CycleError."""
    declared = {name: position for position, name in enumerate(needs)}
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    ready: list[tuple[int, str]] = []
    order: list[str] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, (declared[name], name))
        _, name = heapq.heappop(ready)
        order.append(name)
        sorter.done(name)
    return order


def ancestors(needs: Mapping[str, Collection[str]], among: Collection[str]) -> dict[str, frozenset[str]]:
    """Which of `among` are above each task, at any distance; the graph must be without cycles."""
    chosen = frozenset(among)
    above: dict[str, frozenset[str]] = {}
    for name in topological_order(needs):
        of_parents = [above[parent] for parent in needs[name]]
        # One parent's set is shared as it is, so that a chain of thousands of tasks stays small.
        union = of_parents[0].union(*of_parents[1:]) if of_parents else frozenset[str]()
        direct = chosen.intersection(needs[name])
        above[name] = union if direct <= union else union | direct
    return above
