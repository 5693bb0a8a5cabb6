"""What a kind of task is: its configuration, what that may refer to, and how its work starts, goes on and is ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from run.clients import Clients
from run.errors import PermanentFailure
from run.workflows.scope import Scope
from run.workflows.templates import Value


class KindConfig(BaseModel):
    """The keys of a task that belong to its kind; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ConfigT = TypeVar("ConfigT", bound=KindConfig)


@dataclass(frozen=True)
class ObjectVersion:
    """One generation of one object in Cloud Storage."""

    bucket: str
    name: str
    generation: int

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.name}"


@dataclass(frozen=True)
class TakenFile:
    """A file that a task of this batch took: where it landed, and where it is now."""

    file_log_id: int
    landed: ObjectVersion
    place: ObjectVersion
    groups: Mapping[str, Value] = field(default_factory=dict)
    #: Other tasks, of any batch, that took the same generation and may be reading it now, e.g. "copies.load 2024-03".
    read_by: tuple[str, ...] = ()


def _not_at_work(_handle: Mapping[str, Any]) -> None:
    raise RuntimeError("only the worker of an attempt can store its handle, in start and in poll")


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Work:
    """One attempt at one batch task, as its kind sees it."""

    workflow: str
    batch_id: str
    task: str
    attempt: int
    #: Tells this batch from one of the same name in another database.
    batch_uid: str
    #: Every template name of this task with its value: settings, batch, params, the own file's groups.
    values: Mapping[str, Value]
    params: Mapping[str, Any]
    #: The names of the batch id's template with their values, e.g. {"period": date(2024, 3, 1)}.
    batch_values: Mapping[str, Value]
    #: The files of this batch by the name of the task that took one, this task's own among them. Where the task's
    #: `source_key` names a task that makes a file, that task has the file that it has made.
    files: Mapping[str, TakenFile]
    #: The same of the tasks that take many.
    collected: Mapping[str, tuple[TakenFile, ...]] = field(default_factory=dict)
    #: What the parents that this task reads have returned, by their names; those that did not succeed have nothing.
    results: Mapping[str, Any] = field(default_factory=dict)
    #: How long the attempt may last, from its begin; None is without end.
    timeout_seconds: int | None = None
    #: Which element of a mapped task this is, from 0, and its item of the list, any JSON value; None of other tasks.
    element: int | None = None
    item: Any = None
    #: Stores a handle at once, for what cannot be found again once it is begun: from then on `poll` is called and not
    #: `start`. Raises Unavailable when the attempt is in other hands; nothing may be begun then.
    store_handle: Callable[[Mapping[str, Any]], None] = field(default=_not_at_work, compare=False, repr=False)
    #: Whether the attempt was taken from this worker, because it was cancelled, has lasted too long or is in other
    #: hands; known within a third of its lease. Work of minutes asks, and raises Unavailable: nobody wants its outcome.
    is_lost: Callable[[], bool] = field(default=_never, compare=False)

    def files_of(self, task: str) -> tuple[TakenFile, ...]:
        """The files that a task of this batch has, whether it takes one or many."""
        one = self.files.get(task)
        return self.collected.get(task, ()) if one is None else (one,)

    @property
    def key(self) -> str:
        """The same for every worker of this attempt and for no other attempt of any task or element."""
        element = "" if self.element is None else f"/{self.element}"
        return f"{self.batch_uid}/{self.workflow}/{self.batch_id}/{self.task}{element}/{self.attempt}"

    def source(self, task: str | None) -> TakenFile:
        """The file of that task, or without one this task's own; raises PermanentFailure when it has none."""
        file = self.files.get(task or self.task)
        if file is None:
            raise PermanentFailure(f"no file of batch '{self.batch_id}' belongs to task '{task or self.task}'")
        return file


@dataclass(frozen=True)
class Moved:
    """A file's new place, stored in the file log together with the task's success."""

    file_log_id: int
    place: ObjectVersion


@dataclass(frozen=True)
class Returned:
    """What other tasks get as the result of this one: any JSON value, None too."""

    value: Any


@dataclass(frozen=True)
class Finished:
    """Confirmed success: what the task log keeps (JSON values only), where files have gone, and a file of our own.

    The details are the task's result, which its children can use, unless something else is `returned`.
    """

    details: Mapping[str, Any] = field(default_factory=dict)
    moved: tuple[Moved, ...] = ()
    #: What a kind that `makes_file` has made; kept in the details.
    made: ObjectVersion | None = None
    returned: Returned | None = None


@dataclass(frozen=True)
class Skipped:
    """There is nothing to do, and why: the task is SKIPPED, and what that means for its children their rules say."""

    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GoesOn:
    """The work goes on outside. `handle` (JSON values only) is all that `poll` and `cancel` will know of it."""

    handle: Mapping[str, Any]
    #: When to ask again, in seconds from now.
    poll_after: float = 5.0
    #: Files that have gone to new places so far; whoever asks again finds them there.
    moved: tuple[Moved, ...] = ()


@dataclass(frozen=True)
class AwaitsCompletion:
    """Somebody outside has the work now and will say with a completion message that it is done."""


Progress = Finished | Skipped | GoesOn | AwaitsCompletion


class Kind(ABC, Generic[ConfigT]):
    """A kind of task. Adding one is one module with one subclass, and one line in `run.kinds.KINDS`."""

    name: ClassVar[str]
    config: type[ConfigT]
    #: Whether a task of this kind waits for a file (`file`, `parse`, `on_new_generation`).
    takes_file: ClassVar[bool] = False
    #: Whether it may wait for many (`files: many`, `until`); they are in `work.collected` then.
    takes_many_files: ClassVar[bool] = False
    #: The key that may name, instead of `file`, a task above: what that has made, or else taken, is this task's file.
    source_key: ClassVar[str | None] = None
    #: Whether its work is a file, for tasks whose `source_key` names this one.
    makes_file: ClassVar[bool] = False
    #: Errors of the work after which another attempt may succeed. PassingFailure always is one.
    passing: ClassVar[tuple[type[Exception], ...]] = (ConnectionError, TimeoutError)
    #: How long an attempt may last when the task does not say, in seconds; None is without end.
    timeout_seconds: ClassVar[int | None] = None

    def __init__(self, clients: Clients) -> None:
        self.clients = clients

    def problems(self, config: ConfigT, scope: Scope) -> Iterator[tuple[str, str]]:  # noqa: ARG002  # For subclasses.
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        return iter(())

    def awaits_completion(self, config: ConfigT) -> bool:  # noqa: ARG002  # For subclasses.
        """Whether `start` ends in AwaitsCompletion, so that a completion message may end the attempt."""
        return False

    def reads_results(self, config: ConfigT) -> Collection[str]:  # noqa: ARG002  # For subclasses.
        """The parents whose results the work needs, beside those that its templates name."""
        return ()

    @abstractmethod
    def start(self, config: ConfigT, work: Work) -> Progress:
        """Do the work, or begin it outside; raise TaskFailure when that fails.

        It may be called again for the same attempt, after a worker has died: it then adopts what is there already.
        Finished is only for what the other side has confirmed. Raise Unavailable when the other side does not answer:
        the attempt goes on later, and begins here again.
        """

    def poll(self, config: ConfigT, work: Work, handle: Mapping[str, Any]) -> Progress:
        """Ask once, briefly, how the work that `start` has begun is doing; raises what `start` raises.

        Only for kinds whose `start` returns GoesOn. A new handle takes the place of the old one.
        """
        raise NotImplementedError(f"the kind {self.name} does its work in start")

    def cancel(self, config: ConfigT, work: Work, handle: Mapping[str, Any] | None) -> bool:  # noqa: ARG002
        """End what an attempt that is not to go on has begun outside; whether it is confirmed that nothing of it runs.

        It is called again until it returns True. `handle` may be an older one, or None when the attempt lost its
        worker before it had one: what was begun is looked for, and, where the other side allows, what a frozen worker
        may yet begin is prevented. Raises what `start` raises.
        """
        return True
