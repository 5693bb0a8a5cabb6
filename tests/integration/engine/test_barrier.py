"""Parents that finish at the same moment: the child starts exactly once, in every one of the rounds.

The lines that these tests guard are in database/dependencies.py: the lock of the children, its being a statement of its
own, and its taking children of every status. Each test here was seen red without one of them.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from database.attempts import claim
from database.endings import Ended, finish
from database.sessions import Transaction
from database.statuses import Status
from run.engine.dependency_checker import check_and_trigger_children, reset_with_descendants
from run.kinds.kind import Work
from tests.engine_room import EngineRoom, failing
from tests.local_parts import eventually

ROUNDS = int(os.environ.get("BARRIER_ROUNDS", "2000"))


@pytest.mark.timeout(max(600, ROUNDS // 10))
@pytest.mark.parametrize(("parents", "rounds"), [(2, ROUNDS), (8, ROUNDS // 20), (32, ROUNDS // 100)])
def test_a_child_starts_exactly_once_when_all_its_parents_finish_at_the_same_moment(
    room: EngineRoom, parents: int, rounds: int
) -> None:
    names = [f"p{number}" for number in range(parents)]
    room.apply({**{name: [] for name in names}, "child": names})

    def wait_for_the_others(_work: Work) -> None:
        finish_line.wait()

    parent_keys = [room.key(name) for name in names]
    for name in names:
        room.told.orders[name] = wait_for_the_others
    with ThreadPoolExecutor(parents) as pool:
        for number in range(rounds):
            finish_line = threading.Barrier(parents)
            batch = room.start(str(number))
            room.publisher.messages.clear()
            list(pool.map(room.life.execute, [replace(key, batch_id=batch.batch_id) for key in parent_keys]))
            started = room.published()
            assert started == ["child"], f"round {number}: published {started}"
    room.publisher.messages.clear()
    # "NEW" is a child that will start; one that was lost would be WAITING.
    assert room.rows("SELECT DISTINCT status FROM batch_task WHERE task_id = :t", t=room.key("child").task_id) == [
        ("NEW",)
    ]
    assert room.rows("SELECT count(*) FROM task_log WHERE status = 'SUCCESS'") == [(rounds * parents,)]


@pytest.mark.timeout(max(300, ROUNDS // 10))
def test_a_batch_ends_exactly_once_when_its_last_tasks_finish_at_the_same_moment(room: EngineRoom) -> None:
    room.apply({"left": [], "right": []})

    def wait_for_the_others(_work: Work) -> None:
        finish_line.wait()

    parent_keys = [room.key("left"), room.key("right")]
    for name in ("left", "right"):
        room.told.orders[name] = wait_for_the_others
    rounds = ROUNDS // 10
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            finish_line = threading.Barrier(2)
            batch = room.start(str(number))
            list(pool.map(room.life.execute, [replace(key, batch_id=batch.batch_id) for key in parent_keys]))
    assert room.rows("SELECT status, count(*) FROM task_batch GROUP BY 1") == [("SUCCESS", rounds)]


def test_a_skipped_child_that_comes_back_is_not_lost_to_a_sibling_that_was_just_finishing(room: EngineRoom) -> None:
    room.apply({"broken": [], "slow": [], "child": ["broken", "slow"]})
    room.start()
    room.told.orders["broken"] = failing("no")
    room.execute("broken")
    assert room.statuses()["child"] == "SKIPPED:upstream_failed"
    room.told.orders.clear()
    room.publisher.messages.clear()

    slow, broken = room.key("slow"), room.key("broken")
    token = "00000000-0000-0000-0000-000000000001"
    room.database.transact(lambda tx: claim(tx, slow, token, ["told"]))

    def repair() -> None:
        checked = room.database.transact(lambda tx: reset_with_descendants(tx, broken))
        room.life.publish(broken.batch_id, checked.released)
        room.execute("broken")

    repairing = threading.Thread(target=repair)

    def finish_while_it_is_repaired(tx: Transaction) -> tuple[int, ...]:
        finish(tx, slow, token, Ended(Status.SUCCESS))
        released = check_and_trigger_children(tx, slow, succeeded=True, may_skip=False).released
        repairing.start()
        # The repair must wait for this transaction; if the child were not locked, it would be over by now.
        eventually(lambda: not repairing.is_alive() or room.somebody_waits_for_a_lock(), "the repair's wait or end")
        return released

    room.life.publish(slow.batch_id, room.database.transact(finish_while_it_is_repaired))
    repairing.join()
    assert room.statuses() == {"broken": "SUCCESS", "slow": "SUCCESS", "child": "NEW"}
    assert room.published().count("child") == 1
