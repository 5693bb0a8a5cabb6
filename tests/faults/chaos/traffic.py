"""What comes from outside: batches are asked for, files land, and an outside system says what it has done."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from database.errors import DatabaseError
from database.keys import WHOLE
from run.errors import Unavailable
from run.local.topics import EmulatorTopic
from run.pubsub.messages import sweep_message, workflow_message
from tests.faults.chaos.graphs import DrawnTask, DrawnWorkflow, Outcome, draw_workflow, make_sleepers
from tests.faults.chaos.room import LANDING, Room, landed_object, seeded
from tests.faults.chaos.world import Address, Deed, What

STEP_SECONDS = 0.2
#: How many batches of a workflow there are before another one is drawn.
BATCHES_OF_A_WORKFLOW = 3
GENERATION = "1700000000000000"

_COUNTS = "SELECT count(*), count(*) FILTER (WHERE status = 'PROCESSING') FROM task_batch"


def publish(topic: EmulatorTopic, data: Mapping[str, Any], attributes: Mapping[str, str] | None = None) -> None:
    """Publish a message; what comes from outside does not get lost because the emulator is slow for a moment."""
    while True:
        try:
            return topic.publish(json.dumps(data).encode(), attributes or {})
        except Unavailable:
            time.sleep(STEP_SECONDS)


@dataclass(frozen=True)
class StartedBatch:
    """A batch that was asked for."""

    workflow: DrawnWorkflow
    batch: str


@dataclass
class Feeder:
    """Keeps a number of batches open: by name, by their files, or by both at once, and all of it sometimes twice."""

    room: Room
    batches: list[StartedBatch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = seeded(self.room.plan, "batches")
        self._drawn = self._draw()
        self._sleepers = make_sleepers()

    def feed(self, ending: threading.Event) -> None:
        """Start batches until the end; in calm weather only the sleepers, when everything else has come to rest."""
        while not ending.wait(STEP_SECONDS):
            # The database may be down for a moment.
            with suppress(DatabaseError):
                self._feed_once(ending)

    def _feed_once(self, ending: threading.Event) -> None:
        if self.room.is_calm.is_set():
            if not self.room.has_sleepers.is_set() and self._open_batches() == 0:
                self._start(self._sleepers)
                self.room.has_sleepers.set()
            return
        self.room.has_sleepers.clear()
        while not (ending.is_set() or self.room.is_calm.is_set()) and self._open_batches() < self.room.plan.most_open:
            self._start_drawn()

    def kick_sweep(self) -> None:
        """Kick the sweep, as Cloud Scheduler does."""
        publish(self.room.sweep_topic, sweep_message())

    def _open_batches(self) -> int:
        # A batch that was asked for and is not there yet is open, too.
        [(there, still_open)] = self.room.rows(_COUNTS)
        return int(still_open) + len(self.batches) - int(there)

    def _draw(self) -> DrawnWorkflow:
        return draw_workflow(self._random, f"w{len(self.batches)}", self.room.plan)

    def _start_drawn(self) -> None:
        self._start(self._drawn)
        if len(self.batches) % BATCHES_OF_A_WORKFLOW == 0:
            self._drawn = self._draw()

    def _start(self, workflow: DrawnWorkflow) -> None:
        # When the database does not answer, the same one is stored again the next time.
        self.room.store(workflow)
        started = StartedBatch(workflow, str(len(self.batches)))
        self.batches.append(started)
        self._ask_for(started)

    def _ask_for(self, started: StartedBatch) -> None:
        files = started.workflow.file_tasks
        orders: list[Callable[[], None]] = [partial(self._land, started, task) for task in files]
        if not files or self._random.random() < 0.5:
            orders.append(partial(self._start_by_name, started))
        orders += [order for order in orders if self._random.random() < 0.3]
        self._random.shuffle(orders)
        for order in orders:
            order()

    def _start_by_name(self, started: StartedBatch) -> None:
        publish(self.room.topic, workflow_message(started.workflow.name, started.batch))

    def _land(self, started: StartedBatch, task: str) -> None:
        attributes = {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": LANDING,
            "objectId": landed_object(started.workflow.name, task, started.batch),
            "objectGeneration": GENERATION,
        }
        publish(self.room.topic, {"size": "1", "metadata": {}}, attributes)


class OutsideSystem:
    """Does what is handed over to it and says so, sometimes twice, and sometimes before it has been handed over."""

    def __init__(self, room: Room, feeder: Feeder) -> None:
        self._room = room
        self._feeder = feeder
        self._random = seeded(room.plan, "outside system")
        self._lock = threading.Lock()
        #: Batches of which something has been heard: they are there, and may be told of tasks that have not begun.
        self._known: set[str] = set()
        #: Mapped tasks of which an element has been heard: all of them are there.
        self._expanded: set[Address] = set()
        self._handed_over: set[tuple[Address, int]] = set()
        room.world.listeners.append(self._hear)

    def _hear(self, deed: Deed) -> None:
        workflow = self._feeder.batches[int(deed.address.batch)].workflow
        for address, task in self._new(deed.address, workflow):
            if task.is_told_early:
                self._tell_soon(address, task, 1)
        if deed.what is What.HAND_OVER:
            task = workflow.task(deed.address.task)
            is_element = deed.address.element != WHOLE
            self._do_what_is_handed_over(deed, task.elements[deed.address.element] if is_element else task)

    def _new(self, heard: Address, workflow: DrawnWorkflow) -> list[tuple[Address, DrawnTask]]:
        """What is known to be there now because this was heard."""
        whole = heard._replace(element=WHOLE)
        new: list[tuple[Address, DrawnTask]] = []
        with self._lock:
            if heard.batch not in self._known:
                self._known.add(heard.batch)
                new += [(whole._replace(task=task.name), task) for task in workflow.tasks]
            if heard != whole and whole not in self._expanded:
                self._expanded.add(whole)
                elements = workflow.task(heard.task).elements
                new += [(whole._replace(element=number), element) for number, element in enumerate(elements)]
        return new

    def _do_what_is_handed_over(self, deed: Deed, task: DrawnTask) -> None:
        with self._lock:
            is_known = (deed.address, deed.attempt) in self._handed_over
            self._handed_over.add((deed.address, deed.attempt))
        if is_known:
            return
        was_told = task.is_told_early and deed.attempt == 1
        for _ in range(task.told_times - was_told):
            self._tell_soon(deed.address, task, deed.attempt)

    def _tell_soon(self, address: Address, task: DrawnTask, attempt: int) -> None:
        timer = threading.Timer(self._random.random() * task.seconds, self._tell, (address, task, attempt))
        timer.daemon = True
        timer.start()

    def _tell(self, address: Address, task: DrawnTask, attempt: int) -> None:
        names: dict[str, Any] = {"workflow": address.workflow, "task_name": address.task, "batch_id": address.batch}
        workflow = self._feeder.batches[int(address.batch)].workflow
        result: dict[str, Any] = {"told": str(address)}
        if address.element == WHOLE:
            result["lists"] = workflow.lists_of(task.name)
        else:
            names["element"] = address.element
        said: dict[str, Any] = {"trigger_type": "task", **names, "status": "SUCCESS", "result": result}
        if attempt <= task.failures or task.outcome is Outcome.ERROR:
            said |= {"status": "ERROR", "error": f"attempt {attempt} fails, as ordered"}
        if task.failures or self._random.random() < 0.5:
            said["attempt"] = attempt
        self._room.world.do(What.TELL, address, attempt, 0)
        publish(self._room.topic, said)
