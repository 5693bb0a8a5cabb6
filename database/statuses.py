"""The life of a task and of a batch as data: statuses, causes, and the only legal moves between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    #: Waits for its parents or its file.
    WAITING = "WAITING"
    #: May be claimed; the row itself is the message to publish.
    NEW = "NEW"
    #: Claimed by one attempt.
    PROCESSING = "PROCESSING"
    #: The other side has confirmed that the work is done.
    SUCCESS = "SUCCESS"
    #: The attempt failed, and no further one is due.
    ERROR = "ERROR"
    #: Never ran; the row's cause says why.
    SKIPPED = "SKIPPED"
    #: A person ended it.
    CANCELLED = "CANCELLED"


class SkipCause(StrEnum):
    #: A parent is ERROR, CANCELLED, or was itself skipped because of one.
    UPSTREAM_FAILED = "upstream_failed"
    #: Its trigger rule can no longer be met, and no failure is to blame.
    RULE = "rule"
    #: Its condition was false.
    BRANCH = "branch"
    #: Its own work asked to be skipped.
    RAISED = "raised"
    #: A person marked it.
    MARKED = "marked"
    #: The workflow says that it is disabled.
    DISABLED = "disabled"


class BatchStatus(StrEnum):
    #: At least one of its tasks is not terminal.
    PROCESSING = "PROCESSING"
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"


OPEN = (Status.WAITING, Status.NEW, Status.PROCESSING)
TERMINAL = (Status.SUCCESS, Status.ERROR, Status.SKIPPED, Status.CANCELLED)
#: What a child of this task sees as a failure; so is SKIPPED because of one.
FAILURES = (Status.ERROR, Status.CANCELLED)


@dataclass(frozen=True)
class Move:
    """A legal transition: a row leaves one of `sources` for `target`, or it does not move."""

    name: str
    sources: tuple[Status, ...]
    target: Status


#: The rule over its parents is met, and nothing else is missing.
RELEASE = Move("release", (Status.WAITING,), Status.NEW)
#: An attempt begins.
CLAIM = Move("claim", (Status.NEW,), Status.PROCESSING)
#: Somebody goes on with an open attempt: its worker died, it was handed back, its outside work is looked at.
GO_ON = Move("go on", (Status.PROCESSING,), Status.PROCESSING)
SUCCEED = Move("succeed", (Status.PROCESSING,), Status.SUCCESS)
FAIL = Move("fail", (Status.PROCESSING,), Status.ERROR)
#: The attempt failed, and another one is due later.
RETRY = Move("retry", (Status.PROCESSING,), Status.WAITING)
#: Its work has nothing to do: its condition does not hold, or it says so itself.
SKIP_ITSELF = Move("skip itself", (Status.PROCESSING,), Status.SKIPPED)
#: The rule over its parents can no longer be met.
SKIP = Move("skip", (Status.WAITING,), Status.SKIPPED)
#: What it is built on has changed: it waits again, and its next attempt has a new number.
RESET = Move("reset", (Status.NEW, *TERMINAL), Status.WAITING)
#: An attempt ended while a reset was asked for: its outcome is history, and the task waits again.
RESET_AFTER_ATTEMPT = Move("reset after attempt", (Status.PROCESSING,), Status.WAITING)
#: Nobody has begun it, and the list that it is an item of is to be read anew.
DROP = Move("drop", (Status.WAITING, Status.NEW), Status.CANCELLED)
#: A failure above it is no failure any more: what was skipped because of one waits for its parents again.
BRING_BACK = Move("bring back", (Status.SKIPPED,), Status.WAITING)
#: A person's moves; from PROCESSING they take the attempt away.
RERUN = Move("rerun", tuple(Status), Status.WAITING)
MARK_SUCCESS = Move("mark success", tuple(Status), Status.SUCCESS)
MARK_ERROR = Move("mark error", tuple(Status), Status.ERROR)
MARK_SKIPPED = Move("mark skipped", tuple(Status), Status.SKIPPED)
CANCEL = Move("cancel", OPEN, Status.CANCELLED)
#: One of its elements runs again or is marked: it keeps the others, and awaits them all once more.
AWAIT_AGAIN = Move("await again", TERMINAL, Status.PROCESSING)

MARKS = {move.target: move for move in (MARK_SUCCESS, MARK_ERROR, MARK_SKIPPED)}

#: What the engine does by itself, and what only people do.
ENGINE_MOVES = (
    RELEASE, CLAIM, GO_ON, SUCCEED, FAIL, RETRY, SKIP_ITSELF, SKIP, RESET, RESET_AFTER_ATTEMPT, DROP, BRING_BACK
)  # fmt: skip
PEOPLES_MOVES = (RERUN, MARK_SUCCESS, MARK_ERROR, MARK_SKIPPED, CANCEL, AWAIT_AGAIN)
MOVES = (*ENGINE_MOVES, *PEOPLES_MOVES)
LEGAL = frozenset((source, move.target) for move in MOVES for source in move.sources)


@dataclass(frozen=True)
class BatchMove:
    """A legal transition of a batch."""

    name: str
    sources: tuple[BatchStatus, ...]
    targets: tuple[BatchStatus, ...]


#: No task is open any more; the outcome is decided once.
END = BatchMove(
    "end", (BatchStatus.PROCESSING,), (BatchStatus.SUCCESS, BatchStatus.ERROR, BatchStatus.CANCELLED)
)  # fmt: skip
#: A task of an ended batch runs again.
REOPEN = BatchMove(
    "reopen", (BatchStatus.SUCCESS, BatchStatus.ERROR, BatchStatus.CANCELLED), (BatchStatus.PROCESSING,)
)  # fmt: skip


class NotificationEvent(StrEnum):
    """What people are told of."""

    #: A batch, or a task, has ended otherwise than by success.
    FAILURE = "failure"
    SUCCESS = "success"
    #: A batch has not ended in time.
    MISSED_DEADLINE = "missed_deadline"


class NotificationStatus(StrEnum):
    #: To be sent, now or later.
    DUE = "DUE"
    #: The other side has accepted it.
    SENT = "SENT"
    #: It was tried often enough.
    GIVEN_UP = "GIVEN_UP"


@dataclass(frozen=True)
class NotificationMove:
    """A legal transition of a notification."""

    name: str
    sources: tuple[NotificationStatus, ...]
    target: NotificationStatus


SEND = NotificationMove("send", (NotificationStatus.DUE,), NotificationStatus.SENT)
#: The channel has failed; it is tried again later.
PUT_OFF = NotificationMove("put off", (NotificationStatus.DUE,), NotificationStatus.DUE)
GIVE_UP = NotificationMove("give up", (NotificationStatus.DUE,), NotificationStatus.GIVEN_UP)
#: A person wants it sent, whatever has become of it.
SEND_AGAIN = NotificationMove("send again", tuple(NotificationStatus), NotificationStatus.DUE)


class FileDecision(StrEnum):
    """What became of one generation of one object."""

    #: A task of a batch took it.
    TAKEN = "TAKEN"
    #: A task that takes many files has it among them.
    COLLECTED = "COLLECTED"
    #: It says that the files of such a task are all there.
    MARKER = "MARKER"
    #: An attempt could not use it, and the next one does without it: the reason says why.
    SET_ASIDE = "SET_ASIDE"
    #: No pattern of any workflow wants it.
    UNWANTED = "UNWANTED"
    #: Not a file to work on: a folder placeholder, another event, our own archive's write.
    IGNORED = "IGNORED"
    #: A newer generation of the same object took its place, or had it before this one came.
    SUPERSEDED = "SUPERSEDED"
    #: It contradicts what its batch has: the reason says how.
    REJECTED = "REJECTED"


#: What a batch task has of the many files that it takes: of each object one such row.
LIVE_IN_COLLECTION = (FileDecision.COLLECTED, FileDecision.SET_ASIDE, FileDecision.MARKER)


def any_of(values: Iterable[StrEnum]) -> str:
    """The right side of an SQL `IN`: how a statement names the statuses that its move may leave."""
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"
