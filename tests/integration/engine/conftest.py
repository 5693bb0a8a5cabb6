from __future__ import annotations

import pytest

from database.sessions import Database
from tests.engine_room import EngineRoom


@pytest.fixture
def room(database: Database) -> EngineRoom:
    return EngineRoom(database)
