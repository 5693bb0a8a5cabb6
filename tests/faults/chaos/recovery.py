"""How soon the work of a killed process goes on."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.chaos.evidence import Evidence, TaskEvidence
from tests.faults.chaos.tormentor import Torment, Torture
from tests.faults.chaos.world import Address, What


def recoveries(evidence: Evidence, kind: Torture) -> Iterator[tuple[Address, float]]:
    """For each such kill, each piece of plain work that was in the process's hands, and after how long it went on."""
    for kill in evidence.torments:
        for task in evidence.tasks.values() if kill.what is kind else ():
            seconds = _recovery(task, kill)
            if seconds is not None:
                yield task.address, seconds


def _recovery(task: TaskEvidence, kill: Torment) -> float | None:
    before = [deed for deed in task.deeds if deed.at <= kill.at]
    if not before or before[-1].owner != kill.owner or before[-1].what not in (What.BEGIN, What.END):
        return None
    ended = [attempt.ended_at for attempt in task.attempts if attempt.attempt == before[-1].attempt]
    if not ended or (ended[0] is not None and ended[0] <= kill.at):
        return None
    after = [deed.at for deed in task.deeds if deed.at > kill.at and deed.owner != kill.owner]
    moments = [*after[:1], *(moment for moment in ended if moment is not None)]
    return min(moments) - kill.at if moments else float("inf")
