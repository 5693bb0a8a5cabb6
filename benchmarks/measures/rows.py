"""How many versions of rows a task leaves behind: each is written, logged, and one day vacuumed."""

from __future__ import annotations

from benchmarks.figures import Figure
from benchmarks.measures.measuring import Bench
from benchmarks.room import open_room
from benchmarks.shapes import TEN_TASKS

BATCHES = 50
#: Written when a workflow is applied, not when its tasks run.
DEFINITIONS = ("workflow", "workflow_version", "task", "task_version", "task_dependency", "alembic_version")

WRITTEN = """
    SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables
     WHERE relname <> ALL(:definitions) AND n_tup_ins + n_tup_upd + n_tup_del > 0
     ORDER BY 2 DESC
"""


def measure(bench: Bench) -> list[Figure]:
    """Every row that is inserted, updated or deleted in any table but those of the definitions, history included."""
    with open_room(bench.postgres) as room:
        room.apply("ten", TEN_TASKS)
        bench.say(f"{BATCHES} batches of ten")
        room.run("ten", [f"batch-{number}" for number in range(BATCHES)])
        # A connection that ends reports what it has counted.
        room.services[0].stop()
        written = room.rows(WRITTEN, definitions=list(DEFINITIONS))
    tasks = 10 * BATCHES
    note = ", ".join(f"{table} {count / tasks:.2f}" for table, count in written)
    return [Figure("row_versions", sum(count for _, count in written) / tasks, note)]
