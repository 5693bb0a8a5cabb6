"""What people are told of a batch that has succeeded, or has not ended in time. Every text is as people may see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class DoneTask:
    """One task of a batch, or a task alone, that is over."""

    name: str
    #: What it is: "kind load_file".
    work: str
    status: str
    #: How long its last attempt took, in words; empty when it had none.
    took: str = ""
    #: What it has told: rows loaded, the id of a job.
    details: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class SuccessReport:
    """What a message about a success says."""

    title: str
    place: str
    at: datetime
    tasks: Sequence[DoneTask]
    #: How many tasks there are beside those.
    more: int = 0


@dataclass(frozen=True)
class WaitingTask:
    """One task that is not over, and what it waits for, in words."""

    name: str
    status: str
    waits: Sequence[str] = ()


@dataclass(frozen=True)
class DeadlineReport:
    """What a message about a missed deadline says."""

    title: str
    place: str
    at: datetime
    #: What was still open when it was missed.
    tasks: Sequence[WaitingTask]
    more: int = 0
    #: The command that shows how it stands now, or goes on from there.
    command: str = ""
    #: Whether the batch was cancelled because of it.
    is_cancelled: bool = False
