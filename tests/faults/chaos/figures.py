"""The figures of a run, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isinf
from typing import Any

from database.keys import WHOLE
from tests.faults.chaos.evidence import Evidence, TaskEvidence
from tests.faults.chaos.findings import Fault, Finding, count
from tests.faults.chaos.plan import Plan
from tests.faults.chaos.recovery import recoveries
from tests.faults.chaos.tormentor import Torture
from tests.faults.chaos.world import What

Figures = dict[str, Any]

SHOWN = (Torture.FREEZE, Torture.STOP, Torture.FAST_RESTART, Torture.IMMEDIATE_RESTART)


def measure(plan: Plan, evidence: Evidence, findings: Sequence[Finding], seconds: float) -> Figures:
    """Everything that a run says about itself in numbers."""
    tasks = evidence.tasks.values()
    attempts = [attempt for task in tasks for attempt in task.attempts]
    deeds = Counter(deed.what for task in tasks for deed in task.deeds)
    calm, stormy = ([s for _, s in recoveries(evidence, kind)] for kind in (Torture.CALM_KILL, Torture.KILL))
    torments = Counter(torment.what for torment in evidence.torments)
    faults = count(findings)
    return {
        "seed": plan.seed,
        "seconds": round(seconds, 1),
        "batches": len(evidence.started),
        "tasks": sum(task.address.element == WHOLE for task in tasks),
        "tasks, of them mapped": sum(task.drawn.over is not None for task in tasks),
        "elements": sum(task.address.element != WHOLE and bool(task.attempts) for task in tasks),
        "attempts": len(attempts),
        "messages delivered": len(evidence.deliveries),
        "duplicates": len(evidence.deliveries) - len(set(evidence.deliveries)),
        "kills": torments[Torture.KILL] + torments[Torture.CALM_KILL],
        "kills, of them in calm weather": torments[Torture.CALM_KILL],
        **{torture.value: torments[torture] for torture in SHOWN},
        "takeovers": sum(int(task.row["takeovers"]) for task in tasks if task.row),
        "retries": sum(max(0, len(task.attempts) - 1) for task in tasks),
        "plain work done again": sum(_done_again(task) for task in tasks),
        "jobs found again": deeds[What.ADOPT],
        "jobs cancelled": deeds[What.CANCEL],
        "completions told": deeds[What.TELL],
        "questions what a task waits for": evidence.looks,
        "answers of 503": sum(line.get("status") == 503 for line in evidence.lines),
        "lost": faults[Fault.LOST],
        "doubled": faults[Fault.DOUBLED],
        "open": faults[Fault.OPEN],
        "too early": faults[Fault.EARLY],
        "too late": faults[Fault.LATE],
        "otherwise wrong": faults[Fault.WRONG],
        "recoveries measured": len(calm),
        "slowest recovery, seconds": _slowest(calm),
        "one lease and one sweep, seconds": plan.recovery_seconds,
        "slowest recovery in a storm, seconds": _slowest(stormy),
        "slowest hand-over, seconds": _slowest(_hand_overs(evidence)),
    }


def table(figures: Mapping[str, Any]) -> str:
    """The figures, one a line."""
    width = max(map(len, figures))
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in figures.items())


def _hand_overs(evidence: Evidence) -> Iterator[float]:
    """How long each task waited for its claim after the last of its parents."""
    for started in evidence.started:
        tasks = evidence.tasks_of(started)
        for task in tasks.values():
            parents = [tasks[name] for name in task.drawn.needs]
            ends = [parent.attempts[-1].ended_at for parent in parents if parent.attempts]
            if task.attempts and ends and None not in ends:
                yield task.attempts[0].started_at - max(end for end in ends if end is not None)


def _done_again(task: TaskEvidence) -> int:
    return sum(max(0, len(task.deeds_of(attempt.attempt, What.END)) - 1) for attempt in task.attempts)


def _slowest(seconds: Iterable[float]) -> float | str | None:
    slowest = max(seconds, default=None)
    return None if slowest is None else "never" if isinf(slowest) else round(slowest, 2)
