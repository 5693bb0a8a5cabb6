"""A chaos run from its beginning to its figures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from database.errors import DatabaseError
from run.local.repeating import Repeating
from tests.faults.chaos.evidence import gather
from tests.faults.chaos.figures import Figures, measure
from tests.faults.chaos.findings import Finding
from tests.faults.chaos.history import tell
from tests.faults.chaos.plan import Plan
from tests.faults.chaos.room import Room
from tests.faults.chaos.tormentor import Tormentor
from tests.faults.chaos.traffic import Feeder, OutsideSystem
from tests.faults.chaos.verdict import judge
from tests.faults.chaos.watcher import Watcher

STEP_SECONDS = 0.5
WATCH_SECONDS = 2.0

_OPEN = "SELECT count(*) FROM task_batch WHERE status = 'PROCESSING'"
_THERE = "SELECT count(*) FROM task_batch"


@dataclass(frozen=True)
class Report:
    """What came of a run."""

    figures: Figures
    findings: list[Finding]
    #: The findings and the histories of their batches.
    story: str


def run(plan: Plan, say: Callable[[str], object] = print) -> Report:
    """Make a run, and judge it."""
    with TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder, Room(Path(folder), plan) as room:
        feeder, tormentor, watcher = Feeder(room), Tormentor(room), Watcher(room)
        OutsideSystem(room, feeder)
        with (
            Repeating("sweep", feeder.kick_sweep, seconds=plan.sweep_seconds),
            Repeating("watcher", watcher.look, seconds=WATCH_SECONDS),
        ):
            began = time.monotonic()
            _feed_and_torment(feeder, tormentor, plan.seconds)
            seconds = time.monotonic() - began
            say(f"{len(feeder.batches)} batches were started in {seconds:.0f} s; now everything has to come to its end")
            _wait_until_all_have_ended(room, len(feeder.batches))
            seconds = time.monotonic() - began
        evidence = gather(room, feeder.batches, tormentor.done, watcher)
    findings = judge(plan, evidence)
    return Report(measure(plan, evidence, findings, seconds), findings, tell(evidence, findings))


def _feed_and_torment(feeder: Feeder, tormentor: Tormentor, seconds: float) -> None:
    ending = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        feeding = threads.submit(feeder.feed, ending)
        try:
            tormentor.torment(seconds)
        finally:
            ending.set()
    feeding.result()


def _wait_until_all_have_ended(room: Room, batches: int) -> None:
    deadline = time.monotonic() + room.plan.settle_seconds
    while time.monotonic() < deadline:
        with suppress(DatabaseError):
            [(still_open,)], [(there,)] = room.rows(_OPEN), room.rows(_THERE)
            if not still_open and there == batches:
                return
        time.sleep(STEP_SECONDS)
