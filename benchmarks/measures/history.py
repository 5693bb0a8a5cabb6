"""Whether a hop gets dearer as the history grows."""

from __future__ import annotations

from benchmarks.figures import Figure, percentile
from benchmarks.measures.hop import hops_of
from benchmarks.measures.measuring import Bench
from benchmarks.room import Room, open_room
from benchmarks.shapes import chain

LENGTH = 100
ROUNDS = 6
LITTLE = 10_000
MUCH = 1_000_000
FULL = 10_000_000
#: Rows that are written in one transaction.
PORTION = 1_000

#: The past of the same workflow: batches whose tasks have all succeeded, as the engine would have left them.
PAST = (
    """
    INSERT INTO task_batch (workflow_id, batch_id, version_id, params, status, created_at, ended_at)
    SELECT workflow_id, 'past-' || number, version_id, '{}', 'SUCCESS', clock_timestamp(), clock_timestamp()
      FROM workflow_version, generate_series(CAST(:first AS int), :last) number
    """,
    """
    INSERT INTO batch_task (workflow_id, batch_id, task_id, position, status, attempt)
    SELECT v.workflow_id, 'past-' || number, t.task_id, t.position, 'SUCCESS', 1
      FROM workflow_version v JOIN task_version t USING (version_id),
           generate_series(CAST(:first AS int), :last) number
    """,
    """
    INSERT INTO task_log (workflow_id, batch_id, task_id, attempt, status, started_at, ended_at, details)
    SELECT v.workflow_id, 'past-' || number, t.task_id, 1, 'SUCCESS', clock_timestamp(), clock_timestamp(),
           '{"began": 1.0}'
      FROM workflow_version v JOIN task_version t USING (version_id),
           generate_series(CAST(:first AS int), :last) number
    """,
)


def measure(bench: Bench) -> list[Figure]:
    """Chains beside little and beside much history, in turn, each in a service of its own."""
    much = FULL if bench.is_full else MUCH
    with open_room(bench.postgres) as little_room, open_room(bench.postgres) as much_room:
        for room, rows in ((little_room, LITTLE), (much_room, much)):
            room.apply("chain", chain(LENGTH))
            _write_past(bench, room, rows)
            room.run("chain", ["warm"])
        for number in range(ROUNDS):
            bench.say(f"chains, round {number + 1} of {ROUNDS}")
            for room in (little_room, much_room):
                room.run("chain", [f"round-{number}"])
        little_hop, much_hop = (_p50(room) for room in (little_room, much_room))
    note = f"{much:,} rows of the task log {much_hop:.2f} ms, {LITTLE:,} rows {little_hop:.2f} ms"
    return [Figure("history_ratio", much_hop / little_hop, note)]


def _p50(room: Room) -> float:
    return percentile([from_commit for from_commit, _ in hops_of(room, "round-%")], 50)


def _write_past(bench: Bench, room: Room, rows: int) -> None:
    batches = rows // LENGTH
    for first in range(1, batches + 1, PORTION):
        bench.say(f"writing history: {(first - 1) * LENGTH:,} of {rows:,} rows")
        for statement in PAST:
            room.change(statement, first=first, last=min(first + PORTION - 1, batches))
    for statement in ("ANALYZE task_batch", "ANALYZE batch_task", "ANALYZE task_log"):
        room.change(statement)
