"""What a task costs: statements, versions of rows, and plans that stay as they are when the tables have grown."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event

from database.attempts import claim, claim_without_file
from database.endings import Ended, finish, finish_unwatched
from database.sessions import Database, Transaction
from database.statuses import Status
from database.sweeping import dead_attempts, due_messages, due_work, take_chores
from database.transitions import end_batch_if_done
from run.engine.dependency_checker import check_and_trigger_children
from tests.engine_room import ME, EngineRoom, failing
from tests.integration.engine.test_growth import counted_statements

TOKEN = "00000000-0000-0000-0000-000000000001"
MANY_LOGS = 1_000_000


def versions_written(room: EngineRoom) -> int:
    """Versions of rows that this database has written so far, of all tables."""
    room.rows("SELECT pg_stat_force_next_flush()")
    count: int = room.rows("SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_user_tables")[0][0]
    return count


def test_a_task_writes_at_most_six_and_a_half_versions_of_rows_history_included(database: Database) -> None:
    # One connection, whose figures the server is told to count at once.
    one = EngineRoom(Database(database._engine.url.render_as_string(hide_password=False), pool_size=1, max_overflow=0))
    try:
        ten = {"root": [], **{f"m{n}": ["root"] for n in range(8)}, "end": [f"m{n}" for n in range(8)]}
        one.apply(ten)
        before = versions_written(one)
        for number in range(20):
            one.start(str(number))
        one.deliver_all()
        written = versions_written(one) - before
        assert one.rows("SELECT DISTINCT status FROM task_batch") == [("SUCCESS",)]
        assert written / 200 <= 6.5
    finally:
        one.database.close()


def test_a_completion_in_a_wide_layer_asks_at_most_six_questions_and_counts_nothing(room: EngineRoom) -> None:
    above = [f"a{n:02d}" for n in range(50)]
    below = [f"b{n:02d}" for n in range(50)]
    room.apply({**{name: [] for name in above}, **dict.fromkeys(below, above)})
    room.start()
    counts = []
    for name in above:
        key = room.key(name)
        with counted_statements(room) as statements:
            room.life.execute(key)
        # The claim is one of them, and is not part of the completion.
        counts.append(len(statements) - 1)
        if name != above[-1]:
            assert not any("parent_counts" in statement for statement in statements)
    assert (max(counts), set(counts[1:-1])) == (6, {1})
    assert set(room.statuses().values()) == {"SUCCESS", "NEW"}


def test_a_task_of_many_parents_is_written_a_few_times_only(room: EngineRoom) -> None:
    parents = [f"p{n:03d}" for n in range(200)]
    room.apply({**{name: [] for name in parents}, "child": parents})
    room.start()
    room.publisher.messages.clear()
    watched = set()
    for name in parents:
        room.execute(name)
        watched.add(room.rows("SELECT waits_on FROM batch_task WHERE task_id = :t", t=room.key("child").task_id)[0][0])
    assert watched == {room.key(parents[-1]).task_id, None}
    assert room.statuses()["child"] == "NEW"


@pytest.fixture
def grown(room: EngineRoom) -> EngineRoom:
    """A database with a million attempts in its history, and one batch that is going on."""
    room.apply({"a": [], "b": ["a"]})
    key = room.start()
    room.change(
        "INSERT INTO task_batch (workflow_id, batch_id, version_id, status, params, ended_at) "
        "SELECT :w, 'old ' || n, 1, 'SUCCESS', '{}', clock_timestamp() FROM generate_series(1, 1000) n",
        w=key.workflow_id,
    )
    room.change(
        "INSERT INTO batch_task (workflow_id, batch_id, task_id, position, status, attempt) "
        "SELECT :w, 'old ' || n, t, t - 1, 'SUCCESS', 500 FROM generate_series(1, 1000) n, generate_series(1, 2) t",
        w=key.workflow_id,
    )
    # So many rows that are known to be right are written without asking for each whether it is.
    fast = "SET LOCAL session_replication_role = replica; SET LOCAL statement_timeout = 0; "
    room.change(
        f"{fast}INSERT INTO task_log (workflow_id, batch_id, task_id, attempt, status, ended_at) "
        f"SELECT :w, 'old ' || (n % 1000 + 1), n % 2 + 1, n / 1000 + 1, 'SUCCESS', clock_timestamp() "
        f"FROM generate_series(0, {MANY_LOGS} - 1) n ON CONFLICT DO NOTHING",
        w=key.workflow_id,
    )
    room.change("ANALYZE")
    return room


def plans_of(room: EngineRoom, act: Callable[[Transaction], object]) -> list[str]:
    """The plan of every statement that `act(tx)` gives the database, explained just before it runs."""
    plans: list[str] = []
    engine = room.database.engine
    assert isinstance(engine, Engine)

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("PREPARE"):
            cursor.execute(f"EXPLAIN {statement}", parameters)
            plans.append("\n".join(line for (line,) in cursor.fetchall()))

    event.listen(engine, "before_cursor_execute", explain)
    room.database.transact(act)
    event.remove(engine, "before_cursor_execute", explain)
    return plans


@pytest.mark.timeout(300)
def test_no_statement_of_a_hop_or_of_the_sweep_reads_a_whole_table_when_a_million_attempts_are_in_it(
    grown: EngineRoom,
) -> None:
    key = grown.key("a")

    def hop_and_sweep(tx: Transaction) -> None:
        assert claim(tx, grown.key("b"), TOKEN, ["told"]) is None
        assert claim_without_file(tx, key, TOKEN, ["told"]) is not None
        for one in (key, replace(key, element=0)):
            assert not finish_unwatched(tx, one, TOKEN, Ended(Status.SUCCESS))
        assert finish(tx, key, TOKEN, Ended(Status.SUCCESS)) is Status.SUCCESS
        check_and_trigger_children(tx, key, succeeded=True, may_skip=False)
        end_batch_if_done(tx, key.batch)
        due_messages(tx)
        dead_attempts(tx, ["told"])
        due_work(tx, 50)
        take_chores(tx)

    plans = plans_of(grown, hop_and_sweep)
    assert len(plans) >= 11
    for plan in plans:
        assert not re.search(r"Seq Scan on (task_log|batch_task|task_batch)\b", plan), plan
    closing = [plan for plan in plans if "task_log" in plan]
    assert closing
    assert all("pk_task_log" in plan or "uq_task_log_open" in plan or "Insert on task_log" in plan for plan in closing)


@pytest.mark.parametrize("how", ["error", "marked success", "marked skipped"])
def test_a_task_that_remembers_a_parent_which_ends_otherwise_than_by_success_is_not_lost(
    room: EngineRoom, how: str
) -> None:
    parents = [f"p{n:02d}" for n in range(20)]
    room.apply({**{name: [] for name in parents}, "end": parents}, details={"end": {"rule": "all_done"}})
    room.start()
    room.execute(parents[0])
    names = dict(map(tuple, room.rows("SELECT task_id, name FROM task")))
    watched = names[room.rows("SELECT waits_on FROM batch_task WHERE waits_on IS NOT NULL")[0][0]]
    if how == "error":
        room.told.orders[watched] = failing("no")
        room.execute(watched)
    else:
        room.moves.mark_task(room.task(watched), ME, Status.SUCCESS if how == "marked success" else Status.SKIPPED)
    for name in parents[1:]:
        if name != watched:
            room.execute(name)
    assert room.statuses()["end"] == "NEW"
