"""Whatever may happen to the engine, in any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from database.statuses import Status
from tests.model.attempts import Does
from tests.model.both import Both
from tests.model.graphs import newer_versions, workflows
from tests.model.model import Batch, Plans, Said, Task
from tests.model.rest import come_to_rest
from tests.model.world import World

BATCHES = ("b1", "b2")
MOST_VERSIONS = 3
OFTEN = st.sampled_from([True] * 3 + [False])
#: Shorter and longer than everything that has a length: polls, republications, leases, timeouts, the longest wait.
TIMES = st.sampled_from([5, 35, 65, 301, 605, 905, 2000, 5005, 8 * 24 * 3600])
WORK = st.sampled_from([Does.SUCCEEDS] * 4 + list(Does) + [Does.GOES_ON, Does.FREEZES])
WAKES = WORK.filter(lambda does: does is not Does.FREEZES)
LOOKS = WAKES.filter(lambda does: does is not Does.DIES)
ENDS = st.sampled_from([Does.SUCCEEDS] * 4 + [Does.FAILS, Does.FAILS_IN_PASSING])
MARKS = st.sampled_from([Status.SUCCESS, Status.ERROR, Status.SKIPPED])
SAID = st.sampled_from([Said(Status.SUCCESS, 1), Said(Status.SUCCESS, 2), Said(Status.ERROR, None, "no")])
#: How far the attempt that a completion message names is from the last one.
OFF = st.sampled_from([0, 0, 0, 0, 1, 1, 2, -1])


class EngineAgainstModel(RuleBasedStateMachine):
    """Each rule is one thing that happens to both."""

    #: The same for all histories.
    world: ClassVar[World]
    both: Both

    @initialize(plans=workflows())
    def begin(self, plans: Plans) -> None:
        self.both = Both(self.world, plans)
        self.both.open_batch(BATCHES[0])

    @precondition(lambda self: len(self.both.model.batches) < len(BATCHES))
    @rule()
    def open_a_batch(self) -> None:
        self.both.open_batch(next(name for name in BATCHES if name not in self.both.model.batches))

    @precondition(lambda self: self.both.topic)
    @rule(data=st.data(), does=WORK)
    def deliver(self, data: st.DataObject, does: Does) -> None:
        self.both.deliver(data.draw(st.sampled_from(sorted(self.both.topic))), does)

    @precondition(lambda self: self.both.topic)
    @rule(data=st.data())
    def deliver_several(self, data: st.DataObject) -> None:
        for _ in range(data.draw(st.integers(2, 20))):
            at_once = data.draw(st.booleans())
            if at_once and self._siblings():
                self.let_siblings_end_at_once(data)
            elif self.both.topic:
                self.deliver(data, data.draw(WORK))

    @rule(data=st.data(), does=WORK, was_sent=st.booleans())
    def deliver_what_is_old_or_was_never_sent(self, data: st.DataObject, does: Does, *, was_sent: bool) -> None:
        if was_sent and self.both.old:
            self.both.execute(*data.draw(st.sampled_from(sorted(self.both.old))), does)
        else:
            batch, task = self._pick(data)
            self.both.execute(batch.name, task.name, does)

    @precondition(lambda self: self.both.topic)
    @rule(data=st.data())
    def lose_messages(self, data: st.DataObject) -> None:
        messages = st.sampled_from(sorted(self.both.topic))
        for message in data.draw(st.lists(messages, min_size=1, unique=True)):
            del self.both.topic[message]

    @rule(is_down=st.booleans())
    def pubsub(self, *, is_down: bool) -> None:
        self.both.stop_pubsub(is_down=is_down)

    @rule(seconds=TIMES)
    def pass_time(self, seconds: float) -> None:
        self.both.pass_time(seconds)

    @rule(data=st.data(), confirms=OFTEN)
    def sweep(self, data: st.DataObject, *, confirms: bool) -> None:
        now = self.both.model.now
        looked_at = [
            (batch.name, task.name)
            for batch, task in self.both.model.all_tasks()
            if task.has_handle and task.due is not None and task.due.has_come(now)
        ]
        does = {one: data.draw(LOOKS) for one in looked_at}
        self.both.sweep(lambda batch, task: does[batch, task], confirms=confirms)

    @precondition(lambda self: self._has_any(_has_handle))
    @rule(data=st.data(), does=WORK)
    def look_after_work_outside(self, data: st.DataObject, does: Does) -> None:
        batch, task = self._pick(data, _has_handle)
        self.both.look_after(batch, task.name, does)

    @precondition(lambda self: self.both.standing)
    @rule(data=st.data(), does=WAKES)
    def wake_a_worker(self, data: st.DataObject, does: Does) -> None:
        index = data.draw(st.integers(0, len(self.both.standing) - 1))
        self.both.wake([(self.both.standing[index], does)])

    @precondition(lambda self: self._siblings())
    @rule(data=st.data())
    def let_siblings_end_at_once(self, data: st.DataObject) -> None:
        before = len(self.both.standing)
        for message in data.draw(st.sampled_from(self._siblings())):
            self.both.deliver(message, Does.FREEZES)
        # Whatever order they end in, it comes to the same.
        self.both.wake([(standing, data.draw(ENDS)) for standing in self.both.standing[before:]])

    @precondition(lambda self: self._has_any(_is_processing) and self.both.standing)
    @rule()
    def tell_the_service_to_end(self) -> None:
        self.both.tell_the_service_to_end()

    @precondition(lambda self: self.both.wanting())
    @rule(data=st.data(), batch=st.sampled_from(BATCHES), generation=st.integers(1, 5))
    def let_a_file_arrive(self, data: st.DataObject, batch: str, generation: int) -> None:
        self.both.land(batch, data.draw(st.sampled_from(self.both.wanting())), generation)

    @precondition(lambda self: self._has_any(_is_external))
    @rule(data=st.data(), said=SAID, off=OFF, is_named=OFTEN)
    def say_that_work_is_done(self, data: st.DataObject, said: Said, off: int, *, is_named: bool) -> None:
        batch, task = self._pick(data, _is_external if data.draw(OFTEN) else None)
        self.both.complete(batch, task, task.attempt + off if is_named else None, said)

    @rule(data=st.data(), downstream=st.booleans())
    def rerun_a_task(self, data: st.DataObject, *, downstream: bool) -> None:
        self.both.rerun(*self._pick(data, lambda task: task.status is not Status.NEW), downstream=downstream)

    @rule(data=st.data(), status=MARKS)
    def mark_a_task(self, data: st.DataObject, status: Status) -> None:
        self.both.mark(*self._pick(data, lambda task: task.status is not status), status)

    @precondition(lambda self: self._has_any(_has_failed) or len(self.both.model.versions) > 1)
    @rule(data=st.data(), failed=st.booleans(), latest=st.booleans())
    def rerun_a_batch(self, data: st.DataObject, *, failed: bool, latest: bool) -> None:
        self.both.rerun_batch(self._pick_batch(data), failed=failed, latest=latest)

    @precondition(lambda self: self._has_any(_is_processing))
    @rule(data=st.data())
    def cancel_a_batch(self, data: st.DataObject) -> None:
        self.both.cancel(self._pick_batch(data))

    @precondition(lambda self: len(self.both.model.versions) < MOST_VERSIONS)
    @rule(data=st.data())
    def apply_a_newer_version(self, data: st.DataObject) -> None:
        plans = data.draw(newer_versions(self.both.model.versions[-1]))
        if plans != self.both.model.versions[-1]:
            self.both.apply(plans)

    def teardown(self) -> None:
        if not hasattr(self, "both"):
            return
        try:
            if self.both.are_alike:
                come_to_rest(self.both)
        finally:
            for one in self.both.standing:
                one.frozen.wake(Does.DIES)
                one.frozen.wait()

    def _pick_batch(self, data: st.DataObject) -> Batch:
        return self.both.model.batches[data.draw(st.sampled_from(sorted(self.both.model.batches)))]

    def _pick(self, data: st.DataObject, fits: Callable[[Task], bool] | None = None) -> tuple[Batch, Task]:
        """A task of a batch's version that fits; any when none does."""
        tasks = [(batch, task) for batch in self.both.model.batches.values() for task in batch.in_order]
        fitting = [index for index, (_, task) in enumerate(tasks) if fits is None or fits(task)]
        return tasks[data.draw(st.sampled_from(fitting or range(len(tasks))))]

    def _has_any(self, fits: Callable[[Task], bool]) -> bool:
        return any(fits(task) for batch in self.both.model.batches.values() for task in batch.in_order)

    def _siblings(self) -> list[list[tuple[str, str]]]:
        """Groups of messages on their way, each to a few parents of one task that waits for them."""
        groups = []
        for batch, task in self.both.model.all_tasks():
            group = [(batch.name, name) for name in task.plan.parents if (batch.name, name) in self.both.topic]
            if task.status is Status.WAITING and len(group) > 1:
                groups.append(group[:4])
        return groups


def _has_handle(task: Task) -> bool:
    return task.has_handle


def _has_failed(task: Task) -> bool:
    return task.failed


def _is_processing(task: Task) -> bool:
    return task.status is Status.PROCESSING


def _is_external(task: Task) -> bool:
    return task.plan.is_external
