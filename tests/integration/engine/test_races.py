"""Transactions that meet at the worst moment: each waits for the other, and sees what it has done."""

from __future__ import annotations

import threading

import pytest

from database.attempts import claim
from database.endings import Ended, finish
from database.files import Arrival
from database.places import NewPlace, store_places
from database.sessions import Transaction
from database.statuses import Status
from run.engine.arrivals import take_file
from run.engine.dependency_checker import check_and_trigger_children, reset_with_descendants
from run.handlers.file import FileHandler
from run.kinds.archive_file import is_archived
from tests.engine_room import EngineRoom, failing
from tests.integration.engine.test_arrivals import SALES, apply_profit, land, wants
from tests.local_parts import eventually

TOKEN = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def files(room: EngineRoom) -> FileHandler:
    return FileHandler(room.database, room.life, {"landing_bucket": "landing"}, lambda *_: None, is_archived)


def test_a_claim_that_has_waited_for_a_newer_generation_reads_that_one(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    land(files, "sales/2024-03.csv", 1)
    key = room.key("load_sales", workflow="profit")
    newer = Arrival("landing", "sales/2024-03.csv", 2, "OBJECT_FINALIZE", 5, "m")
    (wanted,) = files.find_wanted(newer.uri).wanted
    claiming = threading.Thread(target=lambda: room.database.transact(lambda tx: claim(tx, key, TOKEN, ["told_file"])))

    def take_while_it_is_claimed(tx: Transaction) -> None:
        take_file(tx, newer, wanted)
        claiming.start()
        eventually(room.somebody_waits_for_a_lock, "the other's wait")

    room.database.transact(take_while_it_is_claimed)
    claiming.join()
    read = room.rows("SELECT f.generation, f.decision FROM task_log JOIN file_log f USING (file_log_id)")
    assert read == [(2, "TAKEN")]


def test_a_batch_that_is_just_ending_is_open_again_when_one_of_its_tasks_is_reset(
    room: EngineRoom, files: FileHandler
) -> None:
    room.apply({"load": [], "other": []}, workflow="w", details={"load": wants(SALES)})
    land(files, "sales/2024-03.csv", 1)
    room.publisher.messages.clear()
    room.execute("load", workflow="w")
    other = room.key("other", workflow="w")
    room.database.transact(lambda tx: claim(tx, other, TOKEN, ["told"]))
    load = room.key("load", workflow="w")

    def run_it_again() -> None:
        checked = room.database.transact(lambda tx: reset_with_descendants(tx, load))
        room.life.publish(load.batch_id, checked.released)

    resetting = threading.Thread(target=run_it_again)

    def end_while_it_is_reset(tx: Transaction) -> None:
        finish(tx, other, TOKEN, Ended(Status.SUCCESS))
        assert check_and_trigger_children(tx, other, succeeded=True, may_skip=False).batch_outcome == "SUCCESS"
        resetting.start()
        eventually(lambda: room.somebody_waits_for_a_lock() or not resetting.is_alive(), "the reset's wait, or its end")

    room.database.transact(end_while_it_is_reset)
    resetting.join()
    assert room.batch_status() == "PROCESSING"
    room.told_file.orders["load"] = failing("bad rows")
    room.deliver_all()
    assert room.batch_status() == "ERROR"


def test_an_archive_that_ends_while_a_newer_file_comes_is_no_deadlock(room: EngineRoom, files: FileHandler) -> None:
    room.apply({"load": [], "archive": ["load"], "tell": ["archive"]}, workflow="w", details={"load": wants(SALES)})
    land(files, "sales/2024-03.csv", 1)
    room.publisher.messages.clear()
    room.execute("load", workflow="w")
    archive = room.key("archive", workflow="w")
    room.database.transact(lambda tx: claim(tx, archive, TOKEN, ["told"]))
    [(file_log_id,)] = room.rows("SELECT file_log_id FROM file_log")
    landing = threading.Thread(target=lambda: land(files, "sales/2024-03.csv", 2))
    tries: list[int] = []

    def end_while_it_lands(tx: Transaction) -> None:
        tries.append(1)
        finish(tx, archive, TOKEN, Ended(Status.SUCCESS))
        check_and_trigger_children(tx, archive, succeeded=True, may_skip=False)
        if len(tries) == 1:
            landing.start()
            eventually(room.somebody_waits_for_a_lock, "the other's wait")
        store_places(tx, [NewPlace(file_log_id, "archive", "2024-03.csv", 9)])

    room.database.transact(end_while_it_lands)
    landing.join()
    assert len(tries) == 1
    assert room.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


@pytest.mark.parametrize("policy", ["rerun", "ignore"])
def test_generations_that_land_together_are_told_apart_where_every_trigger_opens_its_own_batch(
    room: EngineRoom, files: FileHandler, policy: str
) -> None:
    details = {"load": wants(r"gs://landing/daily/.*\.csv", on_new_generation=policy)}
    room.apply({"load": []}, workflow="daily", batch="Batch_{today:%Y%m%d}_{number}", details=details)
    for number in range(30):
        both = [
            threading.Thread(target=land, args=(files, f"daily/{number}.csv", generation)) for generation in (11, 10)
        ]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
    # Whoever comes first is taken; an older one after it is superseded, a newer one opens a batch only with rerun.
    wrong = room.rows(
        "SELECT a.object FROM file_log a JOIN file_log b ON a.object = b.object AND a.generation = 10 "
        "AND b.generation = 11 WHERE a.decision = 'TAKEN' AND b.decision = 'TAKEN' "
        "AND (a.received_at > b.received_at OR :policy = 'ignore')",
        policy=policy,
    )
    assert wrong == []
    assert room.rows("SELECT count(*) FROM file_log") == [(60,)]
