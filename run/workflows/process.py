"""Running a workflow of functions in this process: for tests, notebooks, and as one task of a larger workflow."""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from run.errors import InvalidWorkflow
from run.workflows.arguments import effective_arguments
from run.workflows.definition import TriggerRule
from run.workflows.process_logs import ProcessLogs, TaskLog
from run.workflows.process_mail import Mailroom
from run.workflows.process_report import Failure, Outcome, ProcessReport, Skipped, Success, report_of
from run.workflows.process_workers import InThreads, OneAfterAnother, Workers
from run.workflows.python_tasks import Task, in_order
from run.workflows.results import as_json
from run.workflows.scope import Scope
from run.workflows.signals import Skip
from run.workflows.trigger_rules import Verdict, is_failure_to_blame, judge


class Process:
    """Functions that depend on each other; as a context manager it opens their log files, and closes them.

    `params` is what conditions read as such. Raises InvalidWorkflow, a ValueError, when names repeat, parents are
    unknown, tasks wait for each other, or a condition asks for what is not there.
    """

    def __init__(self, tasks: Iterable[Task], *, params: Mapping[str, Any] | None = None) -> None:
        #: By name, parents before children, however they came.
        self.tasks: Mapping[str, Task] = in_order(tasks)
        self.params: Mapping[str, Any] = as_json(dict(params or {}), "params")
        if problems := list(problems_of_conditions(self.tasks.values(), self.params)):
            raise InvalidWorkflow("\n".join(problems))
        self._logs = ProcessLogs(self.tasks)

    def __enter__(self) -> Self:
        self._logs.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._logs.close()

    def run(self, *, parallel: bool = False, max_workers: int = 4) -> ProcessReport:
        """Run every task that may run, each after its parents; it may be done again, and each run is a whole one.

        In parallel, up to `max_workers` threads run tasks that do not depend on each other; else this thread runs one
        after another. An error of a task, SystemExit too, is in the report. KeyboardInterrupt ends the run: what has
        not begun is given up, what runs in other threads is waited for, and the caller gets it.
        """
        if not self._logs.are_open:
            with self:
                return self.run(parallel=parallel, max_workers=max_workers)
        with Mailroom() as mailroom, InThreads(max_workers) if parallel else OneAfterAnother() as workers:
            return _Run(self, self._logs, mailroom, workers).to_the_end()


@dataclass
class _Parents:
    """How the parents of one task have ended so far."""

    all: int
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    finished: int = 0

    def count(self, outcome: Outcome) -> None:
        self.finished += 1
        match outcome:
            case Success():
                self.succeeded += 1
            case Failure() | Skipped(cause="upstream_failed"):
                self.failed += 1
            case Skipped():
                self.skipped += 1


class _Run:
    """One run. Its thread alone decides what starts and what never will; workers only tell how their tasks ended."""

    def __init__(self, process: Process, logs: ProcessLogs, mailroom: Mailroom, workers: Workers) -> None:
        self._tasks = tasks = process.tasks
        self._params = process.params
        self._logs = logs
        self._mailroom = mailroom
        self._workers = workers
        self._parents = {name: _Parents(len(task.needs)) for name, task in tasks.items()}
        self._children: defaultdict[str, list[str]] = defaultdict(list)
        for name, task in tasks.items():
            for parent in task.needs:
                self._children[parent].append(name)
        self._waiting = set(tasks)
        self._running = 0
        self._outcomes: dict[str, Outcome] = {}

    def to_the_end(self) -> ProcessReport:
        started_at = datetime.now(UTC)
        for name in self._tasks:
            self._judge(name)
        while self._running:
            task, outcome = self._workers.next_ended()
            self._running -= 1
            self._settle(task.name, outcome)
            if isinstance(outcome, Failure):
                below = self._skipped_below(task.name)
                self._mailroom.tell(task, outcome, self._results(task), below, self._logs.of(task.name))
        return report_of(self._tasks, self._outcomes, started_at, datetime.now(UTC))

    def _settle(self, name: str, outcome: Outcome) -> None:
        """Write down how a task has ended, and start or skip what follows from it, at any distance."""
        ended = [(name, outcome)]
        while ended:
            name, outcome = ended.pop()
            self._outcomes[name] = outcome
            for child in self._children[name]:
                self._parents[child].count(outcome)
                if skipped := self._judge(child):
                    ended.append((child, skipped))

    def _judge(self, name: str) -> Skipped | None:
        """Start the task, or return it as skipped; None when it has started or still waits."""
        if name not in self._waiting:
            return None
        parents, rule = self._parents[name], TriggerRule(self._tasks[name].rule)
        verdict = judge(rule, parents)
        if verdict is Verdict.WAIT:
            return None
        self._waiting.discard(name)
        if verdict is Verdict.NEVER:
            return Skipped("upstream_failed" if is_failure_to_blame(rule, parents) else "rule")
        self._start(self._tasks[name])
        return None

    def _start(self, task: Task) -> None:
        results, log = self._results(task), self._logs.of(task.name)
        self._running += 1
        self._workers.take(lambda: (task, outcome_of(task, results, log, self._params)))

    def _results(self, task: Task) -> dict[str, Any]:
        """The results of those parents that have succeeded."""
        found = {parent: self._outcomes.get(parent) for parent in task.needs}
        return {parent: outcome.result for parent, outcome in found.items() if isinstance(outcome, Success)}

    def _skipped_below(self, name: str) -> list[str]:
        """What has been skipped because of this failure, alone or among others, parents first."""
        found: set[str] = set()
        above = [name]
        while above:
            for child in self._children[above.pop()]:
                match self._outcomes.get(child):
                    case Skipped(cause="upstream_failed") if child not in found:
                        found.add(child)
                        above.append(child)
        return [task for task in self._tasks if task in found]


def problems_of_conditions(tasks: Iterable[Task], params: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a condition cannot be asked in a process, which has params and results, and no batch."""
    for task in tasks:
        if task.condition is None:
            continue
        scope = Scope({}, None, param_names=tuple(params), needs=task.needs, rule=TriggerRule(task.rule))
        yield from (f"task '{task.name}': 'when': {reason}" for reason in task.condition.problems(scope))
        if "batch_id" in task.condition.names():
            yield f"task '{task.name}': 'when': a process has no batch, and so no batch_id"


def outcome_of(
    task: Task, results: Mapping[str, Any], log: TaskLog, params: Mapping[str, Any] | None = None
) -> Outcome:
    """Call the function of a task with the results of its parents, unless its condition is false.

    Raises KeyboardInterrupt and nothing else.
    """
    started_at = datetime.now(UTC)
    log.say("INFO", f"Starting {task.name}.")
    try:
        if task.condition is not None and not task.condition.holds(params or {}, results, {}):
            log.say("INFO", f"Skipped {task.name}: {task.condition.not_met}")
            return Skipped("branch", reason=task.condition.not_met)
        with log.speaking():
            result = _result_of(task, results)
    except Skip as skip:
        log.say("INFO", f"Skipped {task.name}: {skip}")
        return Skipped("raised", reason=str(skip))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit too must end its task and no other.
        failure = _failure_of(error, started_at)
        log.say("ERROR", f"Failed {task.name}.\n{failure.traceback}".rstrip())
        return failure
    log.say("INFO", f"Finished {task.name}.")
    return Success(result, started_at, datetime.now(UTC))


def _result_of(task: Task, results: Mapping[str, Any]) -> Any:
    args, kwargs = effective_arguments(task.args, task.kwargs or {}, task.passing, results)
    return as_json(task.function(*args, **kwargs), f"the result of task '{task.name}'")


def _failure_of(error: BaseException, started_at: datetime) -> Failure:
    frames = error.__traceback__
    # The first two are this module's; people look for their own.
    for _ in range(2):
        frames = frames.tb_next if frames is not None and frames.tb_next is not None else frames
    text = "".join(traceback.format_exception(type(error), error, frames))
    return Failure(error, text, started_at, datetime.now(UTC))
