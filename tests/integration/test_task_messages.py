"""Messages name tasks by their ids; the names and the workflow that belong to those are asked for rarely."""

from __future__ import annotations

import pytest

from database.sessions import Database
from run.errors import Rejected
from run.handlers import task
from run.handlers.task import TaskHandler
from run.pubsub.envelope import Delivery, read_delivery
from run.pubsub.messages import TaskAddress, TaskMessage
from tests.engine_room import EngineRoom
from tests.integration.engine.test_growth import counted_statements

DELIVERY: Delivery = read_delivery({"content-type": "application/json"}, b'{"message": {"messageId": "1", "data": ""}}')
WIDE = {f"t{number:03d}": () for number in range(250)}


@pytest.fixture
def room(database: Database) -> EngineRoom:
    return EngineRoom(database)


@pytest.fixture
def handler(room: EngineRoom) -> TaskHandler:
    return TaskHandler(room.database, room.life)


def execute(handler: TaskHandler, address: TaskAddress) -> None:
    handler.execute(TaskMessage(address, "2024-03"), DELIVERY)


def questions(room: EngineRoom, handler: TaskHandler, names: list[str]) -> int:
    """How often the database is asked which tasks those of messages are."""
    addresses = [TaskAddress(room.key(name).task_id) for name in names]
    with counted_statements(room) as statements:
        for address in addresses:
            execute(handler, address)
    return sum("tasks_from" in statement for statement in statements)


def test_the_tasks_of_a_batch_are_asked_for_a_hundred_at_a_time(room: EngineRoom, handler: TaskHandler) -> None:
    room.apply({"other": ()}, workflow="other")
    room.apply(WIDE)
    room.start()
    assert questions(room, handler, list(WIDE)) == 3
    assert questions(room, handler, list(WIDE)) == 0
    assert [work.task for work in room.told.works] == list(WIDE)
    assert room.batch_status() == "SUCCESS"


def test_not_every_task_that_was_ever_run_is_remembered(
    room: EngineRoom, handler: TaskHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "MOST_KNOWN", 50)
    room.apply(WIDE)
    room.start()
    assert questions(room, handler, ["t000", "t150", "t000"]) == 3


@pytest.mark.parametrize("by_name", [False, True])
def test_a_task_that_comes_to_be_after_its_first_message_is_found_then(
    room: EngineRoom, handler: TaskHandler, by_name: bool
) -> None:
    room.apply({"first": ()}, workflow="other")
    after = room.key("first", workflow="other").task_id + 1
    address = TaskAddress(workflow="cake", task_name="bake") if by_name else TaskAddress(after)
    expected = "cake.bake" if by_name else str(after)
    with pytest.raises(Rejected, match=f"^there is no task {expected}$"):
        execute(handler, address)
    room.apply({"bake": ()})
    assert room.key("bake").task_id == after
    room.start()
    execute(handler, address)
    assert room.statuses() == {"bake": "SUCCESS"}
