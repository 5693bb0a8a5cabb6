"""A batch as a person reads it: each task with its mark, and under it what went wrong or is waited for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import yaml
from rich.console import Group, RenderableType
from rich.text import Text

from database.listings.batches import ListedAttempt, ListedBatch, ListedTask, ShownBatch
from database.statuses import SkipCause, Status
from run.cli.escaping import in_lines, in_one_line
from run.cli.printing import below, duration, mark, moment, styled

#: As many names as fit a line; a fan-in of hundreds is not spelt out.
_MOST_NAMES = 6


def batch_view(shown: ShownBatch) -> Group:
    """The batch, then its tasks in order."""
    width = max((len(task.task) for task in shown.tasks), default=0)
    lines: list[RenderableType] = [*_head(shown.batch), Text()]
    for task in shown.tasks:
        lines.append(_task_line(task, width, shown.batch.read_at))
        lines += [below(line) for line in _remarks(task)]
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
    if batch.params:
        written = yaml.safe_dump(dict(batch.params), default_flow_style=True, allow_unicode=True, width=10_000)
        yield Text(in_lines(f"params {written.strip()}"), "dim")


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
    if task.takeovers:
        yield f"{task.takeovers} dead workers" if task.takeovers > 1 else "1 dead worker"
    if task.allow_failure and task.status == Status.ERROR:
        yield "may fail"


def _remarks(task: ListedTask) -> Iterator[Text]:
    if task.error:
        yield Text(in_lines(task.error), "red" if task.status == Status.ERROR else "dim")
    if task.file is not None:
        yield Text(in_one_line(task.file), "dim")
        if task.place is not None:
            yield Text(in_one_line(f"now {task.place}"), "dim")
    for words in reasons(task):
        yield Text(in_one_line(words), "yellow")


def reasons(task: ListedTask) -> Iterator[str]:
    """Why a task has not run, or what it waits for; nothing for one that has."""
    if task.status == Status.WAITING and task.open_parents:
        yield f"waits for {_names(task.open_parents)}"
    if task.status == Status.WAITING and task.awaits_file:
        yield f"waits for its file: {task.pattern}"
    if task.status == Status.NEW:
        yield "may start: its message is on the way"
    if task.reset:
        yield "runs again afterwards, because what it is built on has changed"
    if task.status == Status.SKIPPED:
        yield _why_skipped(task)


def _why_skipped(task: ListedTask) -> str:
    words = {
        SkipCause.UPSTREAM_FAILED: f"skipped because {task.skipped_because_of} failed",
        SkipCause.RULE: f"skipped because its rule {task.rule} cannot be met any more",
        SkipCause.BRANCH: "skipped because its condition is false",
        SkipCause.RAISED: "skipped because its own work said so",
        SkipCause.MARKED: "skipped because a person marked it",
        SkipCause.DISABLED: "skipped because the workflow says that it is disabled",
    }
    return words[SkipCause(task.skip_cause or "")]


def _names(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMES:
        return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more tasks"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _attempt_line(attempt: ListedAttempt) -> Text:
    took = f" for {duration(attempt.ended_at - attempt.started_at)}" if attempt.ended_at else ""
    named = f" {attempt.task} attempt {attempt.attempt}  "
    return Text.assemble(
        mark(attempt.status), named, styled(attempt.status), (f"  {moment(attempt.started_at)} UTC{took}", "dim")
    )
