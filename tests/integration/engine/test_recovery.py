"""What dies, is lost or comes late is mended: by the next message, by another instance, by the sweep."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from database.attempts import claim, take_over
from database.endings import Ended, finish
from database.errors import DatabaseUnavailable
from database.sessions import Database
from database.statuses import Status
from run.errors import Unavailable
from run.kinds.kind import Work
from tests.engine_room import EngineRoom

TOKEN = "00000000-0000-0000-0000-00000000000{}"


def sweep(room: EngineRoom) -> dict[str, int]:
    return room.sweep()


def pass_time(room: EngineRoom, minutes: int) -> None:
    room.pass_time(60 * minutes)


def test_a_child_whose_message_was_never_published_is_started_by_the_sweep(room: EngineRoom) -> None:
    room.apply({"a": [], "b": ["a"]})
    room.start()
    room.publisher.messages.clear()
    room.publisher.is_down = True
    room.execute("a")
    room.publisher.is_down = False
    assert room.statuses() == {"a": "SUCCESS", "b": "NEW"}
    assert sweep(room) == {}
    pass_time(room, 2)
    assert sweep(room) == {"overdue_messages": 1}
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"


def test_a_message_that_stays_unanswered_is_published_ever_more_rarely(room: EngineRoom) -> None:
    room.apply({"a": []})
    room.start()
    waits = []
    for _ in range(8):
        pass_time(room, 40)
        assert sweep(room)["overdue_messages"] == 1
        waits.append(
            round(room.rows("SELECT extract(epoch FROM publish_after - clock_timestamp()) / 60 FROM batch_task")[0][0])
        )
    assert waits == [2, 4, 8, 16, 30, 30, 30, 30]
    assert len(room.publisher.messages) == 9
    room.deliver_all()
    assert room.told.starts("a") == 1


def test_sweeps_that_overlap_share_the_work(room: EngineRoom) -> None:
    room.apply({f"t{number}": [] for number in range(200)})
    room.start()
    room.publisher.messages.clear()
    pass_time(room, 2)
    threads = [threading.Thread(target=sweep, args=(room,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(room.publisher.messages) == 200


def test_an_attempt_whose_worker_died_is_taken_over_as_the_same_attempt(room: EngineRoom) -> None:
    room.apply({"a": [], "b": ["a"]})
    room.start()
    key = room.key("a")
    dead = room.database.transact(lambda tx: claim(tx, key, TOKEN.format(1), ["told"]))
    assert dead is not None
    room.publisher.messages.clear()
    room.execute("a")
    assert room.told.starts("a") == 0, "its lease still holds"
    pass_time(room, 2)
    assert sweep(room) == {"dead_attempts": 1}
    room.deliver_all()
    assert [work.attempt for work in room.told.works] == [1, 1]
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert room.batch_status() == "SUCCESS"


def test_who_lost_a_lease_changes_nothing_any_more(room: EngineRoom) -> None:
    room.apply({"a": [], "b": ["a"]})
    room.start()
    key = room.key("a")
    room.database.transact(lambda tx: claim(tx, key, TOKEN.format(1), ["told"]))
    pass_time(room, 2)
    taken = room.database.transact(lambda tx: take_over(tx, key, TOKEN.format(2), ["told"]))
    assert taken is not None
    assert taken.attempt == 1
    late = room.database.transact(lambda tx: finish(tx, key, TOKEN.format(1), Ended(Status.ERROR, "too late")))
    assert late is None
    assert room.statuses() == {"a": "PROCESSING", "b": "WAITING"}
    assert room.database.transact(lambda tx: finish(tx, key, TOKEN.format(2), Ended(Status.SUCCESS))) == "SUCCESS"
    assert room.database.transact(lambda tx: finish(tx, key, TOKEN.format(2), Ended(Status.ERROR, "again"))) is None
    assert room.log("a") == [(1, "SUCCESS", None)]


def test_a_lease_that_has_run_out_is_still_its_owners_while_nobody_takes_it(room: EngineRoom) -> None:
    room.apply({"a": []})
    room.start()
    room.told.orders["a"] = lambda _work: pass_time(room, 5)
    room.deliver_all()
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert room.batch_status() == "SUCCESS"


def test_a_lease_is_renewed_while_the_work_goes_on(room: EngineRoom) -> None:
    room.apply({"a": []}, details={"a": {"lease_seconds": 1}})
    second = EngineRoom(room.database)
    room.start()

    def work_for_two_leases(_work: Work) -> None:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            second.execute("a")
            time.sleep(0.1)

    room.told.orders["a"] = work_for_two_leases
    room.deliver_all()
    assert second.told.works == []
    assert room.log("a") == [(1, "SUCCESS", None)]


def test_a_task_that_kills_its_worker_every_time_ends_as_an_error(room: EngineRoom) -> None:
    room.apply({"a": [], "b": ["a"]})
    room.start()
    key = room.key("a")
    room.database.transact(lambda tx: claim(tx, key, TOKEN.format(0), ["told"]))
    for token in (TOKEN.format(number) for number in range(1, 3)):
        pass_time(room, 2)
        assert room.database.transact(partial(take_over, key=key, token=token, kinds=["told"]))
    pass_time(room, 2)
    room.execute("a")
    assert room.log("a") == [(1, "ERROR", "the worker died 3 times")]
    assert room.told.works == []
    assert room.statuses()["b"] == "SKIPPED:upstream_failed"
    assert room.batch_status() == "ERROR"


def test_work_that_outlasts_a_request_is_handed_back_and_goes_on_as_the_same_attempt(room: EngineRoom) -> None:
    room.apply({"a": []})
    room.start()

    def still_running(_work: Work) -> None:
        raise Unavailable("the job is still running")

    room.told.orders["a"] = still_running
    room.deliver_all()
    for _ in range(5):
        assert room.log("a") == [(1, "PROCESSING", None)]
        assert sweep(room) == {}, "it is given some time"
        pass_time(room, 6)
        assert sweep(room) == {"handed_back": 1}
        room.deliver_all()
    room.told.orders.clear()
    pass_time(room, 6)
    assert sweep(room) == {"handed_back": 1}
    room.deliver_all()
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert {work.attempt for work in room.told.works} == {1}
    assert room.rows("SELECT takeovers FROM batch_task") == [(0,)]


def test_a_database_that_is_down_is_said_to_be_so(room: EngineRoom) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(DatabaseUnavailable):
        nowhere.transact(lambda tx: None)


def no_answers_to_outcomes(room: EngineRoom, tries: int) -> None:
    """Have so many of the transactions that let go of an attempt fail, as if the server were shutting down."""
    room.change("CREATE SEQUENCE tries")
    room.change(
        "CREATE FUNCTION go_down() RETURNS trigger LANGUAGE plpgsql AS "
        f"'BEGIN IF nextval($$tries$$) > {tries} THEN RETURN NEW; END IF; "
        "RAISE EXCEPTION USING ERRCODE = $$57P03$$; END'"
    )
    room.change(
        "CREATE TRIGGER go_down BEFORE UPDATE ON batch_task FOR EACH ROW "
        "WHEN (OLD.token IS NOT NULL AND NEW.token IS NULL) EXECUTE FUNCTION go_down()"
    )


@pytest.mark.parametrize(
    ("kind", "status"), [("told", "SUCCESS"), ("told_outside", "PROCESSING"), ("told_external", "PROCESSING")]
)
def test_what_came_of_an_attempt_is_written_when_the_database_answers_again(
    room: EngineRoom, kind: str, status: str
) -> None:
    room.apply({"a": [], "b": ["a"]}, details={"a": {"kind": kind}})
    room.start()
    room.publisher.messages.clear()
    no_answers_to_outcomes(room, 3)
    room.execute("a")
    assert room.log("a") == [(1, status, None)]
    assert room.published() == (["b"] if status == "SUCCESS" else [])
    assert room.rows("SELECT token, lease_until FROM batch_task WHERE task_id = :t", t=room.key("a").task_id) == [
        (None, None)
    ]


def test_a_worker_that_cannot_write_what_it_has_done_keeps_its_lease(room: EngineRoom) -> None:
    room.apply({"a": []}, details={"a": {"lease_seconds": 1}})
    second = EngineRoom(room.database)
    room.start()
    no_answers_to_outcomes(room, 4)
    worker = threading.Thread(target=room.execute, args=("a",))
    worker.start()
    while worker.is_alive():
        second.sweep()
        second.deliver_all()
        time.sleep(0.05)
    assert second.told.works == []
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert room.rows("SELECT takeovers FROM batch_task") == [(0,)]


def test_a_transaction_that_loses_a_deadlock_is_run_again(room: EngineRoom) -> None:
    room.apply({"a": [], "b": []})
    room.start()
    keys = [room.key("a").task_id, room.key("b").task_id]
    both_hold_one = threading.Barrier(2)
    tries: list[int] = []

    def cross(first: int, second: int) -> Callable[[], None]:
        def run() -> None:
            seen = []

            def lock_both(tx: object) -> None:
                seen.append(1)
                tries.append(1)
                _lock(tx, first)
                if len(seen) == 1:
                    both_hold_one.wait()
                _lock(tx, second)

            room.database.transact(lock_both)

        return run

    threads = [threading.Thread(target=cross(*keys)), threading.Thread(target=cross(*reversed(keys)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert len(tries) == 3


def _lock(tx: object, task_id: int) -> None:
    from sqlalchemy import Connection, text

    assert isinstance(tx, Connection)
    tx.execute(text("SELECT FROM batch_task WHERE task_id = :t FOR UPDATE"), {"t": task_id})
