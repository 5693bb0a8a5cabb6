"""A contract as SQL of DuckDB: the value of each cell, and what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from run.files.contract import Column

_TRUE, _FALSE = "(?i)true|t|yes|y|1", "(?i)false|f|no|n|0"
_WHOLE_YEAR = re.compile("(?<!%)(%%)*%[YG]")
#: The longest part of a value that a report repeats.
LONGEST_VALUE = 200


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Check:
    """One column of the contract; `cell` is the text of each of its cells, and `value` what it says."""

    column: Column
    cell: str
    value: str

    @property
    def parsed(self) -> str:
        """How the value is made from the text; NULL where that is none of the type."""
        kind, text = self.column.kind, self.cell
        if kind.name == "BOOL":
            return f"CASE WHEN {_fits(text, _TRUE)} THEN true WHEN {_fits(text, _FALSE)} THEN false END"
        if kind.name == "JSON":
            return f"CASE WHEN json_valid({text}) THEN {text} END"
        if self.column.format is not None:
            return self._parsed_of_format(self.column.format)
        if kind.pattern is None:
            return text
        value = f"TRY_CAST({text} AS {kind.storage})"
        # A number that is too large would be infinity.
        fits = f"{_fits(text, kind.pattern)}{f' AND isfinite({value})' if kind.name == 'FLOAT64' else ''}"
        return f"CASE WHEN {fits} THEN {value} END"

    def _parsed_of_format(self, form: str) -> str:
        moment = f"try_strptime({self.cell}, {literal(form)})"
        value = f"TRY_CAST({moment} AS {self.column.kind.storage})"
        # DuckDB passes over spaces at both ends, and takes 24 for the year 24.
        conditions = [] if form != form.strip() else [_fits(self.cell, r"(?s)\S(.*\S)?")]
        if _WHOLE_YEAR.search(form):
            conditions.append(f"year({moment}) >= 1000")
        return f"CASE WHEN {' AND '.join(conditions)} THEN {value} END" if conditions else value

    @property
    def wrong_type(self) -> str:
        """What is said of a text that is none of the type."""
        of_format = f" of the format {self.column.format}" if self.column.format else ""
        return f"is no {self.column.kind.name}{of_format}"

    @property
    def fault(self) -> str | None:
        """What is wrong with a cell, NULL when nothing is; None when nothing can be."""
        missing = "'is missing, and the column is required'" if self.column.required else "NULL"
        found = [f"WHEN {condition} THEN {literal(reason)}" for condition, reason in self._faults()]
        if not found and not self.column.required:
            return None
        return f"CASE WHEN {self.cell} IS NULL THEN {missing} {' '.join(found)} END"

    def _faults(self) -> list[tuple[str, str]]:
        column, kind, value = self.column, self.column.kind, self.value
        found = [(f"{value} IS NULL", self.wrong_type)] if kind.name == "JSON" or kind.pattern else []
        if kind.longest is not None:
            found.append((f"length({value}) > {kind.longest}", f"has more than {kind.longest} characters"))
        if column.min is not None:
            found.append((f"{value} < {self._constant(column.min)}", f"is less than {column.min}"))
        if column.max is not None:
            found.append((f"{value} > {self._constant(column.max)}", f"is more than {column.max}"))
        if column.allowed:
            among = ", ".join(self._constant(one) for one in column.allowed)
            found.append((f"{value} NOT IN ({among})", f"is none of {', '.join(column.allowed)}"))
        if column.pattern is not None:
            found.append((f"NOT {_fits(self.cell, column.pattern)}", f"does not match {column.pattern}"))
        return found

    def _constant(self, text: str) -> str:
        return f"CAST({literal(text)} AS {self.column.kind.storage})"


def _fits(text: str, pattern: str) -> str:
    return f"regexp_full_match({text}, {literal(pattern)})"
