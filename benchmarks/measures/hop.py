"""A hop: how long after its parent's commit a task begins."""

from __future__ import annotations

from benchmarks.figures import Figure, percentile
from benchmarks.measures.measuring import Bench
from benchmarks.room import Room, open_room
from benchmarks.shapes import chain

LENGTH = 100
ROUNDS = 10

#: Milliseconds from the commit of each parent (Postgres keeps the moment of the transaction that has written the
#: outcome into the parent's row of the task log), and from the statement that wrote it, to the first line of the
#: child's `start`, which looks at the same clock.
HOPS = """
    SELECT 1000 * (CAST(c.details ->> 'began' AS float) - extract(epoch FROM pg_xact_commit_timestamp(p.xmin))),
           1000 * (CAST(c.details ->> 'began' AS float) - extract(epoch FROM p.ended_at))
      FROM task_log c
      JOIN task_batch b ON b.workflow_id = c.workflow_id AND b.batch_id = c.batch_id
      JOIN task_dependency d ON d.version_id = b.version_id AND d.child_id = c.task_id
      JOIN task_log p ON p.workflow_id = c.workflow_id AND p.batch_id = c.batch_id AND p.task_id = d.parent_id
     WHERE c.batch_id LIKE :batches
"""


def measure(bench: Bench) -> list[Figure]:
    """Chains of a hundred tasks, one after the other, in a service that is warm."""
    with open_room(bench.postgres) as room:
        room.apply("chain", chain(LENGTH))
        room.run("chain", ["warm"])
        for number in range(ROUNDS):
            bench.say(f"chain {number + 1} of {ROUNDS}")
            room.run("chain", [f"round-{number}"])
        hops = hops_of(room, "round-%")
    commits = [from_commit for from_commit, _ in hops]
    note = f"{len(hops)} hops of {ROUNDS} chains, loop-back delivery"
    return [
        Figure("hop_p50", percentile(commits, 50), note),
        Figure("hop_p99", percentile(commits, 99), note),
        Figure("hop_from_outcome_p50", percentile([outcome for _, outcome in hops], 50), note),
    ]


def hops_of(room: Room, batches: str) -> list[tuple[float, float]]:
    """(from the commit, from the outcome), in ms, of each hop of the batches whose ids are like this."""
    return [(float(commit), float(outcome)) for commit, outcome in room.rows(HOPS, batches=batches)]
