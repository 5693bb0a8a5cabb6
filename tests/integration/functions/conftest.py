from __future__ import annotations

import pytest

from database.sessions import Database
from tests.function_room import FunctionRoom


@pytest.fixture
def functions(database: Database) -> FunctionRoom:
    return FunctionRoom(database)
