"""psycopg2's connections, whose transactions begin with their first statement and not a message earlier.

psycopg2 itself sends BEGIN as a message of its own and waits for the answer, which is a quarter of a transaction of two
statements. So its connections are in its autocommit mode, and do here what it would do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2 import extensions

BEGIN = "BEGIN"


class _BeginsWithStatement(extensions.cursor):
    """A cursor whose statement begins a transaction where the connection is in none."""

    connection: BeginsLate

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's own name
        if self.connection.is_to_begin:
            query = f"{BEGIN}; {query}" if isinstance(query, str) else b"%s; %s" % (BEGIN.encode(), query)
        super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Iterable[Any]) -> None:
        if self.connection.is_to_begin:
            super().execute(BEGIN)
        super().executemany(query, vars_list)

    def _refuse(self, *_given: Any, **_named: Any) -> Any:
        raise TypeError("only execute and executemany know where a transaction begins")

    callproc = copy_expert = copy_from = copy_to = _refuse


class BeginsLate(extensions.connection):
    """A connection for whose transactions nobody needs to send BEGIN, but for many values.

    A transaction begins with `execute` and `executemany` of its own cursors only; there are no others.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.autocommit = True
        self.cursor_factory = _BeginsWithStatement
        #: Whether each statement is a transaction by itself.
        self.statements_are_alone = False

    @property
    def is_to_begin(self) -> bool:
        """Whether the next statement is the first of a transaction."""
        return not self.statements_are_alone and self._is_outside

    @contextmanager
    def each_alone(self) -> Iterator[None]:
        """Let each statement inside the block be a transaction by itself."""
        self.statements_are_alone = True
        try:
            yield
        finally:
            self.statements_are_alone = False

    def cursor(self, *given: Any, cursor_factory: Any = None, **named: Any) -> Any:
        """A cursor of this module; raises TypeError when a special one is asked for, which would commit by itself."""
        if given or any(named.values()) or cursor_factory not in (None, extensions.cursor):
            raise TypeError("only a plain cursor knows where a transaction begins")
        return super().cursor()

    def commit(self) -> None:
        """End the transaction, if one has begun."""
        self._end("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if one has begun."""
        self._end("ROLLBACK")

    @property
    def _is_outside(self) -> bool:
        return self.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE

    def _end(self, how: str) -> None:
        if not self._is_outside:
            with extensions.cursor(self) as cursor:
                cursor.execute(how)
