"""Connections and transactions: the one way into the database."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import psycopg2
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from database.driver import BeginsLate
from database.errors import DatabaseUnavailable, OutOfDate, StatementRefused

T = TypeVar("T")

#: What every function of this package takes first: an open transaction.
Transaction = Connection

#: SQLSTATEs of transactions that lost against another one and are right when run again:
#: serialization_failure and deadlock_detected (PostgreSQL, appendix A).
RUN_AGAIN = frozenset({"40001", "40P01"})
ATTEMPTS = 5
#: A connection that was used more recently than this is trusted without a question.
RESTED_SECONDS = 5.0
_LAST_USE = "last use"

#: SQLSTATE classes that speak of the server and not of the statement: connection exception,
#: insufficient resources, operator intervention, system error; and single ones that do so too: lock_not_available,
#: read_only_sql_transaction (after a failover), idle_in_transaction_session_timeout (PostgreSQL, appendix A).
UNAVAILABLE_CLASSES = ("08", "53", "57", "58", "55P03", "25006", "25P03")

SESSION_SETTINGS = {
    "timezone": "UTC",
    "statement_timeout": "60s",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
    "default_transaction_isolation": "read\\ committed",
    # No statement may read a whole table that grows; a plan that was made while the table was small would do so.
    "enable_seqscan": "off",
    # Such a plan looks dear where it is not avoidable, and would then be compiled at a price of its own.
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
SESSION_OPTIONS = " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items())


#: A server that has vanished without a word is given up after about a minute.
CONNECTION = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "options": SESSION_OPTIONS,
    "application_name": "cloud-accelerator",
    "connection_factory": BeginsLate,
}


class Database:
    """A pool of connections; every access is one short transaction."""

    def __init__(self, url: str, *, pool_size: int = 8, max_overflow: int = 2) -> None:
        self._engine = create_engine(
            make_url(url).set(drivername="postgresql+psycopg2"),
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=10,
            pool_recycle=1800,
            # The values of a statement that fails may be a message's body; errors are logged.
            hide_parameters=True,
            connect_args=CONNECTION,
        )
        event.listen(self._engine, "checkin", _note_use)
        event.listen(self._engine, "checkout", _ask_if_rested)

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction and commit it; run it again when it lost against another, or its connection.

        Raises DatabaseUnavailable when the server does not answer. `work` must have no effect outside the database.
        """
        return self._run(work, nullcontext)

    def run_alone(self, statement: Callable[[Connection], T]) -> T:
        """The same for a single statement, which is a transaction by itself: no COMMIT has to be waited for.

        When its connection is lost it is run again though it may have taken effect; it must change nothing then.
        """
        return self._run(statement, _each_statement_alone)

    def _run(self, work: Callable[[Connection], T], how: Callable[[Connection], AbstractContextManager[Any]]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            has_worked = False
            try:
                with self._engine.begin() as tx, how(tx):
                    done = work(tx)
                    has_worked = True
            except (DBAPIError, PoolTimeout, OutOfDate) as error:
                if not _may_run_again(error, has_worked=has_worked) or attempt == ATTEMPTS:
                    # Not `from error`: the driver's text quotes values, and errors are logged with their causes.
                    raise _translated(error) from None
                time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - jitter, not a secret
            else:
                return done
        raise AssertionError("unreachable: the last attempt returns or raises")

    @property
    def engine(self) -> object:
        """SQLAlchemy's engine, for tests that count statements and for migrations."""
        return self._engine

    def close(self) -> None:
        self._engine.dispose()


def _each_statement_alone(tx: Connection) -> AbstractContextManager[None]:
    driver: Any = tx.connection.dbapi_connection
    alone: AbstractContextManager[None] = driver.each_alone()
    return alone


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_LAST_USE] = time.monotonic()


def _ask_if_rested(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Ask a connection that has rested before it is trusted: a frozen instance has lost its sockets."""
    last_use = record.info.get(_LAST_USE)
    if last_use is not None and time.monotonic() - last_use > RESTED_SECONDS and not _answers(connection):
        raise DisconnectionError("the connection has not survived its rest")


def _answers(connection: DBAPIConnection) -> bool:
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg2.Error:
        return False
    finally:
        cursor.close()
    return True


def _may_run_again(error: Exception, *, has_worked: bool) -> bool:
    if _sqlstate(error) in RUN_AGAIN or isinstance(error, OutOfDate):
        return True
    # A connection that was lost before the commit has committed nothing; one that was lost in it may have.
    return not has_worked and bool(getattr(error, "connection_invalidated", False))


def _sqlstate(error: Exception) -> str:
    return str(getattr(getattr(error, "orig", None), "pgcode", None) or "")


def _first_line(error: Exception) -> str:
    """What the driver says: it may name the server and the user, never the password or the values of a statement."""
    said = str(getattr(error, "orig", None) or (error.args[0] if error.args else "")).strip()
    return said.splitlines()[0].strip() if said else type(error).__name__


def _translated(error: Exception) -> Exception:
    sqlstate = _sqlstate(error)
    lost = isinstance(error, PoolTimeout | OutOfDate) or getattr(error, "connection_invalidated", False)
    no_code = not sqlstate and isinstance(error, OperationalError | InterfaceError)
    if lost or no_code or sqlstate.startswith(UNAVAILABLE_CLASSES) or sqlstate in RUN_AGAIN:
        return DatabaseUnavailable(f"the database does not answer: {_first_line(error)}")
    constraint = getattr(getattr(getattr(error, "orig", None), "diag", None), "constraint_name", None)
    return StatementRefused(f"{constraint or 'SQLSTATE ' + sqlstate} refuses: {_statement(error)}")


def _statement(error: Exception) -> str:
    """The beginning of a statement of ours, which holds no values."""
    return " ".join(str(getattr(error, "statement", None) or "").split())[:200]
