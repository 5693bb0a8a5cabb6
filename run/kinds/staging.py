"""How the columns of a file that was just staged fit the table that they are for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from run.clients.bigquery import Column
from run.errors import PermanentFailure

#: The REST API answers with the old names of these types.
_SQL_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
#: What INSERT converts by itself: https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules
_WIDER = {
    "INTEGER": {"NUMERIC", "BIGNUMERIC", "FLOAT"},
    "NUMERIC": {"BIGNUMERIC", "FLOAT"},
    "BIGNUMERIC": {"FLOAT"},
}


def additions(
    loaded: Sequence[Column], target: Sequence[Column] | None, marks: Collection[str], table: str
) -> list[str]:
    """The columns, in the words of ALTER TABLE, that the target lacks; `target` is None for a table to be made.

    `marks` are the columns of our own, which tell whose rows they are. Raises PermanentFailure when the file has a
    column of such a name, or one of another type than the table.
    """
    names = {column.name.lower() for column in loaded}
    for mark in marks:
        if mark.lower() in names:
            raise PermanentFailure(
                f"the file has a column '{mark}', which {table} needs to tell whose rows they are; "
                "name another with batch_column or loader_column"
            )
    if target is None:
        return []
    known = {column.name.lower(): column for column in target}
    clashes = [text for column in loaded if (text := _clash(column, known.get(column.name.lower())))]
    if clashes:
        raise PermanentFailure(f"the file does not fit {table}: {'; '.join(clashes)}; say the types with schema")
    wanted = [*loaded, *(Column(mark, "STRING") for mark in marks)]
    return [f"`{column.name}` {_sql_type(column)}" for column in wanted if column.name.lower() not in known]


def _clash(loaded: Column, target: Column | None) -> str | None:
    if target is None:
        return None
    # BigQuery has two names for some types, and may tell either.
    same = _sql_type(loaded) == _sql_type(target) or target.type in _WIDER.get(loaded.type, set())
    if loaded.fields and target.fields:
        # INSERT takes a STRUCT only as it is: no field more, none less, in this order.
        same = _sql_type(loaded).lower() == _sql_type(target).lower()
    if same and (loaded.mode == "REPEATED") == (target.mode == "REPEATED"):
        return None
    return f"'{loaded.name}' is {_sql_type(loaded)} in the file and {_sql_type(target)} in the table"


def _sql_type(column: Column) -> str:
    name = _SQL_NAMES.get(column.type, column.type)
    if column.fields:
        name = f"STRUCT<{', '.join(f'`{one.name}` {_sql_type(one)}' for one in column.fields)}>"
    return f"ARRAY<{name}>" if column.mode == "REPEATED" else name
