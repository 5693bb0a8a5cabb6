"""People's moves against a completion of the same moment: nothing is lost, doubled or locked for ever."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from zlib import crc32

import pytest

from database.dependencies import lock_batch_tasks
from database.sessions import Transaction
from database.statuses import Status
from run.engine.dependency_checker import judge_and_settle
from run.engine.newest_version import move_to_newest_version
from run.errors import Refused
from run.handlers.file import FileHandler
from run.kinds.kind import Work
from tests.engine_room import ME, EngineRoom, failing
from tests.integration.engine.test_arrivals import SALES, land, wants
from tests.local_parts import eventually

ROUNDS = int(os.environ.get("BARRIER_ROUNDS", "2000"))
#: A round here is several transactions; in a long run they are as many as those of the barrier.
MOVE_ROUNDS = max(1, ROUNDS // 20)


def at_the_same_moment(*acts: Callable[[], object]) -> None:
    """Let all of these begin at once; raises what any of them raises."""
    line = threading.Barrier(len(acts))

    def act(one: Callable[[], object]) -> None:
        line.wait()
        one()

    with ThreadPoolExecutor(len(acts)) as pool:
        list(pool.map(act, acts))


def deadlocks(room: EngineRoom) -> int:
    """Deadlocks that the server has met in this database, whether or not they were made good."""
    count: int = room.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0]
    return count


@pytest.mark.timeout(max(600, ROUNDS // 10))
def test_a_failure_is_marked_as_success_while_its_sibling_succeeds(room: EngineRoom) -> None:
    room.told.orders["broken"] = failing("no")
    room.apply({"broken": [], "slow": [], "child": ["broken", "slow"]})
    slow = room.key("slow")
    for number in range(MOVE_ROUNDS):
        batch_id = str(number)
        room.start(batch_id)
        room.publisher.messages.clear()
        room.execute("broken", batch_id)
        at_the_same_moment(
            partial(room.moves.mark_task, room.task("broken", batch_id), ME, Status.SUCCESS),
            partial(room.life.execute, replace(slow, batch_id=batch_id)),
        )
        assert room.statuses(batch_id)["child"] == "NEW", f"round {number}"
        assert room.published() == ["child"], f"round {number}"
    assert deadlocks(room) == 0


@pytest.mark.timeout(max(600, ROUNDS // 10))
def test_a_parent_runs_again_with_all_below_while_its_sibling_succeeds(room: EngineRoom) -> None:
    room.apply({"fast": [], "slow": [], "child": ["fast", "slow"]})
    slow, fast = room.key("slow"), room.key("fast")
    for number in range(MOVE_ROUNDS):
        batch_id = str(number)
        room.start(batch_id)
        room.execute("fast", batch_id)
        room.publisher.messages.clear()
        at_the_same_moment(
            partial(room.moves.rerun_task, room.task("fast", batch_id), ME, downstream=True),
            partial(room.life.execute, replace(slow, batch_id=batch_id)),
        )
        room.publisher.messages.clear()
        room.life.execute(replace(fast, batch_id=batch_id))
        assert room.statuses(batch_id) == {"fast": "SUCCESS", "slow": "SUCCESS", "child": "NEW"}, f"round {number}"
        assert room.published() == ["child"], f"round {number}"
    assert deadlocks(room) == 0


@pytest.mark.timeout(max(600, ROUNDS // 10))
def test_a_batch_is_cancelled_while_its_last_tasks_end(room: EngineRoom) -> None:
    room.apply({"left": [], "right": [], "child": ["left", "right"]})
    keys = [room.key("left"), room.key("right")]
    outcomes = set()

    def cancel(batch_id: str) -> None:
        try:
            room.moves.cancel_batch("cake", batch_id, ME)
        except Refused:
            outcomes.add("refused")

    for number in range(MOVE_ROUNDS):
        batch_id = str(number)
        room.start(batch_id)
        at_the_same_moment(
            partial(cancel, batch_id),
            *(partial(room.life.execute, replace(key, batch_id=batch_id)) for key in keys),
        )
        [(status, open_tasks)] = room.rows(
            "SELECT b.status, count(*) FILTER (WHERE t.status IN ('WAITING', 'NEW', 'PROCESSING')) "
            "FROM task_batch b JOIN batch_task t USING (workflow_id, batch_id) WHERE b.batch_id = :b GROUP BY b.status",
            b=batch_id,
        )
        outcomes.add(status)
        assert (status, open_tasks) == ("CANCELLED", 0), f"round {number}"
    assert outcomes == {"CANCELLED"}
    assert room.rows("SELECT count(*) FROM task_log WHERE status = 'PROCESSING'") == [(0,)]
    assert deadlocks(room) == 0


@pytest.mark.timeout(max(600, ROUNDS // 10))
def test_a_batch_moves_to_a_version_with_another_parent_while_the_old_one_succeeds(room: EngineRoom) -> None:
    room.apply({"a": [], "child": ["a"]})
    key = room.key("a")
    rounds = max(1, MOVE_ROUNDS // 2)
    for number in range(rounds):
        room.start(str(number))
    room.publisher.messages.clear()
    room.apply({"a": [], "new": [], "child": ["a", "new"]})
    new = room.key("new")
    for number in range(rounds):
        batch_id = str(number)
        at_the_same_moment(
            partial(room.moves.rerun_batch, "cake", batch_id, ME, failed=False, latest=True),
            partial(room.life.execute, replace(key, batch_id=batch_id)),
        )
        assert room.statuses(batch_id) == {"a": "SUCCESS", "new": "NEW", "child": "WAITING"}, f"round {number}"
        room.life.execute(replace(new, batch_id=batch_id))
        assert room.statuses(batch_id)["child"] == "NEW"
        room.publisher.messages.clear()
    assert deadlocks(room) == 0


@pytest.mark.timeout(max(600, ROUNDS // 10))
def test_a_batch_is_cancelled_while_it_moves_to_a_version_with_another_task(room: EngineRoom) -> None:
    rounds = max(1, MOVE_ROUNDS // 2)
    room.apply({"a": []})
    for number in range(rounds):
        room.start(str(number))
    room.apply({"a": [], "new": []})
    for number in range(rounds):
        batch_id = str(number)
        at_the_same_moment(
            partial(room.moves.rerun_batch, "cake", batch_id, ME, failed=False, latest=True),
            partial(room.moves.cancel_batch, "cake", batch_id, ME),
        )
        [(last,)] = room.rows(
            "SELECT action FROM audit WHERE subject = :s ORDER BY audit_id DESC LIMIT 1", s=f"batch cake {batch_id}"
        )
        if last == "cancel":
            assert room.statuses(batch_id) == {"a": "CANCELLED", "new": "CANCELLED"}, f"round {number}"
            assert room.batch_status(batch_id) == "CANCELLED"
        else:
            assert room.statuses(batch_id) == {"a": "CANCELLED", "new": "NEW"}, f"round {number}"
    assert deadlocks(room) == 0


#: Two parents of two children each, declared so that each names the children in another order; shortcuts; a cascade.
TANGLE: dict[str, list[str]] = {
    "p1": [], "p2": [], "p3": [],
    "c1": ["p1", "p2"], "c2": ["p2", "p1"], "c3": ["p3", "p1"], "quick": ["p1", "p2", "p3"],
    "d1": ["c1", "c2"], "d2": ["c2", "c1", "c3"], "d3": ["quick", "c3"], "end": ["d1", "d2", "d3"],
}  # fmt: skip


@pytest.mark.timeout(max(600, ROUNDS // 10))
def test_completions_cascades_and_moves_in_one_batch_never_wait_for_each_other_in_a_circle(room: EngineRoom) -> None:
    details = {"quick": {"rule": "one_success"}, "end": {"rule": "all_done"}}
    room.apply(TANGLE, details={name: {"success_may_skip": True, **details.get(name, {})} for name in TANGLE})
    chance = random.Random(1)

    def sometimes_fail(work: Work) -> None:
        if crc32(f"{work.batch_id} {work.task}".encode()) % 3 == 0:
            failing("no")(work)

    room.told.orders = dict.fromkeys(TANGLE, sometimes_fail)
    keys = {name: room.key(name) for name in TANGLE}
    for number in range(max(1, ROUNDS // 50)):
        batch_id = str(number)
        room.start(batch_id)
        while room.publisher.messages:
            names = room.published()
            room.publisher.messages.clear()
            moves = [] if chance.random() < 0.5 else [partial(_some_move, room, batch_id, chance)]
            run = [partial(room.life.execute, replace(keys[name], batch_id=batch_id)) for name in names]
            at_the_same_moment(*run, *moves)
        room.end(batch_id)
    assert deadlocks(room) == 0


def _some_move(room: EngineRoom, batch_id: str, chance: random.Random) -> None:
    task = room.task(chance.choice(sorted(TANGLE)), batch_id)
    try:
        if chance.random() < 0.5:
            room.moves.mark_task(task, ME, chance.choice([Status.SUCCESS, Status.ERROR, Status.SKIPPED]))
        else:
            room.moves.rerun_task(task, ME, downstream=chance.random() < 0.7)
    except Refused:
        return


@pytest.mark.parametrize("takes_file", [False, True])
def test_a_claim_that_has_waited_for_another_version_does_the_work_of_that_one(
    room: EngineRoom, files: FileHandler, takes_file: bool
) -> None:
    before, after = ({"kind": "told"}, {"kind": "told_outside"})
    if takes_file:
        before, after = wants(SALES), {**wants(SALES), "kind": "told_outside"}
    room.apply({"a": []}, details={"a": before})
    key = room.start()
    if takes_file:
        land(files, "sales/2024-03.csv")
    room.publisher.messages.clear()
    room.apply({"a": []}, details={"a": after})
    claiming = threading.Thread(target=room.execute, args=("a",))

    def move_while_it_waits(tx: Transaction) -> None:
        lock_batch_tasks(tx, key)
        assert move_to_newest_version(tx, key, {}) is not None
        judge_and_settle(tx, key, lock_batch_tasks(tx, key))
        claiming.start()
        eventually(room.somebody_waits_for_a_lock, "the wait of the claim")

    room.database.transact(move_while_it_waits)
    claiming.join(30)
    starts = (room.told.starts("a") + room.told_file.starts("a"), room.told_outside.starts("a"))
    assert starts == (0, 1)
