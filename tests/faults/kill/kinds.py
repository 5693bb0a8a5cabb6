"""Kinds whose work is done outside, in the journal, where it outlives the process that has begun it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from run.errors import BadFiles, PassingFailure, PermanentFailure, Unavailable
from run.kinds.kind import (
    AwaitsCompletion,
    Finished,
    GoesOn,
    Kind,
    KindConfig,
    Moved,
    ObjectVersion,
    Progress,
    Skipped,
    TakenFile,
    Work,
)
from tests.faults.kill.journal import Journal
from tests.faults.kill.points import Points

#: Later than anything that happens while a test runs, so that time passes only when a scenario says so.
LATER_SECONDS = 1000


class OutsideConfig(KindConfig):
    """How the first attempts of a task end; the next one succeeds."""

    #: So many attempts fail in a way that passes.
    fails: int = 0
    #: So many attempts, after those, fail for good.
    refuses: int = 0
    #: Whether there is nothing to do.
    skips: bool = False
    #: The list that each attempt returns, the last one for all that follow.
    lists: list[list[str]] = Field(default_factory=list)
    #: A template, such as what a parent has returned.
    note: str = ""
    #: Whether the other side does not answer when an attempt begins for the first time.
    busy: bool = False
    #: One of many files, by the end of its name, that the first attempt cannot use.
    bad_file: str = ""
    #: Whether the task's file is put elsewhere.
    moves: bool = False
    #: What happens while the work is done, as the instance knows it.
    meanwhile: str = ""
    #: When to look for a job again, in seconds; it ends when the scenario ends it, or by itself if that is soon.
    poll_after: float = LATER_SECONDS


class Outside(Kind[OutsideConfig]):
    """Work under a key of our own: whoever begins it again finds that it is there."""

    name = "keyed"
    config = OutsideConfig
    has_key = True

    def __init__(self, journal: Journal, points: Points, meanwhile: Callable[[str], None]) -> None:
        self._journal = journal
        self._points = points
        self._meanwhile = meanwhile

    def start(self, config: OutsideConfig, work: Work) -> Progress:
        """Do the work at once."""
        self._answers(config, work)
        self._begin(work)
        self._meanwhile(config.meanwhile)
        return _ended(config, work)

    def _answers(self, config: OutsideConfig, work: Work) -> None:
        if config.busy and not self._journal.holds("asked", key=work.key):
            with self._points.around(f"asking for {self.name} work"):
                self._journal.write("asked", key=work.key)
            raise Unavailable("the other side is busy")

    def _begin(self, work: Work) -> None:
        with self._points.around(f"beginning {self.name} work"):
            if not (self.has_key and self._journal.holds("begun", key=work.key)):
                self._journal.write("begun", key=work.key, task=work.task, attempt=work.attempt, once=self.has_key)


class Keyless(Outside):
    """Work that the other side does as often as it is asked."""

    name = "keyless"
    has_key = False


class TakesFile(Outside):
    """Work on a file."""

    name = "takes_file"
    takes_file = True
    takes_many_files = True


class ReadsConfig(OutsideConfig):
    """The same, and the task whose file is read."""

    source: str = Field(alias="from")


class Reads(Outside):
    """Work on the file of a task above."""

    name = "reads"
    config: type[OutsideConfig] = ReadsConfig
    takes_file = True
    source_key = "from"


class Job(Outside):
    """Work that goes on outside until the scenario ends it."""

    name = "job"

    def start(self, config: OutsideConfig, work: Work) -> Progress:
        """Begin it."""
        self._answers(config, work)
        self._begin(work)
        self._meanwhile(config.meanwhile)
        return GoesOn({"job": work.key}, config.poll_after)

    def poll(self, config: OutsideConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        """Look whether it has ended."""
        with self._points.around(f"polling {self.name} work"):
            ended = config.poll_after < LATER_SECONDS or self._journal.holds("ended", task=work.task)
        return _ended(config, work) if ended else GoesOn(handle, config.poll_after)

    def cancel(self, config: OutsideConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:
        """Ask for its end; the next call confirms it. What is not begun cannot begin any more."""
        with self._points.around(f"cancelling {self.name} work"):
            confirmed = self._journal.holds("cancelled", key=work.key)
            if not confirmed:
                self._journal.write("cancelled", key=work.key, task=work.task, attempt=work.attempt)
        return confirmed


class External(Outside):
    """Work that somebody else does, and says when it is done."""

    name = "handed_over"

    def awaits_completion(self, config: OutsideConfig) -> bool:
        """Always."""
        return True

    def start(self, config: OutsideConfig, work: Work) -> Progress:
        """Hand it over."""
        self._begin(work)
        self._meanwhile(config.meanwhile)
        return AwaitsCompletion()


KINDS = (Outside, Keyless, TakesFile, Reads, Job, External)


def _ended(config: OutsideConfig, work: Work) -> Finished | Skipped:
    if config.skips:
        return Skipped("nothing to do")
    if work.attempt <= config.fails:
        raise PassingFailure(f"attempt {work.attempt} was not lucky")
    if work.attempt <= config.fails + config.refuses:
        raise PermanentFailure(f"attempt {work.attempt} is refused")
    collected = work.collected.get(work.task, ())
    bad = {file.file_log_id: "no table" for file in collected if file.landed.name.endswith(config.bad_file or "/")}
    if bad:
        raise BadFiles(f"{config.bad_file} is bad", bad)
    moved = work.files_of(work.task) if config.moves else ()
    details: dict[str, Any] = {"attempt": work.attempt, "files": len(collected)}
    if config.lists:
        details["list"] = config.lists[min(work.attempt, len(config.lists)) - 1]
    return Finished(details, tuple(Moved(file.file_log_id, _archived(file)) for file in moved))


def _archived(file: TakenFile) -> ObjectVersion:
    return ObjectVersion("archive", file.landed.name, file.landed.generation)
