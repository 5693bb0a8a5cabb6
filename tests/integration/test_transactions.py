"""A transaction begins with its first statement, and is as whole as one whose BEGIN was sent before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import psycopg2
import pytest
from psycopg2.extras import DictCursor, execute_batch, execute_values
from sqlalchemy import text

from database.driver import BeginsLate
from database.sessions import Database, Transaction

CREATE = "CREATE TABLE cake (name text PRIMARY KEY)"
COUNT = text("SELECT count(*) FROM cake")
STATES = text("SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
END_ALL_OTHERS = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
""")


class Burnt(Exception):
    """What goes wrong in the middle of a transaction."""


@pytest.fixture
def baked(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.transact(lambda tx: tx.execute(text(CREATE)))
    yield database
    database.close()


@pytest.fixture
def other(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def bake(tx: Transaction, *names: str) -> None:
    for name in names:
        tx.execute(text("INSERT INTO cake VALUES (:name)"), {"name": name})


def cakes(database: Database) -> int:
    return int(database.transact(lambda tx: tx.execute(COUNT).scalar_one()))


def cursor_of(tx: Transaction) -> Any:
    return tx.connection.cursor()


WAYS: dict[str, Callable[[Transaction], object]] = {
    "statements of SQLAlchemy": lambda tx: bake(tx, "one", "two"),
    "many values for one statement": lambda tx: cursor_of(tx).executemany("INSERT INTO cake VALUES (%s)", ["1", "2"]),
    "values in a statement of bytes": lambda tx: execute_values(
        cursor_of(tx), "INSERT INTO cake VALUES %s", [("one",), ("two",)]
    ),
    "statements sent together": lambda tx: execute_batch(
        cursor_of(tx), "INSERT INTO cake VALUES (%s)", [("one",), ("two",)]
    ),
    "rows of a mapping": lambda tx: tx.execute(
        text("INSERT INTO cake VALUES (:name)"), [{"name": "one"}, {"name": "two"}]
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_a_transaction_sends_first_is_undone_with_it(baked: Database, other: Database, way: str) -> None:
    def burn(tx: Transaction) -> None:
        WAYS[way](tx)
        assert tx.execute(COUNT).scalar_one() == 2
        assert cakes(other) == 0
        raise Burnt

    with pytest.raises(Burnt):
        baked.transact(burn)
    assert cakes(other) == 0
    baked.transact(WAYS[way])
    assert cakes(other) == 2


@pytest.fixture
def heard(database_url: str) -> Iterator[tuple[BeginsLate, Callable[[], list[str]]]]:
    """A connection, and what it has sent since this was last asked, as the server tells it."""
    connection = psycopg2.connect(database_url, connection_factory=BeginsLate)
    with connection.each_alone(), connection.cursor() as cursor:
        cursor.execute("SET client_min_messages = debug5; SET log_statement = 'all'")
    connection.notices.clear()

    def sent() -> list[str]:
        told = [notice.split("statement: ", 1)[1].strip() for notice in connection.notices if "statement: " in notice]
        connection.notices.clear()
        return told

    yield connection, sent
    connection.close()


def test_begin_travels_with_the_first_statement(heard: tuple[BeginsLate, Callable[[], list[str]]]) -> None:
    connection, sent = heard
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]
        cursor.execute("SELECT 2")
    connection.commit()
    assert sent() == ["BEGIN; SELECT 1", "SELECT 2", "COMMIT"]


def test_nothing_is_sent_to_end_what_has_not_begun(heard: tuple[BeginsLate, Callable[[], list[str]]]) -> None:
    connection, sent = heard
    connection.commit()
    connection.rollback()
    assert sent() == []
    with connection.each_alone(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.commit()
    assert sent() == ["SELECT 1"]


ODD_WAYS: dict[str, Callable[[BeginsLate], object]] = {
    "a cursor of another kind": lambda connection: connection.cursor(cursor_factory=DictCursor),
    "a cursor of the server": lambda connection: connection.cursor("rows"),
    "copying": lambda connection: connection.cursor().copy_expert("COPY cake FROM STDIN", StringIO("one")),
    "calling": lambda connection: connection.cursor().callproc("now"),
}


@pytest.mark.parametrize("way", ODD_WAYS)
def test_what_would_commit_by_itself_is_refused(heard: tuple[BeginsLate, Callable[[], list[str]]], way: str) -> None:
    connection, sent = heard
    with pytest.raises(TypeError, match="where a transaction begins"):
        ODD_WAYS[way](connection)
    assert sent() == []


def test_a_statement_alone_lasts_as_soon_as_it_is_done(baked: Database, other: Database) -> None:
    def alone(tx: Transaction) -> None:
        bake(tx, "one")
        assert cakes(other) == 1
        assert set(other.transact(lambda tx: tx.execute(STATES).scalars().all())) == {"idle"}

    baked.run_alone(alone)
    # The same connection has transactions again.
    with pytest.raises(Burnt):
        baked.transact(burnt)
    assert cakes(other) == 1


def burnt(tx: Transaction) -> None:
    bake(tx, "never")
    raise Burnt


def test_a_statement_alone_is_run_again_when_its_connection_is_lost(baked: Database, other: Database) -> None:
    tries: list[int] = []

    def bake_at_last(tx: Transaction) -> None:
        tries.append(1)
        if len(tries) == 1:
            other.transact(lambda tx: tx.execute(END_ALL_OTHERS))
        bake(tx, "one")

    baked.run_alone(bake_at_last)
    assert (len(tries), cakes(other)) == (2, 1)


def test_a_connection_whose_statement_has_failed_goes_on_with_the_next_transaction(baked: Database) -> None:
    def fail_and_hide_it(tx: Transaction) -> None:
        bake(tx, "one")
        with pytest.raises(psycopg2.errors.UndefinedTable):
            cursor_of(tx).execute("SELECT * FROM bread")

    # What Postgres has given up cannot be committed, whoever has hidden the error.
    baked.transact(fail_and_hide_it)
    assert cakes(baked) == 0
    baked.transact(lambda tx: bake(tx, "one"))
    assert cakes(baked) == 1
