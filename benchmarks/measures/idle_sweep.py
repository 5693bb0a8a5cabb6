"""How many statements the once-a-minute kick needs when there is nothing to do."""

from __future__ import annotations

from benchmarks.figures import Figure
from benchmarks.measures.measuring import Bench
from benchmarks.room import open_room
from benchmarks.shapes import TEN_TASKS
from benchmarks.statements import logged_statements, marked

#: The first sweeps of a new database do what is due once a day or every few minutes.
FIRST_SWEEPS = 3
SWEEP = {"trigger_type": "sweep"}


def measure(bench: Bench) -> list[Figure]:
    """Sweeps after some batches have ended."""
    with open_room(bench.postgres) as room:
        room.apply("ten", TEN_TASKS)
        with logged_statements(room):
            room.run("ten", [f"batch-{number}" for number in range(10)])
            for _ in range(FIRST_SWEEPS):
                bench.say("sweeping")
                room.push(SWEEP)
            with marked(room) as logged:
                room.push(SWEEP)
    trips = len(logged.statements)
    return [Figure("sweep_statements", len(logged.own), f"{trips} with BEGIN, COMMIT and the like")]
