"""A file arrives for a task: it joins its batch, and everything that follows from that, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from database.dependencies import lock_tasks
from database.files import (
    Arrival,
    AwaitingBatch,
    LoggedFile,
    WantedBy,
    awaiting_batch,
    is_decided,
    record_file,
    supersede,
    taken_files,
)
from database.keys import TaskKey
from database.sessions import Transaction
from database.statuses import BatchStatus, FileDecision
from database.transitions import stop_awaiting_file
from database.workflows import FileTask
from run.engine.batch_identity import join_batch_of_values
from run.engine.dependency_checker import check_task, reset_with_descendants
from run.engine.stored_values import to_json
from run.workflows.definition import FileTrigger
from run.workflows.templates import Value


@dataclass(frozen=True)
class Wanted:
    """A task whose pattern fits an object, and what the pattern's groups have caught."""

    file_task: FileTask
    groups: Mapping[str, Value]

    @property
    def words(self) -> str:
        return f"task {self.file_task.task} of workflow {self.file_task.current.workflow}"


@dataclass(frozen=True)
class Decided:
    """What became of a file for one task: the tasks to publish once it is committed, or why it was rejected."""

    decision: FileDecision
    batch_id: str
    released: tuple[int, ...] = ()
    reason: str | None = None


def take_file(tx: Transaction, arrival: Arrival, wanted: Wanted) -> Decided:
    """Give a file to the task that wants it, in the batch that its name says; the same file again changes nothing.

    Raises Rejected when its name cannot name a batch.
    """
    current = wanted.file_task.current
    trigger_key = f"{arrival.uri}#{arrival.generation}"
    joined = join_batch_of_values(tx, current, wanted.groups, trigger_key)
    key = TaskKey(joined.key.workflow_id, joined.key.batch_id, wanted.file_task.task_id)
    # Two files for one task, or one file announced twice, are decided one after the other.
    lock_tasks(tx, joined.key, [key.task_id])
    if is_decided(tx, arrival, key.task_id):
        return Decided(FileDecision.TAKEN, key.batch_id, reason="it was announced before")
    decided = _decide(tx, arrival, wanted, key)
    return Decided(decided.decision, key.batch_id, (*joined.released, *decided.released), decided.reason)


def _decide(tx: Transaction, arrival: Arrival, wanted: Wanted, key: TaskKey) -> Decided:
    wanted_by = WantedBy(key.workflow_id, key.batch_id, key.task_id, to_json(wanted.groups))
    batch = awaiting_batch(tx, key)
    now = taken_files(tx, key.batch).get(wanted.file_task.task)
    decision, reason = _judge(arrival, batch, now, key, wanted)
    if decision is FileDecision.TAKEN and now is not None:
        supersede(tx, now.file_log_id, f"generation {arrival.generation} took its place")
    record_file(tx, arrival, decision, reason, wanted_by)
    if decision is not FileDecision.TAKEN:
        return Decided(decision, key.batch_id, reason=reason)
    if now is not None:
        return Decided(decision, key.batch_id, reset_with_descendants(tx, key).released)
    stop_awaiting_file(tx, key)
    return Decided(decision, key.batch_id, check_task(tx, key).released)


def _judge(
    arrival: Arrival, batch: AwaitingBatch, now: LoggedFile | None, key: TaskKey, wanted: Wanted
) -> tuple[FileDecision, str | None]:
    where = f"batch {key.batch_id} of workflow {wanted.file_task.current.workflow}"
    if batch.status is BatchStatus.CANCELLED:
        return FileDecision.IGNORED, f"{where} is cancelled"
    if batch.file is None:
        task = wanted.file_task.task
        return FileDecision.REJECTED, f"{where} has version {batch.version}, in which no task {task} takes a file"
    if now is not None and now.uri != arrival.uri:
        return FileDecision.REJECTED, (
            f"{wanted.words} has {now.uri} in batch {key.batch_id}; {arrival.uri} is a second object for the same task"
        )
    if now is not None:
        return _judge_generation(arrival, now, FileTrigger.model_validate(batch.file), where)
    return FileDecision.TAKEN, None


def _judge_generation(
    arrival: Arrival, now: LoggedFile, trigger: FileTrigger, where: str
) -> tuple[FileDecision, str | None]:
    if arrival.generation < now.generation:
        return FileDecision.SUPERSEDED, f"{where} has generation {now.generation}, which is newer"
    match trigger.on_new_generation:
        case "rerun":
            return FileDecision.TAKEN, None
        case "ignore":
            return FileDecision.IGNORED, f"{where} keeps generation {now.generation}: on_new_generation is ignore"
        case _:
            assert_never(trigger.on_new_generation)
