"""Statements of the hot path: parsed and planned once for each connection, not once for each task.

More than half of what a task costs in Postgres is planning. psycopg2 has no prepared statements of its own, so they are
SQL's: `PREPARE` when a connection first needs one, `EXECUTE` from then on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult

#: The Postgres type of each parameter that a prepared statement may have, by its name.
TYPES = {
    "workflow_id": "bigint",
    "batch_id": "text",
    "task_id": "bigint",
    "version_id": "bigint",
    "attempt": "bigint",
    "token": "uuid",
    "kinds": "text[]",
    "lease_seconds": "bigint",
    "timeout_seconds": "bigint",
    "status": "text",
    "error": "text",
    "details": "jsonb",
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

    def execute(self, tx: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Run the statement; values that it has no parameter for are left out."""
        # A connection keeps what it has prepared, whatever becomes of the transaction.
        known: set[str] = tx.info.setdefault(_KNOWN, set())
        if self.name not in known:
            tx.exec_driver_sql(self._prepare)
            known.add(self.name)
        given = tuple(_adapted(values[parameter]) for parameter in self._parameters)
        return tx.exec_driver_sql(self._execute, given)


def _adapted(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value
