"""The rows of one file in DuckDB: their values, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from run.files.checks import LONGEST_VALUE, Check, literal, quoted
from run.files.contract import Contract
from run.files.drift import Retyped
from run.files.pipe import Pipe

#: Types that values may seem to have, the narrowest first.
_SEEN = {
    "INT64": "[+-]?[0-9]+",
    "FLOAT64": r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?",
    "BOOL": "(?i)true|false|yes|no",
    "DATE": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "TIMESTAMP": "[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}.*",
}
#: A group of rows of Parquet is in memory as a whole while it is written: of so many characters, and at most of so many
#: rows. BigQuery wants groups of 16 MiB and more.
_CHARACTERS_OF_A_GROUP, _MOST_ROWS_OF_A_GROUP = 32 * 1024 * 1024, 122_880
_ERROR = '"row", line, place, name, value, reason'


@dataclass
class Table:
    """The table `row`, with a value for each column of the contract, and the table `error`.

    `cells` has the source's column for each column of the contract that the file has, `places` their positions in
    the file from 1, and `more` the columns of the source that are kept beside the values.
    """

    database: duckdb.DuckDBPyConnection
    contract: Contract
    cells: Mapping[str, str]
    places: Mapping[str, int]
    more: Sequence[str]
    #: Whether the values are wanted, and not only whether they are right.
    keeps_values: bool
    _characters: int = 0

    @cached_property
    def checks(self) -> list[Check]:
        return [Check(column, f"t{number}", f"v{number}") for number, column in enumerate(self.contract.columns)]

    def fill(self, pipe: Pipe) -> None:
        """Read all rows and check each by itself; raises Unreadable."""
        pipe.run(self.database, self._filling)
        self._characters = pipe.characters
        self._collect()

    def _filling(self, source: str) -> str:
        texts = [f"{self._text(self.cells.get(check.column.in_file))} AS {check.cell}" for check in self.checks]
        more = [f"{self._text(cell)} AS {cell}" for cell in self.more]
        values = [f"{check.parsed} AS {check.value}" for check in self.checks]
        faults = [f"{check.fault} AS f{number}" for number, check in self._faulty]
        return f"""
            CREATE TABLE row AS
            SELECT {_list("line", *self._kept(), *self.more, f"{self._all_faults} AS faults")}
              FROM (SELECT {_list("*", *faults)} FROM (SELECT {_list("*", *values)} FROM (
                SELECT {_list("line", "problem", *texts, *more)} FROM {source}
            )))"""

    def _text(self, cell: str | None) -> str:
        if cell is None:
            return "NULL::VARCHAR"
        return f"NULLIF({cell}, {literal(self.contract.csv.null_marker)})" if self.contract.format == "csv" else cell

    @property
    def _faulty(self) -> list[tuple[int, Check]]:
        return [(number, check) for number, check in enumerate(self.checks) if check.fault is not None]

    def _kept(self) -> Iterator[str]:
        keys = {name for key in self.contract.unique for name in key}
        for check in self.checks:
            if self.keeps_values or check.column.name in keys:
                yield check.value
            else:
                # Enough to see whether the column has any value of its type.
                yield f"CASE WHEN {check.value} IS NOT NULL THEN true END AS {check.value}"

    @property
    def _all_faults(self) -> str:
        whole = "{'place': NULL::INTEGER, 'name': NULL::VARCHAR, 'value': NULL::VARCHAR, 'reason': problem}"
        found = [
            f"{{'place': {self._place(check)}::INTEGER, 'name': {literal(check.column.in_file)}, "
            f"'value': left({check.cell}, {LONGEST_VALUE}), 'reason': f{number}}}"
            for number, check in self._faulty
        ]
        cases = f"WHEN problem <> '' THEN [{whole}]"
        if found:
            some = " OR ".join(f"f{number} IS NOT NULL" for number, _ in self._faulty)
            cases += f" WHEN {some} THEN list_filter([{', '.join(found)}], lambda one: one.reason IS NOT NULL)"
        return f"CASE {cases} END"

    def _place(self, check: Check) -> str:
        return str(self.places.get(check.column.in_file, "NULL"))

    def _collect(self) -> None:
        self.database.execute("""
            CREATE TABLE error AS
            SELECT rowid + 1 AS "row", line, unnest(faults, recursive := true) FROM row WHERE faults IS NOT NULL
        """)
        for key in self.contract.unique:
            self._collect_duplicates(key)
        self._collect_bounds()

    def _collect_duplicates(self, key: Sequence[str]) -> None:
        # Grouping and sorting go to the disk when they do not fit into memory.
        checks = [check for name in key for check in self.checks if check.column.name == name]
        values = [check.value for check in checks]
        names = ", ".join(check.column.in_file for check in checks)
        self.database.execute(f"""
            INSERT INTO error
            SELECT "row", line, {self._place(checks[0])}, {literal(names)},
                   left(concat_ws(', ', {_list(*values)}), {LONGEST_VALUE}),
                   'is the key of line ' || first_line || ' (row ' || first_row || ') too'
              FROM (SELECT rowid + 1 AS "row", line, {_list(*values)},
                           first_value(line) OVER same AS first_line, first_value(rowid + 1) OVER same AS first_row
                      FROM row SEMI JOIN (
                           SELECT {_list(*values)} FROM row
                            WHERE {" AND ".join(f"{value} IS NOT NULL" for value in values)}
                            GROUP BY {_list(*values)} HAVING count(*) > 1
                           ) USING ({_list(*values)})
                    WINDOW same AS (PARTITION BY {_list(*values)} ORDER BY rowid))
             WHERE "row" > first_row
        """)

    def _collect_bounds(self) -> None:
        count, bounds = self.count, self.contract.rows
        wanted = f"at least {bounds.min}" if count < bounds.min else None
        if bounds.max is not None and count > bounds.max:
            wanted = f"at most {bounds.max}"
        if wanted:
            reason = f"the file has {count} rows, and {wanted} are wanted"
            self.database.execute("INSERT INTO error VALUES (NULL, NULL, NULL, NULL, NULL, ?)", [reason])

    @cached_property
    def count(self) -> int:
        """The rows of the file, those with errors among them."""
        return int(self._one("SELECT count(*) FROM row"))

    @cached_property
    def errors(self) -> int:
        return int(self._one("SELECT count(*) FROM error"))

    def first_errors(self, most: int) -> list[dict[str, Any]]:
        """The errors of the file itself, and then by their rows."""
        found = self.database.execute(f"SELECT {_ERROR} FROM error ORDER BY {_ORDER} LIMIT {most}").fetchall()
        names = ("row", "line", "position", "column", "value", "reason")
        return [dict(zip(names, one, strict=True)) for one in found]

    def write_errors(self, path: Path) -> None:
        """Write every error as a line of a CSV file."""
        columns = 'line, "row", name AS "column", place AS position, value, reason'
        self.database.execute(f"COPY (SELECT {columns} FROM error ORDER BY {_ORDER}) TO {literal(str(path))} (HEADER)")

    def write_parquet(self, path: Path, more: Mapping[str, str]) -> None:
        """Write the values of all rows, in the order of the file, and `more` as further columns of text."""
        columns = {check.column.name: check.value for check in self.checks} | dict(more)
        chosen = _list(*(f"{value} AS {quoted(name)}" for name, value in columns.items()))
        of_a_row = max(1, self._characters // max(1, self.count))
        rows = max(1, min(_MOST_ROWS_OF_A_GROUP, _CHARACTERS_OF_A_GROUP // of_a_row))
        form = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {rows}"
        self.database.execute(f"COPY (SELECT {chosen} FROM row) TO {literal(str(path))} ({form})")

    def retyped(self) -> Iterator[Retyped]:
        """Yield the columns that have values, two at least, of which none is of its type."""
        for check in self.checks:
            wrong = f"FROM error WHERE name = {literal(check.column.in_file)} AND reason = {literal(check.wrong_type)}"
            if not self._one(f"SELECT count({check.value}) FROM row") and self._one(f"SELECT count(*) {wrong}") > 1:
                fitting = (seen for seen, pattern in _SEEN.items() if self._one(_all_match(pattern, wrong)))
                yield Retyped(check.column.in_file, check.column.kind.name, next(fitting, "STRING"))

    def _one(self, sql: str) -> Any:
        row = self.database.execute(sql).fetchone()
        return row[0] if row else None


_ORDER = '"row" NULLS FIRST, place'


def _all_match(pattern: str, wrong: str) -> str:
    return f"SELECT bool_and(regexp_full_match(value, {literal(pattern)})) {wrong}"


def _list(*parts: str) -> str:
    return ", ".join(parts)
