"""Ten thousand tasks with one child, and ten thousand elements of one task: each looks whether it is the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.figures import Figure
from benchmarks.measures.measuring import Bench
from benchmarks.room import INSTANCES, open_room
from benchmarks.shapes import join

PARENTS = 10_000
LONGEST_SECONDS = 400

FROM_FIRST_TO_LAST = "SELECT extract(epoch FROM max(ended_at) - min(ended_at)) FROM task_log"


def measure(bench: Bench) -> list[Figure]:
    """Both of them."""
    return [*_parents(bench), *_elements(bench)]


def _parents(bench: Bench) -> list[Figure]:
    """The seconds from the end of the first parent to that of the child."""
    with open_room(bench.postgres, instances=INSTANCES) as room:
        bench.say(f"storing a workflow of {PARENTS:,} parents")
        room.apply("join", join(PARENTS))
        bench.say(f"{PARENTS:,} parents")
        room.run("join", ["wide"], seconds=LONGEST_SECONDS)
        [(seconds,)] = room.rows(FROM_FIRST_TO_LAST)
    note = f"{INSTANCES} instances, {PARENTS / float(seconds):.0f} tasks/s"
    return [Figure("fan_in_time", float(seconds), note)]


def _elements(bench: Bench) -> list[Figure]:
    """The seconds from the end of the task that returns the list to that of the one after the elements."""
    with open_room(bench.postgres, instances=INSTANCES) as room:
        bench.say(f"{PARENTS:,} elements")
        more: Mapping[str, Mapping[str, Any]] = {"list": {"items": PARENTS}, "mapped": {"map": "list.items"}}
        room.apply("map", {"list": (), "mapped": ("list",), "after": ("mapped",)}, more)
        room.run("map", ["wide"], seconds=LONGEST_SECONDS)
        [(seconds,)] = room.rows(FROM_FIRST_TO_LAST)
    note = f"{INSTANCES} instances, {PARENTS / float(seconds):.0f} elements/s"
    return [Figure("fan_in_elements_time", float(seconds), note)]
