"""What the tables tell afterwards: when each attempt ran and for how long, what failed, and the whole of a batch."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import inspect

from database.models import TaskLog
from database.sessions import Database
from run.handlers.file import FileHandler
from run.kinds.archive_file import is_archived
from run.kinds.kind import Work
from tests.engine_room import EngineRoom, failing
from tests.integration.engine.test_arrivals import apply_profit, land

#: Everything that happened to one batch, in the order in which it happened, from tables alone.
STORY = """
SELECT what FROM (
    SELECT b.created_at AS at, 'opened with version ' || v.version AS what
      FROM task_batch b JOIN workflow_version v USING (version_id) WHERE batch_id = :b
    UNION ALL
    SELECT received_at, t.name || ' was given ' || object || '#' || generation
      FROM file_log JOIN task t USING (task_id) WHERE batch_id = :b
    UNION ALL
    SELECT started_at, t.name || ' began attempt ' || attempt FROM task_log JOIN task t USING (task_id)
     WHERE batch_id = :b
    UNION ALL
    SELECT ended_at, t.name || ' ended attempt ' || attempt || ' as ' || status || COALESCE(': ' || error, '')
      FROM task_log JOIN task t USING (task_id) WHERE batch_id = :b AND ended_at IS NOT NULL
    UNION ALL
    SELECT ended_at, 'ended as ' || status FROM task_batch WHERE batch_id = :b AND ended_at IS NOT NULL
) story ORDER BY at
"""


@pytest.fixture
def files(room: EngineRoom) -> FileHandler:
    return FileHandler(room.database, room.life, {"landing_bucket": "landing"}, lambda *_: None, is_archived)


def test_the_names_of_a_task_log_row_are_those_that_people_know(database: Database) -> None:
    columns = {column["name"] for column in inspect(database.engine).get_columns(TaskLog.__tablename__)}
    assert TaskLog.__tablename__ == "task_log"
    assert columns >= {"task_id", "batch_id", "status", "started_at", "ended_at", "error", "attempt"}


def test_a_success_and_a_failure_are_kept_in_full(room: EngineRoom) -> None:
    room.apply({"good": [], "bad": []})
    room.told.orders["good"] = lambda _work: {"rows": 3}
    room.told.orders["bad"] = failing("ran out of sugar")
    room.start()
    room.deliver_all()
    log = room.rows(
        "SELECT t.name, batch_id, l.status, error, details, started_at IS NOT NULL, ended_at >= started_at, attempt "
        "FROM task_log l JOIN task t USING (task_id) ORDER BY 1 DESC"
    )
    assert log == [
        ("good", "2024-03", "SUCCESS", None, {"rows": 3}, True, True, 1),
        ("bad", "2024-03", "ERROR", "ran out of sugar", {}, True, True, 1),
    ]


def test_an_attempt_lasts_as_long_as_its_work_however_late_its_message_was(room: EngineRoom) -> None:
    room.apply({"bake": []})
    room.told.orders["bake"] = lambda _work: time.sleep(0.2)
    room.start()
    room.change("UPDATE task_batch SET created_at = created_at - interval '1 hour'")
    room.change("UPDATE batch_task SET changed_at = changed_at - interval '1 hour', publish_after = now()")
    room.execute("bake")
    times = interval(room, "bake")
    assert timedelta(seconds=0.2) <= times[1] - times[0] < timedelta(minutes=1)
    room.execute("bake")
    assert interval(room, "bake") == times, "the same message again changes nothing"


def test_branches_of_a_diamond_overlap(room: EngineRoom) -> None:
    room.apply({"mix": [], "cool": ["mix"], "frosting": ["mix"], "serve": ["cool", "frosting"]})
    both_work = threading.Barrier(2, timeout=10)

    def meet(_work: Work) -> None:
        both_work.wait()

    for task in ("cool", "frosting"):
        room.told.orders[task] = meet
    room.start()
    room.execute("mix")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(room.execute, ["cool", "frosting"]))
    room.execute("serve")
    assert room.batch_status() == "SUCCESS"
    one, other = (interval(room, task) for task in ("cool", "frosting"))
    assert max(one[0], other[0]) < min(one[1], other[1])


def test_in_a_chain_each_task_begins_when_the_one_before_has_ended(room: EngineRoom) -> None:
    names = ["mix", "bake", "cool", "frost", "serve"]
    room.apply({name: names[max(0, n - 1) : n] for n, name in enumerate(names)})
    room.start()
    room.deliver_all()
    for before, after in pairwise(interval(room, name) for name in names):
        assert after[0] >= before[1]


def interval(room: EngineRoom, task: str) -> tuple[datetime, datetime]:
    statement = "SELECT started_at, ended_at FROM task_log JOIN task USING (task_id) WHERE name = :n"
    [(started, ended)] = room.rows(statement, n=task)
    return started, ended


def test_the_whole_story_of_a_batch_is_told_by_the_tables(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    room.told_file.orders["load_sales"] = failing("row 3 is broken")
    land(files, "sales/2024-03.csv", 1)
    room.deliver_all()
    land(files, "expenses/2024-03.parquet", 1)
    room.deliver_all()
    first = room.rows("SELECT * FROM task_log l JOIN task t USING (task_id) WHERE t.name = 'load_sales'")
    room.told_file.orders.clear()
    land(files, "sales/2024-03.csv", 2)
    room.deliver_all()
    assert [what for (what,) in room.rows(STORY, b="2024-03")] == [
        "opened with version 1",
        "load_sales was given sales/2024-03.csv#1",
        "load_sales began attempt 1",
        "load_sales ended attempt 1 as ERROR: row 3 is broken",
        "load_expenses was given expenses/2024-03.parquet#1",
        "load_expenses began attempt 1",
        "load_expenses ended attempt 1 as SUCCESS",
        "load_sales was given sales/2024-03.csv#2",
        "load_sales began attempt 2",
        "load_sales ended attempt 2 as SUCCESS",
        "profit began attempt 1",
        "profit ended attempt 1 as SUCCESS",
        "ended as SUCCESS",
    ]
    again = "SELECT * FROM task_log l JOIN task t USING (task_id) WHERE t.name = 'load_sales' AND attempt = 1"
    assert room.rows(again) == first, "the first attempt is as it was"


def test_a_leaf_alone_does_not_end_its_batch(room: EngineRoom) -> None:
    room.apply({"mix": [], "taste": ["mix"], "bake": ["mix"]})
    room.start()
    room.execute("mix")
    room.execute("taste")
    assert room.statuses() == {"mix": "SUCCESS", "taste": "SUCCESS", "bake": "NEW"}
    assert room.batch_status() == "PROCESSING"
    room.execute("bake")
    assert room.batch_status() == "SUCCESS"


@pytest.mark.parametrize("order", [("sales", "expenses"), ("expenses", "sales")])
@pytest.mark.parametrize("apart", ["10 seconds", "10 days"])
def test_the_last_parent_starts_the_child_in_either_order_and_after_any_time(
    room: EngineRoom, order: tuple[str, str], apart: str
) -> None:
    room.apply({"sales": [], "expenses": [], "profit": ["sales", "expenses"]})
    room.start()
    room.publisher.messages.clear()
    room.execute(order[0])
    assert room.published() == []
    for table, columns in (("task_log", ("started_at", "ended_at")), ("batch_task", ("changed_at", "publish_after"))):
        moved = ", ".join(f"{column} = {column} - CAST(:apart AS interval)" for column in columns)
        room.change(f"UPDATE {table} SET {moved}", apart=apart)
    room.change("UPDATE task_batch SET created_at = created_at - CAST(:apart AS interval)", apart=apart)
    room.execute(order[1])
    assert room.published() == ["profit"]
