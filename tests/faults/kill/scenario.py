"""What happens in a scenario: requests from outside, one after the other.

Each is repeated by whoever has made it until it is answered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from database.errors import DatabaseUnavailable
from run.errors import Unavailable
from run.pubsub.messages import completed_message, execute_message, sweep_message, workflow_message
from tests.faults.kill.instance import Instance, NotAccepted

#: Longer than any lease, wait or delay of a scenario.
LONG_SECONDS = 7200

#: What a dead process leaves behind runs out: its leases, the wait for messages that it did not publish, its chores.
LEFT_BEHIND = {
    "batch_task": ("lease_until", "publish_after"),
    "chore": ("due_at",),
    "notification": ("due_at",),
}
#: Everything that the sweep goes by.
EVERYTHING = {
    "batch_task": ("lease_until", "publish_after", "due_at", "changed_at", "quiet_at"),
    "cancellation": ("due_at",),
    "chore": ("due_at",),
    "notification": ("due_at",),
    "task_batch": ("deadline_at",),
    "task_log": ("started_at",),
}

#: What may still change by itself.
_IN_MOTION = """
    SELECT (SELECT count(*) FROM batch_task
             WHERE status IN ('NEW', 'PROCESSING') OR due_at IS NOT NULL OR ending OR reset OR quiet_at IS NOT NULL)
         + (SELECT count(*) FROM cancellation) + (SELECT count(*) FROM notification WHERE status = 'DUE')
"""
_MOST_ROUNDS = 20

_HANDED_BACK_IS_DUE = """
    UPDATE batch_task SET due_at = clock_timestamp()
     WHERE status = 'PROCESSING' AND due_at IS NOT NULL AND handle IS NULL AND NOT awaits_completion
"""


@dataclass(frozen=True)
class Step:
    """One request, or something that happens outside the service and cannot die with it."""

    name: str
    act: Callable[[Instance], object]
    of_service: bool = True


@dataclass(frozen=True)
class Scenario:
    """A story: what has happened `before` is there when a run begins; a process may die in each of the `steps`."""

    name: str
    workflows: tuple[Mapping[str, Any], ...]
    steps: tuple[Step, ...]
    #: The statuses in the end, by task; a skipped one with its cause.
    ends: Mapping[str, str]
    before: tuple[Step, ...] = ()
    #: What a task's configuration lets happen while the task works.
    events: Mapping[str, Callable[[Instance], object]] = field(default_factory=dict)
    #: A task whose work may be left out once somebody has died.
    needless: str = ""
    #: Processes die only where this is part of a point's name; for what must be waited for.
    only: str = ""

    def prepare(self, instance: Instance) -> None:
        """Bring about what every run begins with."""
        instance.events = self.events
        for workflow in self.workflows:
            instance.store(workflow)
        for step in self.before:
            step.act(instance)

    def live(self, instance: Instance) -> None:
        """Take the steps that are left, and then whatever time and the sweep bring."""
        instance.events = self.events
        for step in self.steps[len(instance.journal.read("step")) :]:
            with instance.points.watched(step.of_service):
                step.act(instance)
            instance.journal.write("step", name=step.name)
        settle(instance)

    def go_on(self, instance: Instance) -> None:
        """Live on after another process has died in a step: its request comes again, and time passes."""
        instance.events = self.events
        interrupted = self.steps[len(instance.journal.read("step"))]
        _repeat(instance, interrupted)
        instance.journal.write("step", name=interrupted.name)
        self.live(instance)

    def live_without_an_answer(self, instance: Instance) -> None:
        """Take all steps, while one answer is lost; whoever has asked for that step asks again."""
        instance.events = self.events
        for step in self.steps:
            with instance.points.watched(step.of_service), suppress(NotAccepted, Unavailable, DatabaseUnavailable):
                step.act(instance)
            if instance.points.has_lost:
                instance.points.lost = None
                _repeat(instance, step)
        settle(instance)


def _repeat(instance: Instance, step: Step) -> None:
    # It comes again at once, while leases that nobody holds still run, and once more when they are over.
    step.act(instance)
    mend(instance)
    step.act(instance)
    mend(instance)


def mend(instance: Instance) -> None:
    """What has been left behind runs out, and the sweep sees it."""
    _let_pass(instance, LEFT_BEHIND, LONG_SECONDS)
    instance.change(_HANDED_BACK_IS_DUE)
    instance.sweeps.sweep()


def settle(instance: Instance) -> None:
    """Deliver, and let time pass and the sweep run, until nothing moves any more."""
    for _ in range(_MOST_ROUNDS):
        instance.deliver_all()
        if instance.rows(_IN_MOTION) == [(0,)]:
            return
        _let_pass(instance, EVERYTHING, LONG_SECONDS)
        instance.sweeps.sweep()
    raise AssertionError(f"still in motion: {instance.rows('SELECT * FROM batch_task')}")


def starts(workflow: str = "cake", batch_id: str = "2024-03") -> Step:
    """A workflow message opens a batch."""
    return Step(
        f"{workflow} {batch_id} is started",
        lambda instance: instance.push(workflow_message(workflow, batch_id), f"start {workflow} {batch_id}"),
    )


def lands(name: str, generation: int = 1) -> Step:
    """An object lands in the bucket."""
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": "landing",
        "objectId": name,
        "objectGeneration": str(generation),
    }
    resource = {"bucket": "landing", "name": name, "generation": str(generation), "size": "5", "metadata": {}}
    message_id = f"{name}#{generation}"
    return Step(f"{message_id} lands", lambda instance: instance.push(resource, message_id, attributes))


def delivered() -> Step:
    """Pub/Sub delivers all that is in the topic, and all that this causes."""
    return Step("all is delivered", lambda instance: instance.deliver_all())


def executed(task: str, batch_id: str = "2024-03") -> Step:
    """Pub/Sub delivers the message of one task."""

    def deliver(instance: Instance) -> None:
        instance.push(execute_message(_task_id(instance, task), batch_id), f"execute {task}")

    return Step(f"{task} is delivered", deliver)


def completed(task: str, status: str, batch_id: str = "2024-03", **more: Any) -> Step:
    """An outside system says that it is done."""

    def say(instance: Instance) -> None:
        message = completed_message(_task_id(instance, task), batch_id, status, **more)  # type: ignore[arg-type]
        instance.push(message, f"{task} {status} {json.dumps(more)}")

    return Step(f"{task} is said to be {status}", say)


def swept() -> Step:
    """The kick of the minute."""
    return Step("the sweep", lambda instance: instance.sweeps.sweep())


def kicked() -> Step:
    """The same, as a message."""
    return Step("the sweep's message", lambda instance: instance.push(sweep_message(), "kick"))


def time_passes(seconds: float = LONG_SECONDS) -> Step:
    """All that the sweep goes by comes nearer."""
    return Step("time passes", lambda instance: _let_pass(instance, EVERYTHING, seconds), of_service=False)


def messages_are_lost() -> Step:
    """Nothing of what is in the topic is ever delivered."""

    def lose(instance: Instance) -> None:
        while waiting := instance.journal.next_message():
            instance.journal.write("acknowledged", number=waiting[0])

    return Step("messages are lost", lose, of_service=False)


def job_ends(task: str) -> Step:
    """The work of a task ends outside."""
    return Step(
        f"the job of {task} ends", lambda instance: instance.journal.write("ended", task=task), of_service=False
    )


def asks(reason: str, move: Callable[[Instance, str], object], *, known_by: str = "reason") -> Step:
    """A person asks for something, once; having had no answer, they look whether it was done and ask again if not.

    `move` is given the reason. The audit row is known by its column `known_by`, in which that stands.
    """

    def ask(instance: Instance) -> None:
        done = instance.rows(f"SELECT count(*) FROM audit WHERE {known_by} = :reason", reason=reason)
        if done == [(0,)]:
            move(instance, reason)

    return Step(f"a person: {reason}", ask)


def shortest_leases(instance: Instance) -> None:
    """Leases are renewed while a test watches."""
    instance.change("UPDATE task_version SET lease_seconds = 1")


def does(name: str, act: Callable[[Instance], object], *, of_service: bool = True) -> Step:
    """Anything else."""
    return Step(name, act, of_service)


def _let_pass(instance: Instance, what: Mapping[str, tuple[str, ...]], seconds: float) -> None:
    for table, columns in what.items():
        moved = ", ".join(f"{column} = {column} - :seconds * interval '1 second'" for column in columns)
        instance.change(f"UPDATE {table} SET {moved}", seconds=seconds)


def _task_id(instance: Instance, task: str) -> int:
    task_id: int = instance.rows("SELECT task_id FROM task WHERE name = :task", task=task)[0][0]
    return task_id
