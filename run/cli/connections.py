"""What a command works with: the database alone, or the whole service without its door."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from database.errors import StatementRefused
from database.sessions import Database
from run.errors import AcceleratorError
from run.settings import Settings, read_database_url

if TYPE_CHECKING:
    from run.app import Service


@contextmanager
def open_database() -> Iterator[Database]:
    """The database of DATABASE_URL, which is all that most commands need."""
    database = Database(read_database_url())
    try:
        with _saying_if_not_migrated(database):
            yield database
    finally:
        database.close()


@contextmanager
def open_service() -> Iterator[Service]:
    """The service's parts, wired as for serving; its messages are sent when this ends."""
    from run.app import build_service  # noqa: PLC0415  # Google's clients take seconds to import.

    service = build_service(Settings.from_environment(serves=False))
    try:
        with _saying_if_not_migrated(service.database):
            yield service
    finally:
        service.close()


@contextmanager
def _saying_if_not_migrated(database: Database) -> Iterator[None]:
    try:
        yield
    except StatementRefused as error:
        from database.migrating import is_migrated  # noqa: PLC0415  # Alembic is needed for this sentence only.

        # What a statement says of a table that is not there helps nobody.
        if database.transact(is_migrated):
            raise
        raise AcceleratorError("the database is not migrated: run python -m run migrate") from error
