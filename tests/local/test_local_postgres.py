from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from run.local.postgres import Postgres, embedded_binaries
from run.local.processes import StartFailed
from tests.local_parts import require_postgres_15


def ask(url: str, statement: str) -> object:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("binaries", "version"), [(embedded_binaries, "18"), (require_postgres_15, "15")], ids=["18", "15"]
)
def test_postgres_starts_and_keeps_its_data(tmp_path: Path, binaries: Callable[[], Path], version: str) -> None:
    with Postgres(tmp_path / "pg", binaries=binaries()) as postgres:
        url = postgres.create_database("kept")
        assert str(ask(url, "show server_version")).startswith(version)
        assert ask(url, "show fsync") == "on"
        ask(url, "create table flight as select 7 as number")
    with Postgres(tmp_path / "pg", binaries=binaries()) as postgres:
        assert ask(postgres.url("kept"), "select number from flight") == 7


def test_postgres_recovers_what_was_committed_before_it_was_killed(tmp_path: Path) -> None:
    with Postgres(tmp_path / "pg") as postgres:
        ask(postgres.url(), "create table flight as select 7 as number")
        postgres.kill()
        with pytest.raises(psycopg2.OperationalError):
            ask(postgres.url(), "select 1")
        postgres.restart()
        assert ask(postgres.url(), "select number from flight") == 7


def test_a_folder_too_deep_for_a_socket_is_served_all_the_same(tmp_path: Path) -> None:
    with Postgres(tmp_path / ("deep" * 30) / "pg") as postgres:
        assert ask(postgres.url(), "select 1") == 1
        sockets = postgres.socket_folder
        assert sockets.exists()
    assert not sockets.exists()


def test_a_database_is_copied_from_a_template_and_dropped(tmp_path: Path) -> None:
    with Postgres(tmp_path / "pg", options={"fsync": "off"}) as postgres:
        ask(postgres.create_database("model"), "create table flight as select 7 as number")
        assert ask(postgres.create_database("copy", template="model"), "select number from flight") == 7
        postgres.drop_database("copy")
        assert not postgres.has_database("copy")
        assert postgres.has_database("model")


def test_a_start_that_fails_shows_the_log_and_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"logs/postgres\.log(.|\n)*no_such_setting"):
        Postgres(tmp_path / "pg", options={"no_such_setting": "1"}).__enter__()
    with Postgres(tmp_path / "pg") as postgres:
        assert ask(postgres.url(), "select 1") == 1
