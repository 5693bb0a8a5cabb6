"""The model and the engine, to which the same things happen; after each the database must say what the model says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from database.statuses import Status
from run import errors
from run.engine.moved import MoveResult
from tests.model import attempts, outside, people
from tests.model.attempts import Does
from tests.model.comparison import compare
from tests.model.judging import open_batch
from tests.model.model import Batch, Model, Plans, Refused, Said, Task
from tests.model.workers import Frozen
from tests.model.world import MOMENT, World


@dataclass
class Standing:
    """A worker that stands still, as the model knows it."""

    batch: str
    task: str
    attempt: int
    worker: int
    frozen: Frozen


class Both:
    """One history of both, from an empty database on."""

    def __init__(self, world: World, plans: Plans) -> None:
        self.model = Model()
        self.world = world
        #: Messages on their way, and all that there ever were: (batch, task).
        self.topic: Counter[tuple[str, str]] = Counter()
        self.old: set[tuple[str, str]] = set()
        self.standing: list[Standing] = []
        #: The generations that were decided about, of the file of each (batch, task).
        self.decided: dict[tuple[str, str], set[int]] = {}
        #: How many moves of people were not refused.
        self.moves = 0
        #: Whether all that has happened so far has left both alike.
        self.are_alike = True
        world.start_afresh()
        self.apply(plans)

    def do(self, in_model: Callable[[], Any], in_world: Callable[[], Any]) -> tuple[Any, Any]:
        """Let something happen to both, and compare them; what one refuses, the other must refuse."""
        self.are_alike = False
        told, came_of_it = _outcome(in_model), _outcome(in_world)
        refused = isinstance(told, Exception), isinstance(came_of_it, Exception)
        assert refused[0] == refused[1], f"the model says {told!r}, the engine {came_of_it!r}"
        sent = compare(self.model, self.world)
        self.model.now += MOMENT
        self.topic.update(sent)
        self.old.update(sent)
        self.are_alike = True
        return told, came_of_it

    def apply(self, plans: Plans) -> None:
        self.do(lambda: self.model.versions.append(plans), lambda: self.world.apply(plans))

    def open_batch(self, name: str) -> None:
        self.do(lambda: open_batch(self.model, name), lambda: self.world.open_batch(name))

    def pass_time(self, seconds: float) -> None:
        self.model.now += seconds
        self.do(lambda: None, lambda: self.world.pass_time(seconds))

    def stop_pubsub(self, *, is_down: bool) -> None:
        self.model.pubsub_is_down = self.world.publisher.is_down = is_down

    def deliver(self, message: tuple[str, str], does: Does) -> None:
        """Deliver a message that is on its way."""
        self.topic -= Counter([message])
        self.execute(*message, does)

    def execute(self, batch: str, name: str, does: Does) -> None:
        """Deliver the message of a task, whoever has sent it."""
        frozen = self.do(
            lambda: attempts.execute(self.model, self.model.batches[batch], name, does),
            lambda: self.world.execute(batch, name, does),
        )[1]
        self._remember(batch, name, frozen)

    def look_after(self, batch: Batch, name: str, does: Does) -> None:
        """Ask for work that goes on outside."""
        frozen = self.do(
            lambda: attempts.go_on(self.model, batch, name, does),
            lambda: self.world.go_on(batch.name, name, does),
        )[1]
        self._remember(batch.name, name, frozen)

    def _remember(self, batch: str, name: str, frozen: object) -> None:
        if isinstance(frozen, Frozen):
            task = self.model.batches[batch].tasks[name]
            assert task.worker is not None
            self.standing.append(Standing(batch, name, task.attempt, task.worker, frozen))

    def wake(self, ends: Sequence[tuple[Standing, Does]]) -> None:
        """Let workers that stood still end their work like this, all at the same time."""

        def come_back() -> None:
            for one, does in ends:
                batch = self.model.batches[one.batch]
                attempts.come_back(self.model, batch, one.task, one.attempt, one.worker, does)

        def wake() -> None:
            for one, does in ends:
                one.frozen.wake(does)
            for one, _ in ends:
                one.frozen.wait()

        self.standing = [one for one in self.standing if one not in [woken for woken, _ in ends]]
        self.do(come_back, wake)

    def tell_the_service_to_end(self) -> None:
        def give_back() -> None:
            for one in self.standing:
                attempts.give_back(self.model.batches[one.batch], one.task, one.worker, self.model.now)

        self.do(give_back, self.world.life.give_back_all)

    def sweep(self, does: Callable[[str, str], Does], *, confirms: bool) -> None:
        self.do(
            lambda: attempts.sweep(self.model, does, confirms=confirms),
            lambda: self.world.sweep(does, confirms=confirms),
        )

    def wanting(self) -> list[str]:
        """The tasks for which a file may arrive now."""
        return [plan.name for plan in self.model.versions[-1] if plan.wants_file]

    def land(self, batch: str, task: str, generation: int) -> None:
        decided = self.decided.setdefault((batch, task), set())
        told, read = self.do(
            lambda: outside.land(self.model, batch, task, generation, decided),
            lambda: self.world.land(batch, task, generation),
        )
        assert told is None or told == read, f"the file is {told} but {read}"

    def complete(self, batch: Batch, task: Task, attempt: int | None, said: Said) -> None:
        self.do(
            lambda: outside.complete(self.model, batch, task.name, attempt, said),
            lambda: self.world.complete(batch.name, task.name, attempt, said),
        )

    def rerun(self, batch: Batch, task: Task, *, downstream: bool) -> None:
        move = people.rerun_downstream if downstream else people.rerun
        self._move(
            batch,
            lambda: move(self.model, batch, task.name),
            lambda: self.world.rerun(batch.name, task.name, downstream=downstream),
        )

    def mark(self, batch: Batch, task: Task, status: Status) -> None:
        self._move(
            batch,
            lambda: people.mark(self.model, batch, task.name, status),
            lambda: self.world.mark(batch.name, task.name, status),
        )

    def rerun_batch(self, batch: Batch, *, failed: bool, latest: bool) -> None:
        self._move(
            batch,
            lambda: people.rerun_batch(self.model, batch, failed=failed, latest=latest),
            lambda: self.world.rerun_batch(batch.name, failed=failed, latest=latest),
        )

    def cancel(self, batch: Batch) -> None:
        self._move(batch, lambda: people.cancel(self.model, batch), lambda: self.world.cancel(batch.name))

    def _move(self, batch: Batch, in_model: Callable[[], None], in_world: Callable[[], MoveResult]) -> None:
        was_new = {task.name for task in batch.tasks.values() if task.status is Status.NEW}
        result = self.do(in_model, in_world)[1]
        if isinstance(result, MoveResult):
            self.moves += 1
            is_new = {task.name for task in batch.tasks.values() if task.status is Status.NEW}
            assert is_new - was_new <= set(result.released) <= is_new, result
            assert result.batch_status == batch.status, result


def _outcome(what: Callable[[], Any]) -> Any:
    try:
        return what()
    except (Refused, errors.Refused, errors.Rejected) as refused:
        return refused
