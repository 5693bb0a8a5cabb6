"""A file arrives for a task: it joins its batch, and everything that follows from that, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import assert_never

from database.dependencies import lock_tasks
from database.files import (
    BATCH_IS_CANCELLED,
    Arrival,
    AwaitingBatch,
    LoggedFile,
    WantedBy,
    awaiting_batch,
    is_decided,
    lock_object,
    newest_taken,
    record_file,
    supersede,
    taken_files,
)
from database.keys import TaskKey
from database.sessions import Transaction
from database.statuses import BatchStatus, FileDecision, Status
from database.transitions import stop_awaiting_file
from database.workflows import FileTask
from run.engine.batch_identity import join_batch_of_values
from run.engine.dependency_checker import check_task, reset_with_descendants
from run.engine.stored_values import to_json
from run.workflows.batch_identity import BatchTemplate
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
    """What became of a file for one task: the tasks to publish once it is committed, or why it was not taken.

    `decision` is None when it had been decided before.
    """

    decision: FileDecision | None
    batch_id: str | None
    released: tuple[int, ...] = ()
    reason: str | None = None


ANNOUNCED_BEFORE = Decided(None, None, reason="it was announced before")


def take_file(tx: Transaction, arrival: Arrival, wanted: Wanted, day: date | None = None) -> Decided:
    """Give a file to the task that wants it, in the batch that its name says; the same file again changes nothing.

    `day` is the UTC day of the file's arrival, the database's unless given. Raises Rejected when its name cannot name a
    batch.
    """
    current, task_id = wanted.file_task.current, wanted.file_task.task_id
    lock_object(tx, arrival, task_id)
    # Asked before a batch is opened: the day or the workflow's template may have changed since it was announced first.
    if is_decided(tx, arrival, task_id):
        return ANNOUNCED_BEFORE
    out_of_date = _judge_for_fresh_batch(tx, arrival, wanted)
    if out_of_date is not None:
        decision, reason = out_of_date
        record_file(tx, arrival, decision, reason, WantedBy(current.workflow_id, None, task_id, to_json(wanted.groups)))
        return Decided(decision, None, reason=reason)
    joined = join_batch_of_values(tx, current, wanted.groups, f"{arrival.uri}#{arrival.generation}", day)
    key = TaskKey(joined.key.workflow_id, joined.key.batch_id, task_id)
    # Two objects for one task of one batch are decided one after the other too.
    lock_tasks(tx, joined.key, [task_id])
    decided = _decide(tx, arrival, wanted, key)
    return replace(decided, released=(*joined.released, *decided.released))


def _decide(tx: Transaction, arrival: Arrival, wanted: Wanted, key: TaskKey) -> Decided:
    wanted_by = WantedBy(key.workflow_id, key.batch_id, key.task_id, to_json(wanted.groups))
    batch = awaiting_batch(tx, key)
    now = taken_files(tx, key.batch).get(wanted.file_task.task)
    decision, reason = _judge(arrival, batch, now, key, wanted)
    released = _start(tx, key, now) if decision is FileDecision.TAKEN else ()
    # Rows of the file log come after the tasks and the batch, in every transaction.
    if decision is FileDecision.TAKEN and now is not None:
        supersede(tx, now.file_log_id, f"generation {arrival.generation} took its place")
    record_file(tx, arrival, decision, reason, wanted_by)
    return Decided(decision, key.batch_id, released, reason)


def _start(tx: Transaction, key: TaskKey, now: LoggedFile | None) -> tuple[int, ...]:
    own = lock_tasks(tx, key.batch, [key.task_id])[0]
    stop_awaiting_file(tx, key)
    # A person may have marked the task before its file came; what was decided without the file is decided anew.
    was_marked = now is None and own.status in (Status.SUCCESS, Status.ERROR)
    if now is not None or was_marked:
        return reset_with_descendants(tx, key).released
    return check_task(tx, key).released


def _judge_for_fresh_batch(tx: Transaction, arrival: Arrival, wanted: Wanted) -> tuple[FileDecision, str | None] | None:
    # Where every trigger opens its own batch, generations of one object do not meet in one; they are compared here.
    if not BatchTemplate(wanted.file_task.current.batch_template).is_fresh:
        return None
    newest = newest_taken(tx, arrival.bucket, arrival.object, wanted.file_task.task_id)
    if newest is None:
        return None
    trigger = FileTrigger.model_validate(wanted.file_task.file)
    judged = _judge_generation(arrival, newest, trigger, f"workflow {wanted.file_task.current.workflow}")
    return None if judged[0] is FileDecision.TAKEN else judged


def _judge(
    arrival: Arrival, batch: AwaitingBatch, now: LoggedFile | None, key: TaskKey, wanted: Wanted
) -> tuple[FileDecision, str | None]:
    where = f"batch {key.batch_id} of workflow {wanted.file_task.current.workflow}"
    if batch.status is BatchStatus.CANCELLED:
        return FileDecision.IGNORED, f"{where} {BATCH_IS_CANCELLED}"
    if batch.file is None:
        task = wanted.file_task.task
        return FileDecision.REJECTED, f"{where} has version {batch.version}, in which no task {task} takes a file"
    if now is not None and now.uri != arrival.uri:
        return FileDecision.REJECTED, (
            f"{wanted.words} has {now.uri} in batch {key.batch_id}; {arrival.uri} is a second object for the same task"
        )
    if now is not None:
        return _judge_generation(arrival, now.generation, FileTrigger.model_validate(batch.file), where)
    return FileDecision.TAKEN, None


def _judge_generation(arrival: Arrival, now: int, trigger: FileTrigger, where: str) -> tuple[FileDecision, str | None]:
    if arrival.generation < now:
        return FileDecision.SUPERSEDED, f"{where} has generation {now}, which is newer"
    match trigger.on_new_generation:
        case "rerun":
            return FileDecision.TAKEN, None
        case "ignore":
            return FileDecision.IGNORED, f"{where} keeps generation {now}: on_new_generation is ignore"
        case _:
            assert_never(trigger.on_new_generation)
