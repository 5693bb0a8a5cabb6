"""The whole history of a batch, for a person who has to find out what went wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from database.keys import WHOLE
from tests.faults.chaos.evidence import Evidence, TaskEvidence
from tests.faults.chaos.findings import Finding
from tests.faults.chaos.tormentor import Torment
from tests.faults.chaos.traffic import StartedBatch

#: How many findings are told, and how many batches are shown in full.
MOST_FINDINGS = 50
MOST_BATCHES = 5


def tell(evidence: Evidence, findings: Sequence[Finding]) -> str:
    """Every finding, and the history of the first batches that have any."""
    lines = [f"{finding.fault}: {finding.text}" for finding in findings[:MOST_FINDINGS]]
    if len(findings) > MOST_FINDINGS:
        lines.append(f"... and {len(findings) - MOST_FINDINGS} more")
    batches = list(dict.fromkeys(finding.batch for finding in findings if finding.batch is not None))
    for started in batches[:MOST_BATCHES]:
        lines += ["", *_history(evidence, started)]
    return "\n".join(lines)


def _history(evidence: Evidence, started: StartedBatch) -> Iterator[str]:
    name, batch = started.workflow.name, started.batch
    yield f"=== batch {name} {batch}: {evidence.batches.get((name, batch))}"
    for task in evidence.tasks_of(started).values():
        yield from _task(task)
        for element in task.elements:
            yield from _task(element)
    yield "  what the services say:"
    yield from _said(evidence, started)
    yield "  what was done to them:"
    yield from (f"    {_time(torment.at)} {torment.what} {torment.owner or ''}" for torment in _near(evidence, started))


def _task(task: TaskEvidence) -> Iterator[str]:
    drawn = task.drawn
    what = f"element {task.address.element} of" if task.address.element != WHOLE else "task"
    over = "" if drawn.over is None else f", mapped over {drawn.over}"
    needs = f"{drawn.rule} of {', '.join(drawn.needs) or 'nothing'}{over}"
    yield f"  {what} {drawn.name} ({drawn.kind}, {needs}): {task.status}"
    yield f"    row: {json.dumps(task.row)}"
    for attempt in task.attempts:
        ended = "..." if attempt.ended_at is None else _time(attempt.ended_at)
        lasted = f"{_time(attempt.started_at)} - {ended}"
        yield f"    attempt {attempt.attempt}: {attempt.status} {lasted} {attempt.error or ''}"
    for deed in task.deeds:
        yield f"    outside {_time(deed.at)}: {deed.what} of attempt {deed.attempt} by {deed.owner}"


def _said(evidence: Evidence, started: StartedBatch) -> Iterator[str]:
    own = [
        line
        for line in evidence.lines
        if line.get("batch") == started.batch and line.get("workflow") == started.workflow.name
    ]
    for line in sorted(own, key=lambda line: str(line["time"])):
        moment = str(line["time"]).partition("T")[2][:12]
        element = f"[{line['element']}]" if "element" in line else ""
        yield f"    {moment} {line['severity']} {line.get('task', '')}{element}: {line['message']}"


def _near(evidence: Evidence, started: StartedBatch) -> list[Torment]:
    tasks = evidence.tasks_of(started).values()
    times = [deed.at for task in tasks for one in (task, *task.elements) for deed in one.deeds]
    if not times:
        return []
    return [torment for torment in evidence.torments if min(times) - 1 <= torment.at <= max(times) + 10]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S.%f")[:-3]
