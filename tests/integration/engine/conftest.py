from __future__ import annotations

import pytest

from database.sessions import Database
from run.handlers.file import FileHandler
from run.kinds.archive_file import is_archived
from tests.engine_room import EngineRoom


@pytest.fixture
def room(database: Database) -> EngineRoom:
    return EngineRoom(database)


@pytest.fixture
def files(room: EngineRoom) -> FileHandler:
    return FileHandler(room.database, room.life, {"landing_bucket": "landing"}, lambda *_: None, is_archived)
