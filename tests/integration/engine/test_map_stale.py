"""A mapped task never goes on with elements of a list that is older than what the task is built on."""

from __future__ import annotations

import pytest

from database.attempts import claim
from database.statuses import Status
from run.engine.dependency_checker import reset_with_descendants
from tests.engine_room import ME, EngineRoom
from tests.integration.engine.test_map import NEEDS, TOKEN, open_elements, works
from tests.integration.engine.test_map_moves import failed_kitchen


def test_a_failed_mapped_task_waits_for_a_parent_that_runs_again_with_it_and_reads_its_list_anew(
    room: EngineRoom,
) -> None:
    failed_kitchen(room)
    room.moves.mark_task(room.task("list"), ME, Status.ERROR)
    result = room.moves.rerun_batch("cake", "2024-03", ME)
    assert (result.changed, result.released) == (("list", "cook"), ("list",))
    assert room.statuses() == {"list": "NEW", "cook": "WAITING", "serve": "WAITING"}
    room.told.orders["list"] = lambda _work: {"dishes": ["x"]}
    room.deliver_all()
    assert [work.item for work in works(room)] == ["x"]
    assert room.batch_status() == "SUCCESS"


def test_of_two_mapped_tasks_that_have_failed_the_lower_one_waits_for_the_elements_of_the_upper_one(
    room: EngineRoom,
) -> None:
    over = {"cook": "list.dishes", "serve": "cook"}
    room.apply(NEEDS, details={task: {"map": {"over": one, "max_failures": 0}} for task, one in over.items()})
    room.told.orders["list"] = lambda _work: {"dishes": ["a", "b"]}
    room.start()
    room.deliver_all()
    for task in ("cook", "serve"):
        room.moves.mark_task(room.task(task, element=1), ME, Status.ERROR)
    assert room.statuses() == {"list": "SUCCESS", "cook": "ERROR", "serve": "ERROR"}
    result = room.moves.rerun_batch("cake", "2024-03", ME)
    assert result.released == ("cook[1]",)
    assert room.statuses() == {"list": "SUCCESS", "cook": "PROCESSING", "serve": "WAITING"}
    room.deliver_all()
    assert [work.element for work in works(room)] == [0, 1, 1]
    assert [work.element for work in works(room, "serve")] == [0, 1, 0, 1]
    assert room.batch_status() == "SUCCESS"


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_task_that_was_to_read_its_list_anew_does_so_after_somebody_has_ended_it(
    room: EngineRoom, is_marked: bool
) -> None:
    lists = open_elements(room, list("abc"))
    working = room.key("cook", element=0)
    assert room.database.transact(lambda tx: claim(tx, working, TOKEN, ["told"])) is not None
    lists(["x"])
    room.database.transact(lambda tx: reset_with_descendants(tx, room.key("list")))
    room.execute("list")
    if is_marked:
        room.moves.mark_task(room.task("cook"), ME, Status.ERROR)
    else:
        room.moves.cancel_batch("cake", "2024-03", ME)
    room.publisher.messages.clear()
    room.moves.rerun_batch("cake", "2024-03", ME)
    room.deliver_all()
    # The element that was at work is begun again as soon as nothing of it runs outside.
    room.pass_time(3600)
    room.sweep()
    room.deliver_all()
    assert [work.item for work in works(room)] == ["x"]
    assert room.batch_status() == "SUCCESS"
