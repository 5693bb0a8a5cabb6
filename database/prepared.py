"""Statements of the hot path: parsed and planned once for each connection, not once for each task.

More than half of what a task costs in Postgres is planning. psycopg2 has no prepared statements of its own, so they are
SQL's: `PREPARE` when a connection first needs one, `EXECUTE` from then on. They go to psycopg2's cursor themselves,
because SQLAlchemy needs several times as long to carry a statement there and its rows back as psycopg2 does.
"""

from __future__ import annotations

import json
import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import psycopg2
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

#: The Postgres type of each parameter that a prepared statement may have, by its name.
TYPES = {
    "workflow_id": "bigint",
    "batch_id": "text",
    "task_id": "bigint",
    "element": "bigint",
    "version_id": "bigint",
    "attempt": "bigint",
    "token": "uuid",
    "kinds": "text[]",
    "lease_seconds": "bigint",
    "timeout_seconds": "bigint",
    "status": "text",
    "error": "text",
    "details": "jsonb",
    "result": "jsonb",
    "result_place": "jsonb",
    "skip_cause": "text",
    "retry_after": "float8",
    "ending": "boolean",
    "task_ids": "bigint[]",
    "statuses": "text[]",
    "causes": "text[]",
    "culprits": "bigint[]",
}

_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")
_KNOWN = "prepared statements"


class Prepared:
    """One statement under a name of its own; parameters are written `:name`, each of a type in TYPES."""

    def __init__(self, name: str, sql: str) -> None:
        self.name = name
        self.sql = sql
        self._parameters: Sequence[str] = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
        numbers = {parameter: number for number, parameter in enumerate(self._parameters, 1)}
        types = ", ".join(TYPES[parameter] for parameter in self._parameters)
        numbered = _PARAMETER.sub(lambda found: f"${numbers[found[1]]}", sql)
        self._prepare = f"PREPARE {name} ({types}) AS {numbered}"
        self._execute = f"EXECUTE {name} ({', '.join(['%s'] * len(self._parameters))})"
        self._row: Callable[[Iterable[Any]], Any] | None = None

    def execute(self, tx: Connection, values: Mapping[str, Any]) -> list[Any]:
        """Run the statement and return its rows as named tuples; values that it has no parameter for are left out."""
        # A connection keeps what it has prepared, whatever becomes of the transaction.
        known: set[str] = tx.info.setdefault(_KNOWN, set())
        if self.name not in known:
            tx.exec_driver_sql(self._prepare)
            known.add(self.name)
        given = tuple(_adapted(values[parameter]) for parameter in self._parameters)
        rows, columns = _rows(tx, self._execute, given)
        if self._row is None and columns:
            self._row = _row_of(columns)
        return [] if self._row is None else [self._row(row) for row in rows]


def _row_of(columns: Iterable[Any]) -> Callable[[Iterable[Any]], Any]:
    """What makes rows of a statement, whose columns never change, so that they are described once."""
    row: Any = namedtuple("Row", [column.name for column in columns])  # type: ignore[misc]  # noqa: PYI024
    make: Callable[[Iterable[Any]], Any] = row._make
    return make


def one_or_none(rows: Sequence[Any]) -> Any:
    """The only row, or None where there is none."""
    return rows[0] if rows else None


def _rows(tx: Connection, statement: str, given: tuple[Any, ...]) -> tuple[list[Any], Sequence[Any] | None]:
    driver: Any = tx.connection
    with driver.cursor() as cursor:
        # Whoever listens to SQLAlchemy's statements hears of these too.
        for hear in tx.dispatch.before_cursor_execute:
            hear(tx, cursor, statement, given, None, False)
        try:
            cursor.execute(statement, given)
            columns = cursor.description
            rows = cursor.fetchall() if columns else []
        except psycopg2.Error as error:
            raise _as_sqlalchemy(tx, cursor, statement, error) from error
        for hear in tx.dispatch.after_cursor_execute:
            hear(tx, cursor, statement, given, None, False)
    return rows, columns


def _as_sqlalchemy(tx: Connection, cursor: Any, statement: str, error: psycopg2.Error) -> BaseException:
    """The error as SQLAlchemy would have raised it; a lost connection takes those of the pool that are as old along."""
    dialect: Any = tx.dialect
    is_lost = dialect.is_disconnect(error, tx.connection.dbapi_connection, cursor)
    if is_lost:
        # As SQLAlchemy does itself: a server that was restarted has ended all of them.
        tx.engine.pool._invalidate(tx.connection, error)  # noqa: SLF001 - it has no public name
        tx.invalidate(error)
    return DBAPIError.instance(
        statement, None, error, psycopg2.Error, hide_parameters=True, connection_invalidated=is_lost, dialect=dialect
    )


def _adapted(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value
