"""Puts the rows of an Arrow table into a table of the local BigQuery server."""

from __future__ import annotations

import pyarrow as pa
from bqemulator.api.dependencies import AppContext

_VIEW = "_rows_to_insert"


def insert_by_name(rows: pa.Table, target: str, server: AppContext) -> None:
    """Insert each column into the one of its name, as BigQuery does; columns that `rows` lacks become NULL.

    `target` is a quoted DuckDB table. Call it with the write lock held. Raises duckdb.Error.
    """
    connection = server.engine.connection
    connection.register(_VIEW, rows)
    try:
        connection.execute(f"INSERT INTO {target} BY NAME SELECT * FROM {_VIEW}")
    finally:
        connection.unregister(_VIEW)
