"""From the facts of an outcome to what people are told of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import dropwhile
from typing import Any

from database.attempts import Claimed
from database.dependencies import children_of
from database.facts import OpenTask
from database.files import LoggedFile, files_of_attempt
from database.keys import WHOLE, TaskKey
from database.notifications import MOST_TASKS, ClaimedNotification
from database.sessions import Database, Transaction
from database.statuses import NotificationEvent, Status
from database.telling import ToldAttempt, as_claimed, told_attempts
from run.engine.effective import ToldWork, told_work
from run.engine.reasons import Reason, reasons_of
from run.engine.results import Results
from run.engine.work import make_work
from run.errors import TaskFailure, Unavailable
from run.notifications.failure import Call, FailedTask, FailureReport, call_of
from run.notifications.message import Message
from run.notifications.outcome import DeadlineReport, DoneTask, SuccessReport, WaitingTask
from run.notifications.rendering import Report, some
from run.workflows.durations import duration

#: So many failed tasks are told in full, and of the others their names.
_MOST_IN_FULL = 10
#: A longer error is told in a sentence, and in full below.
_LONGEST_SENTENCE = 1000
#: More than a mail shows, so that no secret is cut in two where it begins.
_LONGEST_ERROR = 100_000
_MOST_DETAILS = 12
_MOST_NAMES = 6
_TRACEBACK = "Traceback (most recent call last):"


def message_of(database: Database, results: Results, told: ClaimedNotification, names: Mapping[str, str]) -> Message:
    """Everything that one notification says; `names` are what every template may use."""
    whose = "" if told.task_id is None else f"task{told.task_id}-"
    return Message(
        key=f"{told.event}-{whose}{told.outcome}-{told.place}.{told.batch_uid}",
        event=told.event,
        workflow=told.workflow,
        batch=told.batch.batch_id,
        task=told.task,
        status=told.facts["status"],
        outcome=told.outcome,
        report=_Teller(database, results, told, names).report(),
    )


class _Teller:
    """Reads what a report quotes."""

    def __init__(
        self, database: Database, results: Results, told: ClaimedNotification, names: Mapping[str, str]
    ) -> None:
        self._database = database
        self._results = results
        self._told = told
        self._names = names
        self._batch = f"{told.workflow} {told.batch.batch_id}"
        self._place = f"workflow {told.workflow}, batch {told.batch.batch_id}"

    def report(self) -> Report:
        match self._told.event:
            case NotificationEvent.FAILURE:
                return self._failure()
            case NotificationEvent.SUCCESS:
                return self._success()
            case NotificationEvent.MISSED_DEADLINE:
                return self._deadline()

    def _command(self, verb: str, option: str = "") -> str:
        workflow, batch_id = self._told.workflow, self._told.batch.batch_id
        batch = shlex.quote(batch_id)
        if batch_id.startswith("-"):
            # What begins like an option is none behind two dashes.
            return f"python -m run batch {verb}{option} -- {workflow} {batch}"
        return f"python -m run batch {verb} {workflow} {batch}{option}"

    def _attempts(self, tasks: Sequence[Mapping[str, Any]]) -> dict[int, ToldAttempt]:
        asked = [(task["task_id"], task["attempt"]) for task in tasks]
        told = self._told
        return self._database.transact(lambda tx: told_attempts(tx, told.batch, told.version_id, asked))

    def _failure(self) -> FailureReport:
        facts = self._told.facts
        tasks: Sequence[Mapping[str, Any]] = facts["tasks"]
        attempts = self._attempts(tasks)
        names = {task_id: attempt.task for task_id, attempt in attempts.items()}
        failed = [task for task in tasks if task["status"] == Status.ERROR]
        in_full = {task["task_id"]: task for task in failed[:_MOST_IN_FULL]}
        below = self._skipped_below(in_full, tasks)
        told = {one for found in below.values() for one in found}
        others = [one["task_id"] for one in tasks if one["status"] == Status.SKIPPED and one["task_id"] not in told]
        is_of_batch = self._told.task_id is None
        return FailureReport(
            place=self._place,
            failed=[
                self._failed(task, attempts[one], [names[skipped] for skipped in below[one]])
                for one, task in in_full.items()
            ],
            at=self._told.happened_at,
            command=self._command("rerun", " --failed"),
            title=self._failure_title([names[task["task_id"]] for task in failed]),
            failed_too=[names[task["task_id"]] for task in failed[_MOST_IN_FULL:]],
            cancelled=[names[task["task_id"]] for task in tasks if task["status"] == Status.CANCELLED],
            # What was skipped because of other tasks is not this one's to tell.
            not_executed=[names[one] for one in others] if is_of_batch else [],
            more=facts["count"] - len(tasks) if is_of_batch else 0,
        )

    def _skipped_below(self, failed: Iterable[int], tasks: Sequence[Mapping[str, Any]]) -> dict[int, list[int]]:
        """For each of the failed, at any distance, what was skipped: one that two failures keep stands below both."""
        skipped = [task["task_id"] for task in tasks if task["status"] == Status.SKIPPED]
        version_id, above = self._told.version_id, [*failed, *skipped]
        children = self._database.transact(lambda tx: children_of(tx, version_id, above))
        below: dict[int, list[int]] = {}
        for one in failed:
            reached = {one}
            for task_id in [one, *skipped]:
                if task_id in reached:
                    reached.update(children.get(task_id, ()))
            below[one] = [task_id for task_id in skipped if task_id in reached]
        return below

    def _failure_title(self, failed: Sequence[str]) -> str:
        if self._told.facts["status"] == Status.CANCELLED:
            return f"{self._batch} was cancelled"
        if len(failed) == 1:
            return f"Error in task {failed[0]} of {self._batch}"
        return f"Errors in {len(failed)} tasks of {self._batch}: {some(failed, _MOST_NAMES)}"

    def _failed(self, task: Mapping[str, Any], attempt: ToldAttempt, not_executed: Sequence[str]) -> FailedTask:
        work = self._work(attempt, task["attempt"]) if task["attempt"] else ToldWork(f"kind {attempt.kind}", "", Call())
        sentence, in_full = _sentence_of(work.call.clean(_error_of(attempt)[-_LONGEST_ERROR:]))
        if attempt.element_error is not None:
            said, in_full = _sentence_of(work.call.clean(attempt.element_error[-_LONGEST_ERROR:]))
            # The task's own error goes on with the same one.
            counted = sentence.partition("\n")[0]
            sentence = f"{counted}\nElement {attempt.element}: {said}"
        return FailedTask(
            name=attempt.task,
            work=work.what,
            error=sentence,
            arguments=work.call.arguments,
            details=in_full,
            not_executed=not_executed,
            arguments_are=work.heading,
            details_are="Traceback" if in_full.startswith(_TRACEBACK) else "The error in full",
        )

    def _work(self, told: ToldAttempt, attempt: int) -> ToldWork:
        """What the attempt was told to do; of a mapped task, what the first element that failed was told."""
        workflow_id, batch_id = self._told.batch.workflow_id, self._told.batch.batch_id
        element, number = (told.element, told.element_attempt) if told.element is not None else (WHOLE, attempt)
        key = TaskKey(workflow_id, batch_id, told.task_id, element)

        def read(tx: Transaction) -> tuple[Claimed, Sequence[LoggedFile]]:
            claimed = as_claimed(tx, key, number or attempt, self._told.version_id)
            return claimed, files_of_attempt(tx, key, claimed.attempt) if claimed.has_files else []

        claimed, files = self._database.transact(read)
        try:
            results = self._results.of_former(claimed)
            work = make_work(claimed, files, self._names, results=results)
        except (TaskFailure, Unavailable):
            # Without results and item; why they are not there, or a part of them, may be what has failed.
            work = make_work(replace(claimed, key=key.whole, reads_results=()), files, self._names)
        return told_work(claimed, work)

    def _success(self) -> SuccessReport:
        facts = self._told.facts
        attempts = self._attempts(facts["tasks"])
        done = [_done(task, attempts[task["task_id"]]) for task in facts["tasks"]]
        whose = self._batch if self._told.task is None else f"Task {self._told.task} of {self._batch}"
        return SuccessReport(
            title=f"{whose} succeeded",
            place=self._place,
            at=self._told.happened_at,
            tasks=done,
            more=facts["count"] - len(done),
        )

    def _deadline(self) -> DeadlineReport:
        facts = self._told.facts
        return DeadlineReport(
            title=f"{self._batch} has missed its deadline",
            place=self._place,
            at=self._told.happened_at,
            tasks=[WaitingTask(task["task"], task["status"], task["waits"]) for task in facts["tasks"]],
            more=facts["count"] - len(facts["tasks"]),
            command=self._command("rerun", " --failed") if facts["cancels"] else self._command("show"),
            is_cancelled=facts["cancels"],
        )


def facts_of_missed_deadline(tasks: Sequence[OpenTask], *, cancels: bool) -> dict[str, Any]:
    """What is still open when a batch has not ended in time, and why, as JSON values."""
    shown = [
        {"task": task.task, "status": task.status, "waits": [_words(reason) for reason in reasons_of(task)]}
        for task in tasks[:MOST_TASKS]
    ]
    return {"status": "PROCESSING", "tasks": shown, "count": len(tasks), "cancels": cancels}


def _words(reason: Reason) -> str:
    ids = f" ({some(reason.ids, _MOST_NAMES)})" if reason.ids else ""
    return f"waits for {reason.ends_by}{ids}, since {_moment(reason.since)}"


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S} UTC"


def _error_of(attempt: ToldAttempt) -> str:
    # A person may have marked a task whose attempt has ended otherwise, or that never had one.
    return attempt.error or "a person said that it is ERROR"


def _sentence_of(error: str) -> tuple[str, str]:
    """What is wrong in short, and the whole where that says more."""
    said, has_traceback = error, error.startswith(_TRACEBACK)
    if has_traceback:
        # The frames are indented; a message may have many lines, of which the first says most.
        _, _, last = error.rpartition(_TRACEBACK)
        lines = last.strip("\n").splitlines()
        said = "\n".join(dropwhile(lambda line: line[:1] in {"", " "}, lines)) or error
    short = said if len(said) <= _LONGEST_SENTENCE else f"{said[:_LONGEST_SENTENCE]}..."
    return short, error if has_traceback or short != error else ""


def _done(task: Mapping[str, Any], attempt: ToldAttempt) -> DoneTask:
    took = ""
    if attempt.started_at is not None and attempt.ended_at is not None:
        took = duration(attempt.ended_at - attempt.started_at)
    details = call_of((), dict(_main_details(attempt.details or {}))).arguments
    return DoneTask(attempt.task, f"kind {attempt.kind}", task["status"], took, details)


def _main_details(details: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    plain = [(name, value) for name, value in details.items() if isinstance(value, str | int | float)]
    yield from plain[:_MOST_DETAILS]
    if left := len(details) - len(plain[:_MOST_DETAILS]):
        yield "and", f"{left} more, in batch show --attempts"
