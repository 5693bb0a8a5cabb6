"""A real Postgres for the session, and for each test that asks a fresh, migrated database of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from database.migrating import migrate
from database.sessions import Database
from run.local.postgres import Postgres
from tests.local_parts import require_postgres_15

TEMPLATE = "migrated"
#: Nobody pulls the plug of a test database; the server still takes every lock and writes every version of a row.
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}

_numbers = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    binaries = require_postgres_15() if os.environ.get("TEST_POSTGRES") == "15" else None
    # Not in pytest's own folder: for root, Postgres runs as another user, and every new pytest closes that folder.
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Postgres(Path(folder), binaries=binaries, options=NOT_DURABLE) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    migrate(postgres.create_database(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(postgres: Postgres, migrated: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    yield postgres.create_database(name, template=migrated)
    postgres.drop_database(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, pool_size=20, max_overflow=40)
    yield database
    database.close()


@pytest.fixture
def data_folder() -> Path:
    """Real files with real dirt in them; their sources and licences are in SOURCES.md there."""
    return Path(__file__).parent / "data"
