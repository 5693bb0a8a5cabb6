"""Rows that must not exist cannot be written, whoever writes them; and the tables come and go with the migrations."""

from __future__ import annotations

import re
import traceback
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import text

from database.errors import StatementRefused
from database.migrating import MIGRATIONS, check_models, downgrade, is_migrated, migrate
from database.models import Row
from database.sessions import Database
from database.statuses import ENGINE_MOVES, OPEN, TERMINAL, Status
from run.local.postgres import Postgres
from tests.engine_room import EngineRoom

_numbers = count(1)

EDGE = "(version_id, parent_id, child_id, parent_position, child_position) SELECT version_id,"
KEY = "workflow_id, batch_id, task_id"
NOTIFICATION = (
    "INSERT INTO notification "
    "(workflow_id, batch_id, outcome, channel, version_id, facts, event, status, due_at, sent_at) "
    "SELECT workflow_id, batch_id, 1, 0, version_id, '{}',"
)
LOG = f"{KEY}, attempt, status, ended_at"


@pytest.fixture
def room(database: Database) -> EngineRoom:
    room = EngineRoom(database)
    room.apply({"a": [], "b": ["a"]})
    room.start()
    return room


@pytest.mark.parametrize(
    "illegal",
    [
        "UPDATE batch_task SET status = 'PENDING'",
        "UPDATE batch_task SET status = 'PROCESSING', publish_after = NULL",
        "UPDATE batch_task SET publish_after = NULL WHERE status = 'NEW'",
        "UPDATE batch_task SET publish_after = now() WHERE status = 'WAITING'",
        "UPDATE batch_task SET status = 'SUCCESS' WHERE status = 'NEW'",
        "UPDATE batch_task SET status = 'SKIPPED', publish_after = NULL",
        "UPDATE batch_task SET skip_cause = 'rule'",
        "UPDATE batch_task SET status = 'SKIPPED', skip_cause = 'bad luck', publish_after = NULL",
        "UPDATE batch_task SET token = gen_random_uuid()",
        "UPDATE batch_task SET reset = true",
        "UPDATE batch_task SET awaits_file = true",
        "UPDATE batch_task SET skipped_because_of = task_id",
        "UPDATE batch_task SET status = 'SKIPPED', skip_cause = 'upstream_failed', publish_after = NULL",
        "UPDATE batch_task SET task_id = 4711 WHERE status = 'WAITING'",
        "UPDATE task_batch SET version_id = 4711",
        "UPDATE batch_task SET attempt = -1",
        "UPDATE task_batch SET status = 'SUCCESS'",
        "UPDATE task_batch SET status = 'DONE'",
        "UPDATE task_batch SET ended_at = now()",
        "UPDATE task_dependency SET parent_position = child_position, parent_id = child_id",
        "UPDATE task_dependency SET parent_id = 4711",
        f"INSERT INTO task_dependency {EDGE} child_id, parent_id, child_position, parent_position FROM task_dependency",
        f"INSERT INTO task_dependency {EDGE} child_id, parent_id, 0, 1 FROM task_dependency",
        "INSERT INTO task (workflow_id, name) SELECT workflow_id, 'a' FROM workflow",
        "INSERT INTO workflow (name) VALUES ('cake')",
        f"INSERT INTO task_log ({LOG}) SELECT {KEY}, 1, 'SUCCESS', NULL FROM batch_task",
        f"INSERT INTO task_log ({LOG}) SELECT {KEY}, 1, 'ERROR', now() FROM batch_task",
        f"INSERT INTO task_log ({LOG}) SELECT {KEY}, 0, 'PROCESSING', NULL FROM batch_task",
        f"INSERT INTO task_log (element, {LOG}) SELECT 0, {KEY}, 1, 'PROCESSING', NULL FROM batch_task",
        f"INSERT INTO batch_task ({KEY}, element, position, status) SELECT {KEY}, 0, 0, 'WAITING' FROM batch_task",
        f"INSERT INTO batch_task ({KEY}, element, position, status) SELECT {KEY}, -2, 0, 'WAITING' FROM batch_task",
        "UPDATE batch_task SET item = '1'",
        "UPDATE batch_task SET elements = 1 WHERE status = 'WAITING'",
        "UPDATE batch_task SET awaits_elements = true WHERE status = 'WAITING'",
        "UPDATE batch_task SET status = 'PROCESSING', attempt = 1, publish_after = NULL, elements = 1, "
        "awaits_elements = true, due_at = now() WHERE status = 'NEW'",
        "INSERT INTO file_log (bucket, object, generation, event_type, decision) VALUES ('b', 'o', 1, 'e', 'TAKEN')",
        "INSERT INTO file_log (bucket, object, generation, event_type, decision) VALUES ('b', 'o', 1, 'e', 'UNWANTED')",
        "INSERT INTO file_log (bucket, object, generation, event_type, decision, reason, place_bucket) "
        "VALUES ('b', 'o', 1, 'e', 'UNWANTED', 'no', 'b')",
        "INSERT INTO rejected_message (message_key, reason, headers, body, replays) VALUES ('k', 'r', '{}', '', 1)",
        f"{NOTIFICATION} 'gossip', 'DUE', now(), NULL FROM task_batch",
        f"{NOTIFICATION} 'failure', 'LOST', NULL, NULL FROM task_batch",
        f"{NOTIFICATION} 'failure', 'DUE', NULL, NULL FROM task_batch",
        f"{NOTIFICATION} 'failure', 'SENT', NULL, NULL FROM task_batch",
        f"{NOTIFICATION} 'failure', 'GIVEN_UP', NULL, now() FROM task_batch",
        f"{NOTIFICATION} 'failure', 'DUE', now(), NULL FROM task_batch, generate_series(1, 2)",
    ],
)
def test_an_illegal_row_is_refused(room: EngineRoom, illegal: str) -> None:
    with pytest.raises(StatementRefused):
        room.change(illegal)


def test_the_statuses_are_exactly_those_of_the_check_constraint(room: EngineRoom) -> None:
    [(definition,)] = room.rows(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'ck_batch_task_status'"
    )
    assert set(re.findall(r"'(\w+)'", definition)) == set(Status)


def test_every_status_is_open_or_terminal_and_only_terminal_ones_are_left_by_a_reset_alone() -> None:
    assert sorted([*OPEN, *TERMINAL]) == sorted(Status)
    left_by_us = {move.target for move in ENGINE_MOVES for source in move.sources if source in TERMINAL}
    assert left_by_us == {Status.WAITING}


def test_the_migrations_upgrade_from_empty_go_down_and_up_again(postgres: Postgres) -> None:
    name = f"migrations_{next(_numbers)}"
    url = postgres.create_database(name)
    database = Database(url)
    try:
        assert not database.transact(is_migrated)
        migrate(url)
        assert database.transact(is_migrated)
        check_models(url)
        downgrade(url, "base")
        left = database.transact(
            lambda tx: tx.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars().all()
        )
        assert left == ["alembic_version"]
        migrate(url)
        check_models(url)
    finally:
        database.close()
        postgres.drop_database(name)


def test_the_migration_that_builds_indexes_beside_the_service_may_be_interrupted_and_begun_again(
    postgres: Postgres,
) -> None:
    name = f"migrations_{next(_numbers)}"
    url = postgres.create_database(name)
    database = Database(url)
    try:
        migrate(url, "0005")
        # All that it does is done, but for the last: that it says so.
        database.transact(lambda tx: tx.execute(text("UPDATE alembic_version SET version_num = '0004'")))
        migrate(url, "0005")
        migrate(url)
        check_models(url)
        room = EngineRoom(database)
        room.apply({"a": []})
        room.start()
        room.deliver_all()
        assert room.batch_status() == "SUCCESS"
    finally:
        database.close()
        postgres.drop_database(name)


def test_instances_that_migrate_at_once_do_it_once(postgres: Postgres) -> None:
    for _ in range(3):
        name = f"migrations_{next(_numbers)}"
        url = postgres.create_database(name)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(_migrate_in_a_process, [url] * 4))
        check_models(url)
        postgres.drop_database(name)


def _migrate_in_a_process(url: str) -> None:
    import subprocess
    import sys

    program = f"from database.migrating import migrate; migrate({url!r})"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2], timeout=60)


def test_migrations_are_numbered_and_named_for_what_they_do() -> None:
    names = sorted(path.name for path in (MIGRATIONS / "versions").glob("*.py"))
    assert [name[:4] for name in names] == [f"{number:04d}" for number in range(1, len(names) + 1)]
    assert all(re.fullmatch(r"\d{4}_[a-z_]+\.py", name) for name in names)


def test_every_table_has_a_primary_key_and_every_time_a_zone() -> None:
    for table in Row.metadata.sorted_tables:
        assert table.primary_key.columns, table.name
        for column in table.columns:
            assert getattr(column.type, "timezone", True), f"{table.name}.{column.name}"


def test_the_values_of_a_statement_that_fails_stay_out_of_the_error(room: EngineRoom) -> None:
    with pytest.raises(StatementRefused, match="uq_workflow_name") as caught:
        room.change("INSERT INTO workflow (name) VALUES (:name)", name="cake")
    with pytest.raises(StatementRefused, match="SQLSTATE 22P02") as badly_typed:
        room.change("UPDATE task SET task_id = CAST(:number AS bigint)", number="s3cr3t")
    for told in (caught, badly_typed):
        text_of_all = "".join(traceback.format_exception(told.value))
        assert "'cake'" not in text_of_all
        assert "s3cr3t'" not in text_of_all.replace('number="s3cr3t"', "")
