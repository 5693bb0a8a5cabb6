"""A batch as a person reads it: each task with its mark, and under it what went wrong or is waited for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.text import Text

from database.listings.audit import ListedMove
from database.listings.batches import ListedAttempt, ListedBatch, ListedCancellation, ListedTask, ShownBatch
from database.listings.elements import ListedElement
from database.statuses import SkipCause, Status
from run.cli.escaping import in_lines, in_one_line
from run.cli.printing import below, mark, moment, styled
from run.cli.waiting import in_words, reasons_by_task
from run.workflows.durations import duration

#: As many elements as are shown below their task.
MOST_ELEMENTS = 10


def batch_view(shown: ShownBatch) -> Group:
    """The batch, then its tasks in order."""
    width = max((len(task.task) for task in shown.tasks), default=0)
    now = shown.batch.read_at
    lines: list[RenderableType] = [*_head(shown.batch), Text()]
    reasons = reasons_by_task(shown)
    for task in shown.tasks:
        lines.append(_task_line(task, width, now))
        waits = [in_words(reason, task, now) for reason in reasons.get(task.task, ())]
        lines += [below(line) for line in _remarks(task, waits)]
        lines += [below(line) for line in _element_lines(task, shown.elements, now)]
    return Group(*lines)


def moves_view(moves: Sequence[ListedMove]) -> Group:
    """Everything that was done by hand, with its reason."""
    lines: list[RenderableType] = [Text("By hand", "bold")]
    for move in moves:
        what = f"{move.action} task {move.task}" if move.task else f"{move.action} batch"
        lines.append(Text.assemble(in_one_line(f"{move.actor}: {what}"), (f"  {moment(move.at)} UTC", "dim")))
        if move.reason:
            lines.append(below(Text(in_lines(move.reason))))
        if move.details:
            lines.append(below(Text(in_lines(_written(move.details)), "dim")))
    if not moves:
        lines.append(Text("nothing", "dim"))
    return Group(*lines)


def history_view(attempts: Sequence[ListedAttempt]) -> Group:
    """Every attempt with its whole error and what it has told."""
    lines: list[RenderableType] = [Text(), Text("History", "bold")]
    for attempt in attempts:
        lines.append(_attempt_line(attempt))
        if attempt.error:
            lines.append(below(Text(in_lines(attempt.error.rstrip()), "red")))
        if attempt.details:
            told = yaml.safe_dump(dict(attempt.details), sort_keys=False, allow_unicode=True, width=10_000)
            lines.append(below(Text(in_lines(told.rstrip()), "dim")))
    return Group(*lines)


def _head(batch: ListedBatch) -> Iterator[Text]:
    yield Text.assemble((in_one_line(f"{batch.workflow} {batch.batch}"), "bold"), "  ", styled(batch.status))
    took = duration((batch.ended_at or batch.read_at) - batch.created_at)
    how_long = f"took {took}" if batch.ended_at else f"open for {took}"
    yield Text(f"version {batch.version}, opened {moment(batch.created_at)} UTC, {how_long}", "dim")
    if batch.deadline_at is not None:
        yield _deadline(batch, batch.deadline_at)
    if batch.params:
        yield Text(in_lines(f"params {_written(batch.params)}"), "dim")


def _written(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), default_flow_style=True, allow_unicode=True, width=10_000).strip()


def _deadline(batch: ListedBatch, deadline_at: datetime) -> Text:
    was_at = moment(deadline_at)
    # The batch may be late, or have ended late, before a sweep has seen it.
    if batch.deadline_missed_at is not None or (batch.ended_at or batch.read_at) > deadline_at:
        return Text(f"missed its deadline, {was_at} UTC", "red")
    return Text(f"deadline {was_at} UTC", "dim")


def _task_line(task: ListedTask, width: int, now: datetime) -> Text:
    line = Text.assemble(mark(task.status), f" {task.task:<{width}}  ", styled(f"{task.status:<10}".rstrip()))
    facts = list(_facts(task, now))
    if facts:
        line.append(" " * (12 - len(task.status)) + ", ".join(facts), "dim")
    return line


def _facts(task: ListedTask, now: datetime) -> Iterator[str]:
    if task.attempt:
        yield f"attempt {task.attempt}"
    if task.started_at is not None:
        yield duration((task.ended_at or now) - task.started_at)
    if task.retried:
        yield f"retry {task.retried} of {task.retries}"
    if task.takeovers:
        yield f"{task.takeovers} dead workers" if task.takeovers > 1 else "1 dead worker"
    if task.allow_failure and task.status == Status.ERROR:
        yield "may fail"
    if task.removed:
        yield "not in this version any more"


def _element_lines(task: ListedTask, elements: Sequence[ListedElement], now: datetime) -> Iterator[Text]:
    if task.elements is None:
        return
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(task.elements.items()))
    yield Text(f"elements: {counts or 'none'}", "dim")
    told = [element for element in elements if element.task == task.task]
    for element in told[:MOST_ELEMENTS]:
        took = "" if element.started_at is None else f"  {duration((element.ended_at or now) - element.started_at)}"
        number, status = f"[{element.element}]", styled(element.status)
        yield Text.assemble(mark(element.status), f" {number} ", status, (f"  attempt {element.attempt}{took}", "dim"))
        if element.error:
            yield Text(in_lines(f"    {element.error}"), "red")
    if len(told) > MOST_ELEMENTS:
        yield Text(f"and more: task elements {task.task} lists them all", "dim")


def _remarks(task: ListedTask, waits: Sequence[str]) -> Iterator[Text]:
    if task.error:
        yield Text(in_lines(task.error), "red" if task.status == Status.ERROR else "dim")
    if task.file is not None:
        yield Text(in_one_line(task.file), "dim")
        if task.place is not None:
            yield Text(in_one_line(f"now {task.place}"), "dim")
    # While it collects, what it waits for says how many there are.
    if (task.collected and not task.awaits_file) or task.set_aside:
        yield Text(_files(task), "dim")
    for words in (*waits, *_afterwards(task), *map(_being_ended, task.cancellations)):
        yield Text(in_one_line(words), "yellow")


def _files(task: ListedTask) -> str:
    words = f"{task.collected:,} file{'s' * (task.collected != 1)}"
    return f"{words}, {task.set_aside:,} set aside" if task.set_aside else words


def _afterwards(task: ListedTask) -> Iterator[str]:
    if task.reset:
        yield "runs again afterwards, because what it is built on has changed"
    if task.status == Status.SKIPPED:
        yield _why_skipped(task)


def _why_skipped(task: ListedTask) -> str:
    words = {
        SkipCause.UPSTREAM_FAILED: f"skipped because {task.skipped_because_of} failed",
        SkipCause.RULE: f"skipped because its rule {task.rule} cannot be met any more",
        SkipCause.BRANCH: f"skipped because {task.skip_reason or 'its condition is false'}",
        SkipCause.RAISED: "skipped because its own work said so"
        + (f": {task.skip_reason}" if task.skip_reason else ""),
        SkipCause.MARKED: "skipped because a person marked it",
        SkipCause.DISABLED: "skipped because the workflow says that it is disabled",
    }
    return words[SkipCause(task.skip_cause or "")]


def _being_ended(cancellation: ListedCancellation) -> str:
    words = f"what attempt {cancellation.attempt} has begun outside is being ended"
    if not cancellation.tries:
        return f"{words} from {moment(cancellation.due_at)} UTC on"
    times = "once" if cancellation.tries == 1 else f"{cancellation.tries} times"
    said = f": {cancellation.problem}" if cancellation.problem else ""
    return f"{words}, tried {times}, next at {moment(cancellation.due_at)} UTC{said}"


def _attempt_line(attempt: ListedAttempt) -> Text:
    took = f" for {duration(attempt.ended_at - attempt.started_at)}" if attempt.ended_at else ""
    element = "" if attempt.element is None else f"[{attempt.element}]"
    named = f" {attempt.task}{element} attempt {attempt.attempt}  "
    return Text.assemble(
        mark(attempt.status), named, styled(attempt.status), (f"  {moment(attempt.started_at)} UTC{took}", "dim")
    )
