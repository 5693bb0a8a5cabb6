"""The whole history of a batch, for a person who has to find out what went wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from tests.faults.chaos.evidence import Evidence, TaskEvidence
from tests.faults.chaos.tormentor import Torment
from tests.faults.chaos.traffic import StartedBatch
from tests.faults.chaos.verdict import Finding

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
    yield "  what the services say:"
    yield from _said(evidence, started)
    yield "  what was done to them:"
    yield from (f"    {_time(torment.at)} {torment.what} {torment.owner or ''}" for torment in _near(evidence, started))


def _task(task: TaskEvidence) -> Iterator[str]:
    drawn = task.drawn
    yield f"  task {drawn.name} ({drawn.kind}, {drawn.rule} of {', '.join(drawn.needs) or 'nothing'}): {task.status}"
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
        yield f"    {moment} {line['severity']} {line.get('task', '')}: {line['message']}"


def _near(evidence: Evidence, started: StartedBatch) -> list[Torment]:
    times = [deed.at for task in evidence.tasks_of(started).values() for deed in task.deeds]
    if not times:
        return []
    return [torment for torment in evidence.torments if min(times) - 1 <= torment.at <= max(times) + 10]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S.%f")[:-3]
