"""The figures as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmarks.figures import Figure, rounded
from benchmarks.goals import GOALS, Goal

_MARKS = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}


def figures_table(figures: Sequence[Figure]) -> Table:
    """Each figure beside its goal."""
    table = Table("figure", "value", "goal", "", "how", title="What was measured")
    table.columns[1].justify = "right"
    for figure in figures:
        goal = GOALS[figure.name]
        table.add_row(goal.what, _value(figure), _words(goal), _MARKS[goal.is_reached(figure.value)], figure.note)
    return table


def figures_page(figures: Sequence[Figure], facts: str) -> str:
    """The same as a page of the documentation."""
    rows = [
        f"| {GOALS[figure.name].what} | {_value(figure)} | {_words(GOALS[figure.name])} | {figure.note} |"
        for figure in figures
    ]
    head = ["# What `make bench` has measured", "", facts, "", "| figure | value | goal | how |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _value(figure: Figure) -> str:
    return f"{rounded(figure.value):,g} {GOALS[figure.name].unit}".strip()


def _words(goal: Goal) -> str:
    wanted = [] if goal.goal is None else [f"{goal.better} {goal.goal:,g}"]
    hoped = [] if goal.stretch is None else [f"hoped for {goal.stretch:,g}"]
    return ", ".join(wanted + hoped)
