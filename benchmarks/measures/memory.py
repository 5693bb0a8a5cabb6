"""Whether the memory of the service grows with the size of a batch."""

from __future__ import annotations

from benchmarks.figures import Figure
from benchmarks.measures.measuring import Bench
from benchmarks.room import open_room
from benchmarks.shapes import chains
from benchmarks.usage import peak_memory

#: Chains beside each other: as many tasks are ready at once in the small batch as in the large one.
WIDTH = 100
SMALL = 1_000
LARGE = 20_000
FULL = 100_000
LONGEST_SECONDS = 1_800
MIB = 1024 * 1024


def measure(bench: Bench) -> list[Figure]:
    """The most memory that a service of its own had, for each of two batches."""
    size = FULL if bench.is_full else LARGE
    small, large = (_peak(bench, tasks) for tasks in (SMALL, size))
    note = f"{size:,} tasks {large / MIB:.0f} MiB, {SMALL:,} tasks {small / MIB:.0f} MiB, {WIDTH} chains each"
    return [Figure("memory_ratio", large / small, note), Figure("memory_large", large / MIB, f"{size:,} tasks")]


def _peak(bench: Bench, tasks: int) -> int:
    with open_room(bench.postgres) as room:
        bench.say(f"storing a workflow of {tasks:,} tasks")
        room.apply("chains", chains(WIDTH, tasks // WIDTH))
        bench.say(f"a batch of {tasks:,} tasks")
        room.run("chains", ["large"], seconds=LONGEST_SECONDS)
        return peak_memory(room)
