"""An end from which nothing follows is written by one statement, which is sure that nothing follows.

As long as a task waits for another of its many parents, or a mapped task for another of its elements, the end of this
one decides nothing. Whoever else is in the middle of something meanwhile holds the lock that the statement waits for.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from database.attempts import Claimed, claim
from database.dependencies import lock_batch_tasks
from database.endings import Ended, finish, finish_unwatched
from database.keys import TaskKey
from database.sessions import Transaction
from database.statuses import Status
from database.workflows import store_version
from run.engine.definitions import new_version
from run.engine.dependency_checker import FEW_PARENTS, reset_with_descendants
from run.engine.elements import check_what_follows
from run.engine.newest_version import move_to_newest_version
from run.handlers.file import FileHandler
from run.kinds.kind import Finished, Moved, ObjectVersion, Work
from run.workflows.builder import build_workflow
from tests.engine_room import EngineRoom, failing
from tests.integration.engine.test_arrivals import land, wants
from tests.integration.engine.test_cost import plans_of
from tests.integration.engine.test_growth import counted_statements
from tests.integration.engine.test_map import open_elements
from tests.local_parts import eventually
from tests.unit.workflows.toy_kinds import KINDS, SETTINGS

PARENTS = [f"p{number:02d}" for number in range(FEW_PARENTS + 1)]
FIRST, SECOND, *_, LAST = PARENTS
CROWD = {**dict.fromkeys(PARENTS, ()), "joined": PARENTS}
TOKEN = "00000000-0000-0000-0000-0000000000bb"


def crowd(room: EngineRoom, more: Mapping[str, Any] | None = None, **details: Any) -> None:
    """A batch whose `joined` has many parents, of which the first has ended, so that it waits for the last."""
    room.apply({**CROWD, **(more or {})}, details=details)
    room.start()
    room.publisher.messages.clear()
    room.execute(FIRST)
    assert waits_on(room, "joined") == [room.key(LAST).task_id]


def waits_on(room: EngineRoom, task: str) -> list[int]:
    statement = "SELECT waits_on FROM batch_task WHERE task_id = :t AND element = -1"
    return [row[0] for row in room.rows(statement, t=room.key(task).task_id)]


def statements_of(room: EngineRoom, key: TaskKey) -> list[str]:
    with counted_statements(room) as statements:
        room.life.execute(key)
    return [statement.split()[1] for statement in statements]


@contextmanager
def in_the_middle_of(room: EngineRoom, work: Callable[[Transaction], object]) -> Iterator[None]:
    """Let somebody else have done `work` without its commit, which comes when the block waits for it, or is over."""
    is_done, is_over = threading.Event(), threading.Event()

    def do_and_wait(tx: Transaction) -> None:
        work(tx)
        is_done.set()
        while not is_over.is_set() and not room.somebody_waits_for_a_lock():
            pass

    with ThreadPoolExecutor(1) as pool:
        somebody = pool.submit(room.database.transact, do_and_wait)
        eventually(lambda: is_done.is_set() or somebody.done(), "the work of somebody else")
        try:
            yield
        finally:
            is_over.set()
        somebody.result()


def claimed_by_somebody(room: EngineRoom, key: TaskKey) -> Claimed:
    claimed = room.database.transact(lambda tx: claim(tx, key, TOKEN, ["told"]))
    assert claimed is not None
    return claimed


def end(claimed: Claimed) -> Callable[[Transaction], object]:
    """The transaction that ends an attempt with success, as far as its commit."""

    def end_it(tx: Transaction) -> None:
        status = finish(tx, claimed.key, claimed.token, Ended(Status.SUCCESS))
        assert status is Status.SUCCESS
        check_what_follows(tx, claimed.key, status, claimed)

    return end_it


def begun(room: EngineRoom, task: str) -> Callable[[], None]:
    """Let the work of a task begin and wait; what is returned lets it end, and its outcome be written."""
    has_begun, may_end = threading.Event(), threading.Event()

    def wait(_work: Work) -> None:
        has_begun.set()
        assert may_end.wait(30)

    room.told.orders[task] = wait
    key = room.key(task)
    worker = threading.Thread(target=room.life.execute, args=(key,))
    worker.start()
    assert has_begun.wait(30)

    def let_it_end() -> None:
        may_end.set()
        worker.join(30)
        assert not worker.is_alive()

    return let_it_end


def test_only_the_end_of_the_parent_that_is_waited_for_asks_more(room: EngineRoom) -> None:
    crowd(room)
    asked = [statements_of(room, room.key(name)) for name in PARENTS[1:]]
    assert asked[:-1] == [["claim_without_file", "finish_unwatched"]] * (len(PARENTS) - 2)
    assert asked[-1] == [
        "claim_without_file", "finish_unwatched", "finish", "lock_children", "watch_open_parent", "parent_counts",
        "settle",
    ]  # fmt: skip
    assert room.published() == ["joined"]
    assert room.rows("SELECT DISTINCT status FROM task_log") == [("SUCCESS",)]


def test_a_parent_that_begins_to_be_waited_for_while_it_ends_lets_the_child_start(room: EngineRoom) -> None:
    crowd(room)
    for name in PARENTS[2:-1]:
        room.execute(name)
    last = claimed_by_somebody(room, room.key(LAST))
    let_it_end = begun(room, SECOND)
    with in_the_middle_of(room, end(last)):
        let_it_end()
    assert room.published() == ["joined"]


def test_an_element_that_begins_to_be_waited_for_while_it_ends_ends_its_task(room: EngineRoom) -> None:
    open_elements(room, list("ab"))
    room.publisher.messages.clear()
    last = claimed_by_somebody(room, room.key("cook", element=1))
    with in_the_middle_of(room, end(last)):
        room.execute("cook", element=0)
    assert room.statuses() == {"list": "SUCCESS", "cook": "SUCCESS", "serve": "NEW"}
    assert room.published() == ["serve"]


def unwatched(claimed: Claimed) -> Callable[[Transaction], object]:
    """The statement that ends an attempt from which nothing follows, before its commit."""

    def end_it(tx: Transaction) -> None:
        assert finish_unwatched(tx, claimed.key, claimed.token, Ended(Status.SUCCESS))

    return end_it


def test_the_parent_that_is_waited_for_sees_one_that_is_just_ending(room: EngineRoom) -> None:
    crowd(room)
    for name in PARENTS[2:-1]:
        room.execute(name)
    second = claimed_by_somebody(room, room.key(SECOND))
    with in_the_middle_of(room, unwatched(second)):
        room.execute(LAST)
    assert room.published() == ["joined"]


def test_the_element_that_is_waited_for_sees_one_that_is_just_ending(room: EngineRoom) -> None:
    open_elements(room, list("ab"))
    room.publisher.messages.clear()
    first = claimed_by_somebody(room, room.key("cook", element=0))
    with in_the_middle_of(room, unwatched(first)):
        room.execute("cook", element=1)
    assert room.published() == ["serve"]


def test_every_child_is_looked_up_by_its_whole_key_also_where_the_tables_are_small(room: EngineRoom) -> None:
    crowd(room)
    [plan] = plans_of(room, unwatched(claimed_by_somebody(room, room.key(SECOND))))
    conditions = re.findall(r"on batch_task c .*\n *Index Cond: (.*)", plan)
    assert [[name in condition for name in ("workflow_id", "batch_id", "task_id")] for condition in conditions] == [
        [True, True, True]
    ]


@pytest.mark.parametrize("of_element", [False, True])
def test_an_end_waits_for_whoever_renews_its_lease(room: EngineRoom, of_element: bool) -> None:
    if of_element:
        open_elements(room, list("ab"))
        key = room.key("cook", element=0)
    else:
        crowd(room)
        key = room.key(SECOND)
    claimed = claimed_by_somebody(room, key)
    statement = "UPDATE batch_task SET lease_until = lease_until + interval '1 minute' WHERE token IS NOT NULL"

    def renew(tx: Transaction) -> None:
        assert tx.exec_driver_sql(statement).rowcount == 1

    with in_the_middle_of(room, renew):
        room.database.run_alone(unwatched(claimed))
    rows = "SELECT status, token FROM batch_task WHERE task_id = :t AND element = :e"
    assert room.rows(rows, t=key.task_id, e=key.element) == [("SUCCESS", None)]
    logged = "SELECT status, ended_at IS NULL FROM task_log WHERE task_id = :t AND element = :e"
    assert room.rows(logged, t=key.task_id, e=key.element) == [("SUCCESS", False)]


def test_an_end_that_waited_while_its_batch_got_other_children_starts_those_too(room: EngineRoom) -> None:
    crowd(room)
    let_it_end = begun(room, SECOND)
    room.apply({**CROWD, "single": [SECOND]})
    batch = room.key(SECOND).batch

    def move_and_let_another_one_be_waited_for(tx: Transaction) -> None:
        lock_batch_tasks(tx, batch)
        assert move_to_newest_version(tx, batch, {}) is not None
        # As the next parent does that ends.
        given = {"child": room.key("joined").task_id, "parent": room.key(LAST).task_id}
        tx.exec_driver_sql("UPDATE batch_task SET waits_on = %(parent)s WHERE task_id = %(child)s", given)

    with in_the_middle_of(room, move_and_let_another_one_be_waited_for):
        let_it_end()
    assert room.published() == ["single"]


@pytest.mark.parametrize("way", ["waits_on = NULL", "waits_on = :second", "status = 'CANCELLED'"])
def test_each_child_must_wait_for_another_parent(room: EngineRoom, way: str) -> None:
    crowd(room, {"other": PARENTS})
    second, other = room.key(SECOND).task_id, room.key("other").task_id
    room.change(f"UPDATE batch_task SET {way} WHERE task_id = :t AND :second > 0", t=other, second=second)
    asked = statements_of(room, room.key(SECOND))
    assert asked[:4] == ["claim_without_file", "finish_unwatched", "finish", "lock_children"]
    assert waits_on(room, "joined") == [room.key(LAST).task_id]
    if way != "status = 'CANCELLED'":
        assert waits_on(room, "other") == [room.key(LAST).task_id]


def test_a_failure_is_seen_at_once_by_a_child_that_waits_for_another_parent(room: EngineRoom) -> None:
    crowd(room)
    room.told.orders[SECOND] = failing("no")
    room.execute(SECOND)
    assert room.statuses()["joined"] == "SKIPPED:upstream_failed"


def test_a_task_that_is_to_run_again_does_so_although_nothing_follows_from_its_end(room: EngineRoom) -> None:
    crowd(room)
    let_it_end = begun(room, SECOND)
    room.database.transact(lambda tx: reset_with_descendants(tx, room.key(SECOND)))
    # As the next parent does that ends.
    last, joined = room.key(LAST).task_id, room.key("joined").task_id
    room.change("UPDATE batch_task SET waits_on = :last WHERE task_id = :t", last=last, t=joined)
    let_it_end()
    assert room.published() == [SECOND]


def test_an_element_that_is_to_run_again_does_so_although_nothing_follows_from_its_end(room: EngineRoom) -> None:
    open_elements(room, list("ab"))
    room.publisher.messages.clear()
    claimed = claimed_by_somebody(room, room.key("cook", element=0))
    # Nobody does this to an element today; it would be lost for good.
    room.change("UPDATE batch_task SET reset = true WHERE element = 0")
    room.change("UPDATE batch_task SET lease_until = clock_timestamp() - interval '1 second' WHERE element = 0")
    room.life.execute(claimed.key)
    assert room.elements("cook") == ["NEW", "NEW"]


def test_an_element_that_failed_unexpectedly_is_ended_outside_although_nothing_follows_from_its_end(
    room: EngineRoom,
) -> None:
    def break_down(_work: Work) -> None:
        raise ZeroDivisionError

    open_elements(room, list("ab"), max_failures=1)
    room.told.orders["cook"] = break_down
    room.execute("cook", element=0)
    assert room.rows("SELECT element FROM cancellation") == [(0,)]


def test_people_are_told_of_a_task_although_nothing_follows_from_its_end(room: EngineRoom) -> None:
    crowd(room, **{SECOND: {"notify": [{"webhook": "https://example.com/hook", "on": ["success"]}]}})
    room.execute(SECOND)
    told = room.rows("SELECT t.name, event FROM notification JOIN task t USING (task_id)")
    assert told == [(SECOND, "success")]


def test_a_file_that_was_moved_is_known_to_be_there_although_nothing_follows_from_the_end(
    room: EngineRoom, files: FileHandler
) -> None:
    room.told_file.orders[SECOND] = lambda work: Finished(
        moved=tuple(Moved(file.file_log_id, ObjectVersion("attic", "old.csv", 7)) for file in work.files.values())
    )
    crowd(room, **{SECOND: wants(r"gs://{landing_bucket}/sales/(?P<period>\d{4}-\d{2})\.csv")})
    land(files, "sales/2024-03.csv")
    room.execute(SECOND)
    assert room.rows("SELECT place_bucket, place_object FROM file_log") == [("attic", "old.csv")]


CROWDED = {"joined": {"needs": PARENTS}}
BELOW: Mapping[str, tuple[Mapping[str, Mapping[str, Any]], list[str]]] = {
    "many parents": (CROWDED, PARENTS),
    "few parents": ({"joined": {"needs": PARENTS[:-1]}}, []),
    "another child": ({**CROWDED, "single": {"needs": [SECOND]}}, [FIRST, *PARENTS[2:]]),
    "a rule that one success decides": ({"joined": {"needs": PARENTS, "rule": "one_success"}}, []),
    "a rule that one success does not decide": ({"joined": {"needs": PARENTS, "rule": "all_done"}}, PARENTS),
    "a rule that success can make impossible": ({"joined": {"needs": PARENTS, "rule": "one_failed"}}, []),
    "a disabled child": ({"joined": {"needs": PARENTS, "disabled": True}}, []),
    "nothing": ({}, []),
}


@pytest.mark.parametrize("below", BELOW)
def test_it_is_stored_which_tasks_have_only_children_that_their_success_does_not_decide(
    room: EngineRoom, below: str
) -> None:
    children, expected = BELOW[below]
    query = {"kind": "query", "sql": "x"}
    tasks = {**dict.fromkeys(PARENTS, query), **{name: {**query, **child} for name, child in children.items()}}
    definition, _ = build_workflow({"workflow": "w", "batch": "{period}", "tasks": tasks}, KINDS, SETTINGS)
    assert definition is not None
    new = new_version(definition)
    room.database.transact(lambda tx: store_version(tx, new))
    stored = "SELECT name FROM task_version JOIN task USING (task_id) WHERE may_end_unwatched ORDER BY position"
    assert [row[0] for row in room.rows(stored)] == expected
