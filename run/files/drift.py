"""How a file differs from its contract in its columns, apart from their values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from run.files.contract import COLUMN_NAME, MOST_COLUMNS, Contract

#: As many new columns, and as many reasons, are told one by one.
MOST_TOLD = 100


@dataclass(frozen=True)
class Retyped:
    """A column of which no value is of the type that the contract gives it, and the type that they seem to have."""

    column: str
    wanted: str
    seen: str


@dataclass(frozen=True)
class Drift:
    """The columns that only the file has, those that only the contract has, and those of another type."""

    new: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    retyped: tuple[Retyped, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.missing or self.retyped)

    def refused(self, contract: Contract) -> list[str]:
        """What of it the contract does not let pass, in words."""
        reasons = list(self._refused(contract))
        more = len(reasons) - MOST_TOLD
        return [*reasons[:MOST_TOLD], f"and {more:,} more"] if more > 0 else reasons

    def _refused(self, contract: Contract) -> Iterator[str]:
        required = {column.in_file for column in contract.columns if column.required}
        for name in self.missing:
            if contract.drift == "fail":
                yield f"'{name}' is missing"
            elif name in required:
                yield f"'{name}' is missing, and required"
        if contract.drift == "fail":
            yield from (f"'{name}' is new" for name in self.new)
        if contract.drift == "add":
            yield from _problems_of_names(self.new, contract)
        yield from (f"'{one.column}' is {one.seen} instead of {one.wanted}" for one in self.retyped)

    @property
    def as_json(self) -> dict[str, Any]:
        """The difference; of very many new columns the first, and how many more there are."""
        more = {"more_new": len(self.new) - MOST_TOLD} if len(self.new) > MOST_TOLD else {}
        retyped = [vars(one) for one in self.retyped]
        return {"new": list(self.new[:MOST_TOLD]), **more, "missing": list(self.missing), "retyped": retyped}


def _problems_of_names(new: Sequence[str], contract: Contract) -> Iterator[str]:
    if len(new) + len(contract.columns) > MOST_COLUMNS:
        yield f"there are {len(new):,} new columns, and a table has at most {MOST_COLUMNS:,}"
    known = {column.name.lower() for column in contract.columns}
    others: set[str] = set()
    for name in new:
        if not re.fullmatch(COLUMN_NAME, name):
            yield f"'{name}' is new, and no name for a column of a table"
        elif name.lower() in known:
            yield f"'{name}' is new, and differs from a column of the contract only in case"
        elif name.lower() in others:
            yield f"'{name}' is new, and differs from another new column only in case"
        others.add(name.lower())


def drift_of(contract: Contract, in_file: Collection[str]) -> Drift:
    """What of the file's columns, given in its order, is new, and what of the contract's is not there."""
    wanted = [column.in_file for column in contract.columns]
    return Drift(
        new=tuple(name for name in in_file if name not in wanted),
        missing=tuple(name for name in wanted if name not in in_file),
    )
