"""What there is to judge a run by: the rows of the database, the deeds of the outside world, the lines of the logs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.faults.chaos.graphs import DrawnTask
from tests.faults.chaos.room import Room
from tests.faults.chaos.tormentor import Torment
from tests.faults.chaos.traffic import StartedBatch
from tests.faults.chaos.watcher import Watcher
from tests.faults.chaos.world import Address, Deed, Job, What

_NAMES = "JOIN workflow w USING (workflow_id) JOIN task t USING (workflow_id, task_id)"
_BATCHES = "SELECT w.name, b.batch_id, b.status FROM task_batch b JOIN workflow w USING (workflow_id)"
_TASKS = f"SELECT w.name, bt.batch_id, t.name, bt.element, to_jsonb(bt) FROM batch_task bt {_NAMES}"
_ATTEMPTS = f"""
    SELECT w.name, l.batch_id, t.name, l.element, l.attempt, l.status,
           CAST(extract(epoch FROM l.started_at) AS float8), CAST(extract(epoch FROM l.ended_at) AS float8), l.error
      FROM task_log l {_NAMES} ORDER BY l.attempt
"""
_REJECTED = "SELECT to_jsonb(r) FROM rejected_message r"


@dataclass(frozen=True)
class Attempt:
    """One row of the task log; its times are in seconds, as the deeds' are."""

    attempt: int
    status: str
    started_at: float
    ended_at: float | None
    error: str | None


@dataclass(frozen=True)
class TaskEvidence:
    """All that is known of one task of one batch, or of one element of it."""

    address: Address
    drawn: DrawnTask
    #: Its row; None when there is none.
    row: Mapping[str, Any] | None
    attempts: Sequence[Attempt]
    deeds: Sequence[Deed]
    jobs: Sequence[Job]
    #: Those of a mapped task, in order.
    elements: Sequence[TaskEvidence] = ()

    @property
    def status(self) -> str:
        """How its row stands, in the words of `Outcome`."""
        if self.row is None:
            return "MISSING"
        cause = self.row["skip_cause"]
        return f"{self.row['status']}:{cause}" if cause else str(self.row["status"])

    @property
    def successes(self) -> list[int]:
        """The places, in the order of all deeds, at which the outside world has seen its work succeed."""
        last = self.attempts[-1].attempt if self.attempts else 0
        return [deed.number for deed in self.deeds_of(last, What.END, What.DONE, What.TELL)]

    @property
    def workers(self) -> Sequence[TaskEvidence]:
        """Who does its work: itself, or its elements."""
        return [self] if self.drawn.over is None else self.elements

    def deeds_of(self, attempt: int, *kinds: What) -> list[Deed]:
        """What one attempt has done."""
        return [deed for deed in self.deeds if deed.attempt == attempt and deed.what in kinds]


@dataclass(frozen=True)
class Evidence:
    """All that is known at the end of a run."""

    started: Sequence[StartedBatch]
    #: The status of each batch that is there.
    batches: Mapping[tuple[str, str], str]
    #: The elements of mapped tasks, too.
    tasks: Mapping[Address, TaskEvidence]
    #: What nobody has ordered, and something is known of.
    strangers: Sequence[Address]
    rejected: Sequence[Mapping[str, Any]]
    #: What the services have logged.
    lines: Sequence[Mapping[str, Any]]
    #: Lines that are no JSON: what a process says when it dies of itself.
    other_lines: Sequence[str]
    torments: Sequence[Torment]
    #: What the tasks that are still open wait for.
    waits: Mapping[Address, str]
    #: How often an open task was asked what it waits for, and those that had no answer.
    looks: int
    nameless: Mapping[Address, str]

    def tasks_of(self, started: StartedBatch) -> dict[str, TaskEvidence]:
        """The tasks of a batch by their names."""
        names = [task.name for task in started.workflow.tasks]
        return {name: self.tasks[Address(started.workflow.name, started.batch, name)] for name in names}

    @cached_property
    def deliveries(self) -> list[str]:
        """The message ids of all pushes that were answered."""
        return [str(line["message_id"]) for line in self.lines if "message_kind" in line and line.get("message_id")]


def gather(room: Room, started: Sequence[StartedBatch], torments: Sequence[Torment], watcher: Watcher) -> Evidence:
    """Read everything, once nothing moves any more."""
    lines, other_lines = _read_logs(service.log for service in room.services)
    tasks, strangers = _tasks(room, started)
    return Evidence(
        started=started,
        batches={(row[0], row[1]): row[2] for row in room.rows(_BATCHES)},
        tasks=tasks,
        strangers=strangers,
        rejected=[row[0] for row in room.rows(_REJECTED)],
        lines=lines,
        other_lines=other_lines,
        torments=torments,
        waits=watcher.waits(),
        looks=watcher.looks,
        nameless=watcher.nameless,
    )


def _tasks(room: Room, started: Sequence[StartedBatch]) -> tuple[dict[Address, TaskEvidence], list[Address]]:
    """What is known of every task and element that was ordered, and the addresses of whatever else there is."""
    rows = {Address(*row[:4]): row[4] for row in room.rows(_TASKS)}
    attempts: dict[Address, list[Attempt]] = {}
    for row in room.rows(_ATTEMPTS):
        attempts.setdefault(Address(*row[:4]), []).append(Attempt(*row[4:]))
    deeds: dict[Address, list[Deed]] = {}
    for deed in room.world.deeds:
        deeds.setdefault(deed.address, []).append(deed)
    jobs: dict[Address, list[Job]] = {}
    for job in room.world.jobs.values():
        jobs.setdefault(job.address, []).append(job)
    tasks: dict[Address, TaskEvidence] = {}
    for address, task in _drawn(started):
        known = (rows.get(address), attempts.get(address, ()), deeds.get(address, ()), jobs.get(address, ()))
        elements = [tasks[address._replace(element=number)] for number in range(len(task.elements))]
        tasks[address] = TaskEvidence(address, task, *known, elements)
    return tasks, sorted({*rows, *attempts, *deeds, *jobs} - tasks.keys())


def _drawn(started: Iterable[StartedBatch]) -> Iterator[tuple[Address, DrawnTask]]:
    """Every task that was ordered, each after its elements."""
    for one in started:
        for task in one.workflow.tasks:
            address = Address(one.workflow.name, one.batch, task.name)
            for number, element in enumerate(task.elements):
                yield address._replace(element=number), element
            yield address, task


def _read_logs(paths: Iterable[Path]) -> tuple[list[Mapping[str, Any]], list[str]]:
    lines: list[Mapping[str, Any]] = []
    others: list[str] = []
    for path in paths:
        for line in path.read_text(errors="replace").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                others.append(line)
    return lines, others
