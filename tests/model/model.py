"""What the engine promises, as a small program without a database: what there is.

This is the specification that the engine is compared with. `judging` says when tasks may start and how batches end;
`attempts`, `people` and `outside` what may happen to them; `reasons` what they wait for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from database.statuses import BatchStatus, SkipCause, Status
from run.workflows.definition import TriggerRule

OPEN = (Status.WAITING, Status.NEW, Status.PROCESSING)


class Refused(Exception):
    """What was asked for makes no sense now; nothing has changed."""


@dataclass(frozen=True)
class Due:
    """A moment in seconds; the engine may choose it between two, and the comparison then learns which it is."""

    earliest: float
    latest: float

    def has_come(self, now: float) -> bool:
        return self.earliest <= now


def exactly(moment: float) -> Due:
    return Due(moment, moment)


@dataclass(frozen=True)
class Plan:
    """A task as a version of the workflow has it."""

    name: str
    parents: tuple[str, ...] = ()
    rule: TriggerRule = TriggerRule.all_success
    allow_failure: bool = False
    disabled: bool = False
    wants_file: bool = False
    #: Whether its work ends with a completion message.
    is_external: bool = False
    #: Whether only a later revision of the service knows its kind.
    is_unknown: bool = False
    retries: int = 0
    max_takeovers: int = 3
    timeout: int | None = None
    #: Stands for everything else that a version may say about a task.
    note: str = ""

    @property
    def work(self) -> tuple[object, ...]:
        """What decides the outcome; how often and how long it is tried does not."""
        return (
            set(self.parents),
            self.rule,
            self.disabled,
            self.wants_file,
            self.is_external,
            self.is_unknown,
            self.note,
        )

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        unusual = {name: value for name, value in vars(self).items() if value != getattr(Plan, name, None)}
        printer.text(f"Plan({', '.join(f'{name}={value!r}' for name, value in unusual.items())})")


#: A version: its tasks, parents before children.
Plans = tuple[Plan, ...]


@dataclass
class Task:
    """One task of one batch."""

    plan: Plan
    status: Status = Status.WAITING
    cause: SkipCause | None = None
    #: Who is to blame for a skip; several failures that came in one step may each be blamed, None is not looked at yet.
    culprits: frozenset[str] | None = frozenset()
    #: How each attempt has ended; PROCESSING is open.
    log: list[Status] = field(default_factory=list)
    retried: int = 0
    takeovers: int = 0
    lacks_file: bool = False
    #: Waits again when its attempt has ended, because what it reads has changed.
    reset: bool = False
    #: Has no other attempt before all that earlier ones began is confirmed to have ended.
    ending: bool = False
    #: Which worker has the open attempt, and until when nobody else may take it.
    worker: int | None = None
    lease_until: float = 0.0
    #: When the sweep goes on with an attempt that nobody has, or with a retry.
    due: Due | None = None
    #: Something of the attempt goes on outside, and can be asked for.
    has_handle: bool = False
    awaits_completion: bool = False
    started_at: float = 0.0
    #: Whether the worker that has it was told that its time is over, and asks for the last time.
    is_last_look: bool = False
    #: When the message of a NEW task is sent again, and how often it was.
    publish_after: Due | None = None
    publishes: int = 0

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def attempt(self) -> int:
        return len(self.log)

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def failed(self) -> bool:
        """Whether its children see a failure."""
        return self.status in (Status.ERROR, Status.CANCELLED) or self.cause is SkipCause.UPSTREAM_FAILED

    @property
    def waits_for_retry(self) -> bool:
        return self.status is Status.WAITING and self.due is not None

    @property
    def was_handed_back(self) -> bool:
        """Whether any message goes on with its attempt."""
        return self.is_let_go and not self.has_handle and not self.awaits_completion

    @property
    def is_let_go(self) -> bool:
        return self.status is Status.PROCESSING and self.worker is None

    def move(self, status: Status, cause: SkipCause | None = None) -> None:
        """Take another status; whatever belonged to the old one is gone."""
        self.status, self.cause = status, cause
        self.culprits = None if cause is SkipCause.UPSTREAM_FAILED else frozenset()
        self.worker, self.due, self.publish_after, self.publishes = None, None, None, 0
        self.has_handle = self.awaits_completion = self.reset = self.is_last_look = False


@dataclass(frozen=True)
class Said:
    """What somebody outside has said about an attempt."""

    status: Status
    result: int | None = None
    error: str | None = None


@dataclass
class Cancellation:
    """The work of an attempt that nobody wants any more, until it is confirmed that it has ended."""

    due: Due
    tries: int = 0


@dataclass
class Batch:
    """One execution of a version."""

    name: str
    version: int
    plans: Plans
    #: In the order of the versions that brought them; a task that a newer version has no more stays.
    tasks: dict[str, Task]
    status: BatchStatus = BatchStatus.PROCESSING
    said: dict[tuple[str, int], Said] = field(default_factory=dict)
    cancellations: dict[tuple[str, int], Cancellation] = field(default_factory=dict)
    #: The newest generation of the file of each task.
    files: dict[str, int] = field(default_factory=dict)

    @property
    def in_order(self) -> list[Task]:
        """The tasks of its version, parents before children."""
        return [self.tasks[plan.name] for plan in self.plans]

    def parents(self, task: Task) -> list[Task]:
        return [self.tasks[name] for name in task.plan.parents]

    def below(self, names: Iterable[str]) -> list[Task]:
        """These tasks and everything that comes after them, parents before children."""
        found = set(names)
        for plan in self.plans:
            if found.intersection(plan.parents):
                found.add(plan.name)
        return [task for task in self.in_order if task.name in found]


@dataclass
class Model:
    """Everything."""

    versions: list[Plans] = field(default_factory=list)
    batches: dict[str, Batch] = field(default_factory=dict)
    #: Messages that the last step has sent: (batch, task).
    sent: set[tuple[str, str]] = field(default_factory=set)
    pubsub_is_down: bool = False
    now: float = 0.0
    workers: int = 0
    #: How often the work of an attempt was begun or gone on with: (batch, task, attempt).
    begun: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def all_tasks(self) -> Iterator[tuple[Batch, Task]]:
        for batch in self.batches.values():
            for task in batch.tasks.values():
                yield batch, task
