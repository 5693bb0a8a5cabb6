"""Tasks per second, what each costs in processor time, and the same next to pgbench's bare hop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from benchmarks.figures import Figure
from benchmarks.measures.measuring import Bench
from benchmarks.room import INSTANCES, Room, open_room
from benchmarks.shapes import TEN_TASKS, chain, fan
from benchmarks.usage import Usage
from benchmarks.yardstick import Yardstick

ROUNDS = 3
BATCHES = 50


@dataclass(frozen=True)
class Round:
    """One round: tasks per second, and what was used meanwhile."""

    rate: float
    tasks: int
    used: Usage


def measure(bench: Bench) -> list[Figure]:
    """Chains, fans and many small batches, each pushed through `POST /`; pgbench before and after."""
    yardstick = Yardstick(bench.postgres)
    bench.say("pgbench")
    bare = [yardstick.hops_per_second()]
    with open_room(bench.postgres) as room:
        room.apply("chain", chain(100))
        room.apply("fan", fan(200))
        room.run("chain", ["warm"])
        room.run("fan", ["warm"])
        chains = _rounds(bench, room, "chain", 100)
        fans = _rounds(bench, room, "fan", 202)
    with open_room(bench.postgres, instances=INSTANCES) as room:
        room.apply("ten", TEN_TASKS)
        # Each instance takes part in one of them.
        room.run("ten", [f"warm-{number}" for number in range(INSTANCES)])
        tens = _rounds(bench, room, "ten", 10, BATCHES)
    bench.say("pgbench")
    bare.append(yardstick.hops_per_second())
    return [*_rates(chains, fans, tens, bare), *_usage(tens)]


def _rounds(bench: Bench, room: Room, workflow: str, tasks: int, batches: int = 1) -> list[Round]:
    rounds = []
    for number in range(ROUNDS):
        bench.say(f"{workflow}, round {number + 1} of {ROUNDS}")
        before = Usage.now(room)
        seconds = room.run(workflow, [f"round-{number}-{batch}" for batch in range(batches)])
        rounds.append(Round(tasks * batches / seconds, tasks * batches, Usage.now(room).since(before)))
    return rounds


def _rates(
    chains: Sequence[Round], fans: Sequence[Round], tens: Sequence[Round], bare: Sequence[float]
) -> list[Figure]:
    rates = {"chain_rate": chains, "fan_rate": fans, "batches_rate": tens}
    return [
        *(Figure(name, median(one.rate for one in rounds), _spread(rounds)) for name, rounds in rates.items()),
        Figure("instances", INSTANCES, "of the service, for the 50 batches"),
        Figure(
            "pgbench_rate", mean(bare), "before and after the batches: " + ", ".join(f"{rate:.0f}" for rate in bare)
        ),
        Figure("batches_to_pgbench", median(one.rate for one in tens) / mean(bare)),
    ]


def _usage(rounds: Sequence[Round]) -> list[Figure]:
    tasks = sum(one.tasks for one in rounds)
    service = 1000 * sum(one.used.service for one in rounds) / tasks
    postgres = 1000 * sum(one.used.postgres for one in rounds) / tasks
    note = f"{BATCHES} batches of ten tasks, {len(rounds)} rounds"
    return [
        Figure("cpu", service + postgres, note),
        Figure("cpu_service", service, note),
        Figure("cpu_postgres", postgres, note),
        Figure("others", 100 * mean(one.used.others for one in rounds), "the sender of the first messages among them"),
    ]


def _spread(rounds: Sequence[Round]) -> str:
    rates = [one.rate for one in rounds]
    return f"median of {len(rates)} rounds, {min(rates):.0f} to {max(rates):.0f}"
