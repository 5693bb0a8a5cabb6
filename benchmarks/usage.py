"""How much processor time and memory programs have used, from the kernel's table of processes."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.room import Room


@dataclass(frozen=True)
class Usage:
    """Seconds of processor time so far: of the service, of Postgres, of everybody on this machine; and now."""

    service: float
    postgres: float
    machine: float
    at: float

    @classmethod
    def now(cls, room: Room) -> Usage:
        """Read all of it."""
        busy = psutil.cpu_times()
        everybody = sum(busy) - busy.idle - getattr(busy, "iowait", 0) - getattr(busy, "guest", 0)
        return cls(sum(map(_tree, services_of(room))), _tree(postgres_of(room)), everybody, time.monotonic())

    def since(self, before: Usage) -> Usage:
        """What was used between `before` and this."""
        return Usage(
            self.service - before.service,
            self.postgres - before.postgres,
            self.machine - before.machine,
            self.at - before.at,
        )

    @property
    def others(self) -> float:
        """The part of the machine, from 0 to 1, that neither the service nor Postgres has used."""
        return max(0.0, self.machine - self.service - self.postgres) / (self.at * (psutil.cpu_count() or 1))


def services_of(room: Room) -> list[psutil.Process]:
    """The first process of each instance of the service: gunicorn's, whose child is the worker."""
    binds = {f"--bind={service.url.removeprefix('http://')}" for service in room.services}
    return [child for child in psutil.Process().children() if binds & set(child.cmdline())]


def postgres_of(room: Room) -> psutil.Process:
    """The first process of Postgres."""
    return psutil.Process(int((room.postgres.folder / "data" / "postmaster.pid").read_text().split()[0]))


def peak_memory(room: Room) -> int:
    """The most memory that the service's worker has had, in bytes."""
    [service] = services_of(room)
    [worker] = service.children()
    [line] = [line for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) * 1024


def _tree(root: psutil.Process) -> float:
    # A process that has ended counts in its parent's children_*.
    seconds = 0.0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:4])
    return seconds
