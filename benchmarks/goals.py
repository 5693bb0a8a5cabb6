"""What is to be reached: every figure that is measured, with its unit and, if it has one, its goal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Better(StrEnum):
    """In which direction a figure is better."""

    LESS = "at most"
    MORE = "at least"


@dataclass(frozen=True)
class Goal:
    """What one figure says, and what it should come to."""

    what: str
    unit: str = ""
    better: Better = Better.LESS
    goal: float | None = None
    stretch: float | None = None

    def is_reached(self, value: float) -> bool | None:
        """Whether the figure is as good as its goal; None when it has none."""
        if self.goal is None:
            return None
        return value <= self.goal if self.better is Better.LESS else value >= self.goal


GOALS = {
    "hop_p50": Goal("a hop: the parent's commit to the child's first line, p50", "ms", goal=6),
    "hop_p99": Goal("the same, p99", "ms", goal=30),
    "hop_from_outcome_p50": Goal("the same from the statement that writes the parent's outcome, p50", "ms"),
    "chain_rate": Goal("a chain of 100", "tasks/s", Better.MORE),
    "fan_rate": Goal("1, then 200, then 1", "tasks/s", Better.MORE),
    "batches_rate": Goal("50 batches of ten tasks at once", "tasks/s", Better.MORE, goal=700, stretch=1300),
    "instances": Goal("instances of the service that work on them"),
    "pgbench_rate": Goal("pgbench's bare hop, 8 clients", "hops/s", Better.MORE),
    "batches_to_pgbench": Goal("50 batches of ten tasks, as a part of the bare hop", "", Better.MORE, stretch=0.2),
    "cpu": Goal("processor time of a task, the service and Postgres", "ms", goal=2.5),
    "cpu_service": Goal("the service's part of it", "ms"),
    "cpu_postgres": Goal("Postgres's part of it", "ms"),
    "others": Goal("the part of the machine that others used meanwhile", "%"),
    "layer_database_time": Goal("a completion in a layer of 100 x 100, in the database", "ms", goal=2),
    "layer_database_worst": Goal("the slowest of them", "ms"),
    "layer_statements": Goal("its statements, of the one with most", "", goal=6),
    "layer_round_trips": Goal("the same with BEGIN and COMMIT", ""),
    "row_versions": Goal("versions of rows written for a task", "", goal=6.5),
    "sweep_statements": Goal("statements of an idle sweep", "", goal=4),
    "history_ratio": Goal("a hop beside much history to one beside little, p50", "", goal=1.2),
    "fan_in_time": Goal("10,000 parents of one task, first end to last", "s", goal=20),
    "fan_in_elements_time": Goal("10,000 elements of one task, from its list to its child", "s", goal=20),
    "memory_ratio": Goal("memory for a large batch to memory for one of 1,000 tasks", "", goal=1.2),
    "validate_rate": Goal("checking a raw CSV file", "MB/s", Better.MORE),
    "convert_rate": Goal("checking it and writing it as Parquet", "MB/s", Better.MORE),
    "file_memory": Goal("memory of the child process that does it", "MiB", goal=512),
    "memory_large": Goal("memory of the service with the large batch", "MiB"),
}
