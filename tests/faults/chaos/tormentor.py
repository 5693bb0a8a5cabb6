"""Who torments the services and their database: SIGKILL, SIGSTOP past the lease, Postgres restarted in every mode."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum

from tests.faults.chaos.graphs import SLEEPERS
from tests.faults.chaos.kinds import STROKE_SECONDS
from tests.faults.chaos.room import Room, TormentedService, seeded
from tests.faults.chaos.world import Address

STEP_SECONDS = 0.05
#: How long what a storm has left behind may take to come to rest; without that, nobody is killed in calm weather.
MOST_SECONDS_TO_WAIT = 120.0

#: How long after a stroke of the clock, to which work ends, something is done to a part; in seconds.
MOST_AFTER_A_STROKE = 0.02


class Torture(StrEnum):
    """What can be done to a part."""

    KILL = "kills"
    #: A kill after which nothing else happens until the work of the killed process must have gone on.
    CALM_KILL = "kills in calm weather"
    #: SIGTERM, as Cloud Run ends an instance: what does not end by itself is handed back.
    STOP = "stops by SIGTERM"
    START = "starts"
    FREEZE = "freezes"
    THAW = "thaws"
    FAST_RESTART = "fast restarts of Postgres"
    IMMEDIATE_RESTART = "immediate restarts of Postgres"
    POSTGRES_IS_BACK = "returns of Postgres"


#: What each service is tormented with first, so that even a short storm has both.
FIRST = (Torture.KILL, Torture.FREEZE)


@dataclass(frozen=True)
class Torment:
    """Something that was done to a part, when, and to which process group."""

    at: float
    what: Torture
    owner: int = 0


@dataclass
class Tormentor:
    """Torments for as long as it is told to."""

    room: Room
    done: list[Torment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = seeded(self.room.plan, "torment")

    def torment(self, seconds: float) -> None:
        """Let storms and single kills in calm weather follow each other."""
        deadline = time.monotonic() + seconds
        number = 0
        while time.monotonic() < deadline:
            self._storm(number)
            self._kill_in_calm_weather()
            number += 1

    def _storm(self, number: int) -> None:
        ending = threading.Event()
        services = self.room.services
        with ThreadPoolExecutor(len(services) + 1) as threads:
            torments = [threads.submit(self._torment_postgres, ending)]
            for index, service in enumerate(services):
                first = FIRST[(number + index) % len(FIRST)]
                torments.append(threads.submit(self._torment_service, service, first, ending))
            try:
                wait(torments, self.room.plan.storm_seconds, FIRST_EXCEPTION)
            finally:
                # After a Ctrl-C, too: the threads would go on for ever.
                ending.set()
        for torment in torments:
            torment.result()

    def _torment_service(self, service: TormentedService, first: Torture, ending: threading.Event) -> None:
        torture = first
        while not self._ends_before_a_stroke(ending, self._random.uniform(0.5, 3.0)):
            match torture:
                case Torture.KILL:
                    self._kill(service, Torture.KILL)
                    ending.wait(self._random.uniform(0.0, 1.0))
                    self._start(service)
                case Torture.STOP:
                    self._note(Torture.STOP, service)
                    service.stop()
                    self._start(service)
                case _:
                    self._freeze(service, self.room.plan.lease_seconds + self._random.uniform(0.5, 2.5))
            torture = self._random.choices((Torture.KILL, Torture.FREEZE, Torture.STOP), (5, 4, 1))[0]

    def _torment_postgres(self, ending: threading.Event) -> None:
        immediately = False
        while not self._ends_before_a_stroke(ending, self._random.uniform(1.5, 4.0)):
            immediately = not immediately
            if immediately:
                self._note(Torture.IMMEDIATE_RESTART)
                self.room.postgres.end_immediately()
            else:
                self._note(Torture.FAST_RESTART)
            self.room.postgres.restart()
            self._note(Torture.POSTGRES_IS_BACK)

    def _ends_before_a_stroke(self, ending: threading.Event, seconds: float) -> bool:
        """Wait so long and until a stroke, when much is just being completed; whether the storm has ended meanwhile."""
        if ending.wait(seconds):
            return True
        time.sleep(STROKE_SECONDS - time.time() % STROKE_SECONDS + self._random.uniform(0.0, MOST_AFTER_A_STROKE))
        return False

    def _kill_in_calm_weather(self) -> None:
        """Kill a process that has work in its hands, and wait until that has gone on."""
        self.room.is_calm.set()
        if _eventually(lambda: self.room.has_sleepers.is_set() and bool(self._victims()), MOST_SECONDS_TO_WAIT):
            [service, *_] = self._victims()
            owner, plan = service.process_group, self.room.plan
            self._kill(service, Torture.CALM_KILL)
            # Not started before: its messages come again at once when it is back, and might do the sweep's work.
            _eventually(lambda: not self._sleepers_of(owner), plan.recovery_seconds + plan.delivery_seconds + 1)
            self._start(service)
        self.room.is_calm.clear()

    def _victims(self) -> list[TormentedService]:
        return [service for service in self.room.services if self._sleepers_of(service.process_group)]

    def _sleepers_of(self, owner: int) -> set[Address]:
        return self.room.world.in_hands_of(owner, SLEEPERS)

    def _kill(self, service: TormentedService, what: Torture) -> None:
        # Noted before it is done: work that is seen afterwards is somebody else's.
        self._note(what, service)
        service.kill()

    def _start(self, service: TormentedService) -> None:
        service.start()
        self._note(Torture.START, service)

    def _freeze(self, service: TormentedService, seconds: float) -> None:
        # Not cut short by the end of the storm: it is to outlast the lease.
        self._note(Torture.FREEZE, service)
        service.freeze()
        time.sleep(seconds)
        self._note(Torture.THAW, service)
        service.thaw()

    def _note(self, what: Torture, service: TormentedService | None = None) -> None:
        self.done.append(Torment(time.time(), what, service.process_group if service else 0))


def _eventually(look: Callable[[], bool], seconds: float) -> bool:
    """Whether this has come true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(STEP_SECONDS)
    return True
