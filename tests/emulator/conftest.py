from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.local_parts import require_pubsub_emulator
from tests.stack_room import StackRoom, running_stack


@pytest.fixture(scope="module")
def room() -> Iterator[StackRoom]:
    """One stack with the real Pub/Sub emulator for all stories of a module; each has a workflow of its own."""
    require_pubsub_emulator()
    with running_stack("emulator") as room:
        yield room
