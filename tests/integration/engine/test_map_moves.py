"""People and newer files move mapped tasks and single elements; a list that is read anew may be longer or shorter."""

from __future__ import annotations

import re

import pytest

from database.attempts import claim
from database.elements import drop_elements, lock_mapped
from database.statuses import Status
from run.engine.dependency_checker import reset_with_descendants
from run.engine.invariant import Invariant
from run.errors import Refused
from tests.engine_room import ME, EngineRoom, failing
from tests.integration.engine.test_map import NEEDS, TOKEN, fails_for, kitchen, open_elements, works


def failed_kitchen(room: EngineRoom) -> None:
    """Of four elements, 1 and 2 have failed."""
    kitchen(room, list("abcd"))
    room.told.orders["cook"] = fails_for("b", "c")
    room.execute("cook")
    room.deliver_all()
    assert room.elements("cook") == ["SUCCESS", "ERROR", "ERROR", "SUCCESS"]
    assert room.batch_status() == "ERROR"
    room.told.orders.pop("cook")
    room.told.works.clear()


def test_one_element_runs_again_and_the_others_stay(room: EngineRoom) -> None:
    failed_kitchen(room)
    result = room.moves.rerun_task(room.task("cook", element=1), ME)
    assert (result.changed, result.released, result.batch_status) == (("cook[1]",), ("cook[1]",), "PROCESSING")
    room.deliver_all()
    assert [(work.element, work.attempt) for work in works(room)] == [(1, 2)]
    assert [entry[1:] for entry in room.log("cook")] == [
        ("ERROR", "2 of 4 elements failed: 1, 2\nelement 1: burnt"),
        ("ERROR", "1 of 4 elements failed: 2\nelement 2: burnt"),
    ]
    room.moves.rerun_task(room.task("cook", element=2), ME, downstream=True)
    room.deliver_all()
    assert room.statuses() == dict.fromkeys(NEEDS, "SUCCESS")
    assert room.batch_status() == "SUCCESS"
    [audit, _] = room.rows("SELECT subject, actor FROM audit ORDER BY audit_id")
    assert audit == ("task cake 2024-03 cook[1]", "ann")


def test_a_batch_that_runs_again_where_it_failed_runs_only_the_elements_that_have_failed(room: EngineRoom) -> None:
    failed_kitchen(room)
    result = room.moves.rerun_batch("cake", "2024-03", ME)
    assert (result.changed, result.released) == (("cook",), ("cook (2 elements)",))
    room.deliver_all()
    assert [work.element for work in works(room)] == [1, 2]
    assert room.statuses() == dict.fromkeys(NEEDS, "SUCCESS")


def test_a_task_that_a_person_has_marked_as_failed_is_judged_again_by_its_elements(room: EngineRoom) -> None:
    kitchen(room, list("ab"))
    room.deliver_all()
    room.execute("cook")
    room.deliver_all()
    room.moves.mark_task(room.task("cook"), ME, Status.ERROR)
    room.moves.rerun_batch("cake", "2024-03", ME)
    assert room.statuses()["cook"] == "SUCCESS"
    assert len(works(room)) == 2


def test_an_element_that_is_marked_counts_as_it_is_marked(room: EngineRoom) -> None:
    failed_kitchen(room)
    room.moves.mark_task(room.task("cook", element=1), ME, Status.SUCCESS)
    assert room.statuses()["cook"] == "ERROR"
    result = room.moves.mark_task(room.task("cook", element=2), ME, Status.SKIPPED)
    assert result.released == ("serve",)
    assert room.elements("cook") == ["SUCCESS", "SUCCESS", "SKIPPED", "SUCCESS"]
    room.deliver_all()
    [serve] = works(room, "serve")
    assert serve.results["cook"] == [{"cooked": "a"}, None, None, {"cooked": "d"}]
    with pytest.raises(Refused, match="element 2 of task cook is SKIPPED already"):
        room.moves.mark_task(room.task("cook", element=2), ME, Status.SKIPPED)


def test_marking_the_last_open_element_ends_the_task(room: EngineRoom) -> None:
    open_elements(room, list("ab"))
    room.execute("cook", element=0)
    room.moves.mark_task(room.task("cook", element=1), ME, Status.ERROR)
    assert room.log("cook") == [(1, "ERROR", "1 of 2 elements failed: 1")]
    room.deliver_all()
    assert len(works(room)) == 1


def test_an_element_runs_again_while_others_are_open(room: EngineRoom) -> None:
    open_elements(room, list("ab"))
    room.told.orders["cook"] = failing("no")
    room.execute("cook", element=0)
    room.told.orders.pop("cook")
    room.publisher.messages.clear()
    room.moves.rerun_task(room.task("cook", element=0), ME)
    # The one that the task remembers ends first, and sees that another one is open again.
    room.execute("cook", element=1)
    assert room.statuses()["cook"] == "PROCESSING"
    room.deliver_all()
    assert room.log("cook") == [(1, "SUCCESS", None)]


@pytest.mark.parametrize(
    ("task", "element", "why"),
    [
        ("list", 0, "task list is not mapped; it has no elements"),
        ("cook", 2, "task cook has 2 elements, which count from 0; there is no 2"),
        ("cook", 0, "element 0 of task cook is about to start"),
    ],
)
def test_an_element_that_cannot_run_again_is_refused(room: EngineRoom, task: str, element: int, why: str) -> None:
    open_elements(room, list("ab"))
    with pytest.raises(Refused, match=re.escape(why)):
        room.moves.rerun_task(room.task(task, element=element), ME)


def test_a_task_whose_list_is_not_read_yet_has_no_elements_to_run_again(room: EngineRoom) -> None:
    kitchen(room, list("ab"))
    with pytest.raises(Refused, match="task cook is to read its list first"):
        room.moves.rerun_task(room.task("cook", element=0), ME)


@pytest.mark.parametrize("items", [["x"], ["x", "y", "z", "u"]])
def test_a_task_that_runs_again_reads_its_list_anew(room: EngineRoom, items: list[str]) -> None:
    lists = kitchen(room, ["a", "b"], max_failures=9)
    room.told.orders["cook"] = fails_for("b")
    room.execute("cook")
    room.deliver_all()
    room.told.works.clear()
    lists(items)
    room.moves.rerun_task(room.task("list"), ME, downstream=True)
    room.deliver_all()
    assert [work.item for work in works(room)] == items
    assert [work.attempt for work in works(room)] == [2, 2, 1, 1][: len(items)]
    # What is left from the longer list is not asked for any more.
    assert works(room, "serve")[-1].results == {"cook": [{"cooked": item} for item in items]}
    assert room.rows(
        "SELECT details FROM task_log WHERE task_id = :t AND element = -1 AND attempt = 2", t=room.key("cook").task_id
    ) == [({"elements": len(items), "failed": 0},)]
    assert room.batch_status() == "SUCCESS"


def test_the_list_is_read_anew_when_what_it_is_built_on_changes_while_elements_work(room: EngineRoom) -> None:
    lists = open_elements(room, list("abc"))
    room.publisher.messages.clear()
    working = room.key("cook", element=0)
    assert room.database.transact(lambda tx: claim(tx, working, TOKEN, ["told"])) is not None
    lists(["x"])
    room.database.transact(lambda tx: reset_with_descendants(tx, room.key("list")))
    # Those that nobody has begun are dropped, the one at work ends by itself.
    assert room.elements("cook") == ["PROCESSING", "CANCELLED", "CANCELLED"]
    assert room.statuses() == {"list": "NEW", "cook": "PROCESSING", "serve": "WAITING"}
    room.execute("list")
    room.pass_time(3600)
    room.sweep()
    room.deliver_all()
    assert [work.item for work in works(room)] == ["a", "x"]
    assert [entry[1] for entry in room.log("cook")] == ["CANCELLED", "SUCCESS"]
    assert room.elements("cook") == ["SUCCESS", "CANCELLED", "CANCELLED"]
    assert works(room, "serve")[0].results == {"cook": [{}]}


def test_an_element_whose_retry_is_due_later_is_dropped_when_the_list_is_to_be_read_anew(room: EngineRoom) -> None:
    open_elements(room, list("a"), retries=1)
    room.told.orders["cook"] = lambda work: reset_and_fail(room, work)
    room.execute("cook", element=0)
    assert room.elements("cook") == ["CANCELLED"]
    assert room.statuses()["cook"] == "WAITING"


def reset_and_fail(room: EngineRoom, work: object) -> None:
    room.database.transact(lambda tx: reset_with_descendants(tx, room.key("list")))
    failing("busy", passing=True)(work)  # type: ignore[arg-type]


def test_nothing_waits_when_the_list_is_to_be_read_anew_and_no_element_works(room: EngineRoom) -> None:
    open_elements(room, list("abc"))
    room.database.transact(lambda tx: reset_with_descendants(tx, room.key("list")))
    assert room.statuses()["cook"] == "WAITING"
    room.execute("list")
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"


def test_a_change_that_comes_while_the_list_is_read_lets_it_be_read_again(room: EngineRoom) -> None:
    kitchen(room, list("ab"))
    key = room.key("cook")
    claimed = room.database.transact(lambda tx: claim(tx, key, TOKEN, ["told"]))
    assert claimed is not None
    room.database.transact(lambda tx: reset_with_descendants(tx, room.key("list")))
    from run.engine.expanding import Expands, write_elements

    assert room.database.transact(lambda tx: write_elements(tx, claimed, Expands(list("ab")))) is not None
    assert (room.elements("cook"), room.statuses()["cook"]) == ([], "WAITING")
    room.execute("list")
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"


def test_what_elements_do_outside_is_ended_before_their_successors_begin(room: EngineRoom) -> None:
    open_elements(room, list("ab"), kind="told_outside")
    room.deliver_all()
    room.told_outside.confirms = False
    room.moves.rerun_task(room.task("cook"), ME)
    assert room.elements("cook") == ["CANCELLED", "CANCELLED"]
    room.deliver_all()
    # The list is read, and each element waits until nothing of its former attempt runs outside.
    assert room.elements("cook") == ["WAITING", "WAITING"]
    room.told_outside.confirms = True
    room.pass_time(3600)
    room.sweep()
    room.deliver_all()
    assert sorted(room.told_outside.jobs.values()) == ["cancelled", "cancelled", "running", "running"]
    room.told_outside.end_jobs()
    room.pass_time(60)
    room.sweep()
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"


def test_the_end_of_an_attempt_knows_the_item_that_it_had(room: EngineRoom) -> None:
    ended: list[object] = []
    lists = open_elements(room, ["a"], kind="told_outside")
    room.deliver_all()
    cancel = room.told_outside.cancel
    room.told_outside.cancel = lambda config, work, handle: ended.append(work.item) or cancel(config, work, handle)  # type: ignore[method-assign,func-returns-value]
    lists(["x"])
    room.moves.rerun_task(room.task("list"), ME, downstream=True)
    room.deliver_all()
    room.pass_time(3600)
    room.sweep()
    assert ended == ["a"]


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.ERROR, Status.SKIPPED])
def test_a_task_that_is_marked_cancels_its_open_elements(room: EngineRoom, status: Status) -> None:
    open_elements(room, list("abc"))
    room.execute("cook", element=1)
    room.moves.mark_task(room.task("cook"), ME, status)
    assert room.elements("cook") == ["CANCELLED", "SUCCESS", "CANCELLED"]
    room.deliver_all()
    assert len(works(room)) == 1
    assert room.statuses()["cook"].split(":")[0] == status


def test_a_batch_that_is_cancelled_cancels_the_elements_and_goes_on_with_them_when_it_runs_again(
    room: EngineRoom,
) -> None:
    open_elements(room, list("abc"))
    room.execute("cook", element=1)
    room.moves.cancel_batch("cake", "2024-03", ME)
    assert room.elements("cook") == ["CANCELLED", "SUCCESS", "CANCELLED"]
    assert room.batch_status() == "CANCELLED"
    room.deliver_all()
    assert len(works(room)) == 1
    room.moves.rerun_batch("cake", "2024-03", ME)
    room.deliver_all()
    assert sorted(str(work.element) for work in works(room)) == ["0", "1", "2"]
    assert room.batch_status() == "SUCCESS"


def test_a_batch_with_open_elements_moves_to_the_newest_version(room: EngineRoom) -> None:
    open_elements(room, list("ab"))
    mapped = {"over": "list.dishes", "max_failures": 0}
    room.apply({**NEEDS, "wash": []}, details={"cook": {"map": mapped}, "serve": {"reads_results": ("cook",)}})
    room.moves.rerun_batch("cake", "2024-03", ME, failed=False, latest=True)
    # Nothing of the mapped task has changed: its elements go on.
    assert room.elements("cook") == ["NEW", "NEW"]
    assert room.rows("SELECT count(DISTINCT version_id) FROM batch_task") == [(1,)]
    room.deliver_all()
    assert (room.batch_status(), len(works(room))) == ("SUCCESS", 2)


def test_a_task_that_is_no_longer_mapped_in_the_newest_version_runs_as_a_whole(room: EngineRoom) -> None:
    open_elements(room, list("ab"))
    room.apply(NEEDS, details={"serve": {"reads_results": ("cook",)}})
    room.moves.rerun_batch("cake", "2024-03", ME, failed=False, latest=True)
    assert room.elements("cook") == ["CANCELLED", "CANCELLED"]
    room.deliver_all()
    assert [work.element for work in works(room)] == [None]
    assert room.batch_status() == "SUCCESS"


def test_a_task_that_awaits_elements_of_which_none_is_open_is_found_and_ended(room: EngineRoom) -> None:
    open_elements(room, list("ab"))
    key = room.key("cook")
    room.database.transact(lambda tx: drop_elements(tx, key.batch, [key.task_id]))
    room.publisher.messages.clear()
    room.change("UPDATE batch_task SET changed_at = changed_at - interval '2 hours'")
    [found] = Invariant(room.database, room.life).check()
    assert found == "cake 2024-03 cook: it is PROCESSING and waits for nothing"
    assert room.log("cook") == [(1, "ERROR", "2 of 2 elements failed: 0, 1")]
    mapped = room.database.transact(lambda tx: lock_mapped(tx, key))
    assert mapped is not None
    assert not mapped.awaits_elements
