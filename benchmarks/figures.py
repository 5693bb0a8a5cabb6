"""A figure that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from benchmarks.goals import GOALS


@dataclass(frozen=True)
class Figure:
    """The value of one of GOALS; `note` says under which circumstances, where that is not the same every time."""

    name: str
    value: float
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """What is kept of it."""
        goal = GOALS[self.name]
        return {
            "what": goal.what,
            "value": rounded(self.value),
            "unit": goal.unit,
            "better": goal.better,
            "goal": goal.goal,
            "stretch": goal.stretch,
            "reached": goal.is_reached(self.value),
            "note": self.note,
        }


def rounded(value: float) -> float:
    """The value with about four digits: no more are known."""
    return round(value, 1) if value >= 100 else float(f"{value:.4g}")


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which so many percent of them are."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]
