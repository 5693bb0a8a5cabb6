from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from database.sessions import Database
from run.app import create_app
from run.logs import configure_logging
from run.settings import Settings
from tests.acceptance.service_room import ServiceRoom, SlowWarehouse, Topic


@pytest.fixture
def more_settings() -> dict[str, str]:
    """What a test's service has beside the usual settings."""
    return {}


@pytest.fixture
def service(database_url: str, database: Database, more_settings: dict[str, str]) -> Iterator[ServiceRoom]:
    """A service of its own: its database, its topic and its warehouse are new."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    with Topic() as topic, SlowWarehouse() as warehouse:
        environment = {
            "DATABASE_URL": database_url,
            "GOOGLE_CLOUD_PROJECT": "local",
            "LANDING_BUCKET": "landing",
            "LOOPBACK_URL": topic.url,
            "STORAGE_EMULATOR_HOST": topic.url,
            "BIGQUERY_EMULATOR_HOST": warehouse.url,
            **more_settings,
        }
        settings = Settings.from_environment(environment)
        client = create_app(settings).test_client()
        log = io.StringIO()
        configure_logging(settings, log)
        yield ServiceRoom(client, environment, database, topic, warehouse, log)
        warehouse.may_end.set()
    root.handlers, root.level = before
