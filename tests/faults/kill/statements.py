"""The SQL statements of the package `database`, by name."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from sqlalchemy.sql.base import Executable

import database
from database.prepared import Prepared

#: What no life of a batch executes, and why: modules, and single statements.
LEFT_OUT = {
    "database.listings": "what people read: a listing changes nothing, and whoever dies of one asks again",
    "database.migrating": "Alembic's statements bring the tables about; they run before the service does",
    "database.models": "the tables themselves",
}

_OF_PREPARED = re.compile(r"(PREPARE|EXECUTE) (\w+)")


class Statements:
    """The statements that are constants of a module; each is called "module.CONSTANT"."""

    def __init__(self) -> None:
        self._by_identity: dict[int, str] = {}
        self._by_own_name: dict[str, str] = {}
        for module in _modules():
            for name, statement in _statements(module):
                if isinstance(statement, Prepared):
                    self._by_own_name[statement.name] = name
                else:
                    self._by_identity[id(statement)] = name

    @property
    def names(self) -> set[str]:
        """All of them, apart from what is left out."""
        return {*self._by_identity.values(), *self._by_own_name.values()}

    def name_of(self, given: object, sql: str) -> str:
        """The name of a statement that was `given` to SQLAlchemy, and that is sent as this SQL."""
        if found := _OF_PREPARED.match(sql):
            name = self._by_own_name.get(found[2])
            # That a connection gets to know a statement is part of no transaction.
            return f"PREPARE {name}" if name and found[1] == "PREPARE" else name or _unknown(sql)
        return self._by_identity.get(id(given)) or _unknown(sql)


def _unknown(sql: str) -> str:
    return f"UNKNOWN {' '.join(sql.split())[:80]}"


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(database.__path__, "database."):
        if not found.name.startswith(tuple(LEFT_OUT)):
            yield importlib.import_module(found.name)


def _statements(module: ModuleType) -> Iterator[tuple[str, Executable | Prepared]]:
    for constant, value in vars(module).items():
        for part, one in _parts(value):
            name = f"{module.__name__}.{constant}{part}"
            if isinstance(one, Executable | Prepared) and name not in LEFT_OUT:
                yield name.removeprefix("database."), one


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    match value:
        case dict():
            yield from ((f"[{key}]", one) for key, one in value.items())
        case list() | tuple():
            yield from ((f"[{number}]", one) for number, one in enumerate(value))
        case _:
            yield "", value
