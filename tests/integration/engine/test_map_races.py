"""Elements end while people and newer data move their task: nothing is lost, and nobody waits in a circle."""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from zlib import crc32

import pytest

from database.attempts import claim
from database.dependencies import lock_descendants_with_elements
from database.sessions import Transaction
from database.statuses import Status
from run.engine.dependency_checker import reset_with_descendants
from run.engine.expanding import Expands, write_elements
from run.errors import Refused
from run.kinds.kind import Work
from tests.engine_room import ME, EngineRoom, failing
from tests.integration.engine.test_map import TOKEN, kitchen
from tests.integration.engine.test_move_races import at_the_same_moment, deadlocks

ROUNDS = int(os.environ.get("BARRIER_ROUNDS", "2000"))
ELEMENTS = 8


@pytest.mark.timeout(max(300, ROUNDS // 5))
def test_the_task_ends_exactly_once_when_its_last_elements_end_at_the_same_moment(room: EngineRoom) -> None:
    rounds = ROUNDS // 10
    kitchen(room, list("ab"), started=False)
    key = room.key("cook")

    def wait_for_the_other(_work: Work) -> None:
        finish_line.wait()

    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            batch = room.start(str(number)).batch_id
            room.told.orders.pop("cook", None)
            room.execute("list", batch)
            room.execute("cook", batch)
            room.publisher.messages.clear()
            room.told.orders["cook"] = wait_for_the_other
            finish_line = threading.Barrier(2)
            keys = [replace(key, batch_id=batch, element=element) for element in (0, 1)]
            list(pool.map(room.life.execute, keys))
            assert room.published() == ["serve"], f"round {number}"
    statement = "SELECT status, count(*) FROM task_log WHERE task_id = :t AND element = -1 GROUP BY 1"
    assert room.rows(statement, t=key.task_id) == [("SUCCESS", rounds)]


@pytest.mark.timeout(max(300, ROUNDS // 5))
def test_elements_and_moves_of_their_task_never_wait_for_each_other_in_a_circle(room: EngineRoom) -> None:
    kitchen(room, list(range(ELEMENTS)), started=False, max_failures=2)
    chance = random.Random(1)

    def sometimes_fail(work: Work) -> None:
        if crc32(f"{work.batch_id} {work.element} {work.attempt}".encode()) % 3 == 0:
            failing("no")(work)

    room.told.orders["cook"] = sometimes_fail
    key = room.key("cook")
    for number in range(max(1, ROUNDS // 50)):
        batch_id = room.start(str(number)).batch_id
        room.execute("list", batch_id)
        room.execute("cook", batch_id)
        room.publisher.messages.clear()
        run = [
            partial(room.life.execute, replace(key, batch_id=batch_id, element=element)) for element in range(ELEMENTS)
        ]
        at_the_same_moment(
            *run, partial(_some_move, room, batch_id, chance), partial(_some_move, room, batch_id, chance)
        )
        room.end(batch_id)
    assert deadlocks(room) == 0
    assert room.rows("SELECT count(*) FROM task_log WHERE status = 'PROCESSING'") == [(0,)]


def _some_move(room: EngineRoom, batch_id: str, chance: random.Random) -> None:
    element = chance.choice([None, chance.randrange(ELEMENTS)])
    task = room.task("cook", batch_id, element=element)
    try:
        match chance.randrange(5):
            case 0:
                room.moves.mark_task(task, ME, chance.choice([Status.SUCCESS, Status.ERROR, Status.SKIPPED]))
            case 1:
                room.moves.rerun_task(task, ME, downstream=chance.random() < 0.5)
            case 2:
                room.moves.rerun_batch("cake", batch_id, ME)
            case 3:
                room.moves.cancel_batch("cake", batch_id, ME)
            case _:
                listing = room.key("list", batch_id)
                checked = room.database.transact(lambda tx: reset_with_descendants(tx, listing))
                room.life.publish(batch_id, checked.released, checked.elements)
    except Refused:
        return


def test_whoever_waits_for_a_task_that_is_given_elements_has_those_too_when_it_has_the_task(room: EngineRoom) -> None:
    kitchen(room, list("ab"))
    cook = room.key("cook")
    claimed = room.database.transact(lambda tx: claim(tx, cook, TOKEN, ["told"]))
    assert claimed is not None
    is_given = threading.Event()

    def expand(tx: Transaction) -> None:
        write_elements(tx, claimed, Expands(list("ab")))
        is_given.set()
        while not room.somebody_waits_for_a_lock():
            pass

    def free_elements_beside(tx: Transaction) -> list[tuple[int]]:
        lock_descendants_with_elements(tx, cook)
        return room.rows("SELECT element FROM batch_task WHERE element >= 0 FOR NO KEY UPDATE SKIP LOCKED")

    with ThreadPoolExecutor(2) as pool:
        expanding = pool.submit(room.database.transact, expand)
        is_given.wait()
        assert pool.submit(room.database.transact, free_elements_beside).result() == []
        expanding.result()
