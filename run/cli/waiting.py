"""What the open tasks of a batch wait for: typed for programs, in words for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from database.listings.batches import ListedTask, ShownBatch
from database.statuses import Status
from run.cli.printing import moment
from run.engine.reasons import Reason, ReasonKind, reasons_of

#: As many names as fit a line; a fan-in of hundreds is not spelt out.
_MOST_NAMES = 6

_WORDS = {
    ReasonKind.PARENTS: "waits for {ids}",
    ReasonKind.FILE: "waits for its file: {ids}",
    ReasonKind.RETRY: "waits for its next attempt, which is due {then}",
    ReasonKind.ENDING: "waits until what {ids} has begun outside has ended",
    ReasonKind.MESSAGE: "may start: its message is on the way",
    ReasonKind.UNKNOWN_KIND: "may start, but this revision of the service does not know its kind {ids}",
    ReasonKind.WORKER: "a worker has it, with a lease until {until}",
    ReasonKind.DEAD_WORKER: "its worker has been silent for longer than its lease; another one goes on {then}",
    ReasonKind.JOB: "its work goes on outside{named} and is asked for {then}",
    ReasonKind.COMPLETION: "waits for a completion message and times out {then}",
    ReasonKind.ELEMENTS: "{ids} are open",
    ReasonKind.HANDED_BACK: "the other side did not answer, or its worker had to end; it goes on {then}",
}


def reasons_by_task(shown: ShownBatch) -> Mapping[str, tuple[Reason, ...]]:
    """Everything that each open task waits for."""
    kinds = _known_kinds() if any(task.status is Status.NEW for task in shown.open_tasks) else None
    return {task.task: reasons_of(task, kinds) for task in shown.open_tasks}


def in_words(reason: Reason, task: ListedTask, now: datetime) -> str:
    """A reason as what comes after the task's name; `now` is the database's clock."""
    # The reason names only the first of very many parents.
    ids = task.open_parents if reason.kind is ReasonKind.PARENTS else reason.ids
    until = "" if reason.until is None else f"{moment(reason.until)} UTC"
    then = f"at {until}" if reason.until is not None and reason.until > now else "with the next sweep"
    named = f" ({_names(ids)})" if ids else ""
    if reason.kind is ReasonKind.FILES:
        return _collecting(reason, then)
    return _WORDS[reason.kind].format(ids=_names(ids), named=named, until=until, then=then)


def _collecting(reason: Reason, then: str) -> str:
    pattern, so_far = reason.ids
    quiet = "" if reason.until is None else f" (quiet since {moment(reason.since)} UTC, ends {then})"
    return f"collects its files, {so_far}, until {reason.ends_by}{quiet}: {pattern}"


def _known_kinds() -> Collection[str]:
    from run.kinds import KINDS  # noqa: PLC0415  # They import Google's clients, which take seconds.

    return {kind.name for kind in KINDS}


def _names(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMES:
        return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
