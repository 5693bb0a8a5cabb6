"""A GCS server and a BigQuery server for this folder, with a dataset of its own for every test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.storage import Client as StorageClient

from run.clients import Clients
from run.local.bigquery_server import BigQueryServer
from run.local.storage_server import StorageServer
from run.settings import Settings
from tests.integration.kinds.bigquery_wire import BigQueryWire
from tests.integration.kinds.room import Room

_numbers = count(1)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The addresses of Cloud Storage and BigQuery."""
    folder: Path = tmp_path_factory.mktemp("servers")
    with (
        StorageServer(folder / "gcs", folder / "logs") as storage,
        BigQueryServer(folder / "bq", folder / "logs", objects_folder=storage.objects_folder) as warehouse,
    ):
        yield storage.url, warehouse.url


@pytest.fixture(scope="session")
def clients(servers: tuple[str, str]) -> Clients:
    storage, warehouse = servers
    return Clients(
        Settings(
            database_url="postgresql://nobody@localhost/none",
            project="local",
            landing_bucket="landing",
            archive_bucket="archive",
            storage_emulator_host=storage,
            bigquery_emulator_host=warehouse,
        )
    )


@pytest.fixture
def room(clients: Clients, servers: tuple[str, str], request: pytest.FixtureRequest) -> Room:
    """A dataset and a folder of the landing bucket that belong to this test alone."""
    storage, warehouse = servers
    name = f"{re.sub(r'[^a-z0-9]+', '_', request.node.name.lower())[:70]}_{next(_numbers)}"
    room = Room(
        name=name,
        clients=clients,
        bigquery=bigquery.Client(
            project="local",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options=ClientOptions(api_endpoint=warehouse),
        ),
        storage=StorageClient(
            project="local",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options=ClientOptions(api_endpoint=storage),
        ),
    )
    room.bigquery.create_dataset(name, timeout=10)
    return room


@pytest.fixture
def wire() -> Iterator[BigQueryWire]:
    with BigQueryWire() as server:
        yield server


@pytest.fixture
def room_on_the_wire(room: Room, servers: tuple[str, str], wire: BigQueryWire) -> Room:
    """The same room, in which the kinds meet `wire` instead of the local BigQuery server."""
    settings = Settings(
        database_url="postgresql://nobody@localhost/none",
        project="local",
        landing_bucket="landing",
        storage_emulator_host=servers[0],
        bigquery_emulator_host=wire.url,
    )
    return replace(room, clients=Clients(settings))
