"""Nothing waits without a name: typed reasons, the invariant that finds what has none, deadlines, and the sweep."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from database.attempts import claim
from database.facts import open_tasks
from run.engine.invariant import Invariant
from run.engine.reasons import ReasonKind, reasons_of
from run.errors import Unavailable
from run.handlers.sweep import PUT_OFF_SECONDS
from run.kinds.kind import Work
from tests.engine_room import ME, EngineRoom, failing
from tests.integration.engine.test_growth import counted_statements

TOKEN = "00000000-0000-0000-0000-000000000001"


def waits(room: EngineRoom, task: str) -> list[tuple[ReasonKind, tuple[str, ...]]]:
    """What a task waits for."""
    batch = room.key(task).batch
    [found] = [one for one in room.database.transact(lambda tx: open_tasks(tx, batch)) if one.task == task]
    return [(reason.kind, reason.ids) for reason in reasons_of(found, room.life.kinds)]


def test_every_way_of_waiting_has_its_reason(room: EngineRoom) -> None:
    file = {"kind": "told_file", "file": {"pattern": "gs://landing/a"}}
    details: dict[str, dict[str, Any]] = {
        "file": file,
        "outside": {"kind": "told_outside"},
        "external": {"kind": "told_external"},
        "retry": {"retries": 1},
        "odd": {"kind": "from_the_future"},
    }
    names = ["file", "outside", "external", "retry", "odd", "message", "held", "silent"]
    room.apply({**{name: [] for name in names}, "below": ["file", "held"]}, details=details)
    room.told.orders["retry"] = failing("busy", passing=True)
    room.told.orders["silent"] = _no_answer
    room.start()
    for task in ("outside", "external", "retry", "odd", "silent"):
        room.execute(task)
    room.database.transact(lambda tx: claim(tx, room.key("held"), TOKEN, ["told"]))
    assert waits(room, "file") == [(ReasonKind.FILE, ("gs://landing/a",))]
    assert waits(room, "below") == [(ReasonKind.PARENTS, ("file", "held"))]
    assert waits(room, "message") == [(ReasonKind.MESSAGE, ())]
    assert waits(room, "odd") == [(ReasonKind.UNKNOWN_KIND, ("from_the_future",))]
    assert waits(room, "held") == [(ReasonKind.WORKER, ("attempt 1",))]
    assert waits(room, "silent") == [(ReasonKind.HANDED_BACK, ("attempt 1",))]
    assert waits(room, "retry") == [(ReasonKind.RETRY, ("attempt 2",))]
    assert waits(room, "external") == [(ReasonKind.COMPLETION, ("attempt 1",))]
    [(kind, (job,))] = waits(room, "outside")
    assert (kind, job.startswith("job ")) == (ReasonKind.JOB, True)
    room.moves.rerun_task(room.task("outside"), ME)
    assert waits(room, "outside") == [(ReasonKind.ENDING, ("attempt 1",))]
    room.pass_time(120)
    assert waits(room, "held") == [(ReasonKind.DEAD_WORKER, ("attempt 1",))]


def _no_answer(_work: Work) -> None:
    raise Unavailable("nobody answers")


def test_a_reason_says_since_when_and_until_when(room: EngineRoom) -> None:
    room.told.orders["a"] = failing("busy", passing=True)
    room.apply({"a": []}, details={"a": {"retries": 1}})
    room.start()
    room.deliver_all()
    batch = room.key("a").batch
    [[reason]] = [reasons_of(one) for one in room.database.transact(lambda tx: open_tasks(tx, batch))]
    assert reason.until is not None
    assert reason.since <= reason.until
    assert reason.ends_by == "the first sweep after it is due"


def test_what_stands_still_for_no_reason_is_an_error_in_the_log_and_judged_again(
    room: EngineRoom, caplog: pytest.LogCaptureFixture
) -> None:
    room.apply({"a": [], "b": ["a"], "c": ["b"]})
    room.start()
    room.deliver_all()
    room.change("UPDATE task_batch SET status = 'PROCESSING', ended_at = NULL")
    room.change(
        "UPDATE batch_task SET status = 'WAITING', changed_at = changed_at - interval '2 hours' WHERE task_id <> :a",
        a=room.key("a").task_id,
    )
    found = Invariant(room.database, room.life).check()
    assert found == ["cake 2024-03 b: it is WAITING and waits for nothing"]
    assert [record.levelno for record in caplog.records if "nothing ends the waiting of b" in record.message] == [
        logging.ERROR
    ]
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"


def test_what_should_have_been_moved_long_ago_is_an_error_in_the_log(room: EngineRoom) -> None:
    details = {"outside": {"kind": "told_outside"}, "external": {"kind": "told_external"}}
    room.apply({"lost": [], "dead": [], "outside": [], "external": []}, details=details)
    room.start()
    room.execute("outside")
    room.execute("external")
    room.database.transact(lambda tx: claim(tx, room.key("dead"), TOKEN, ["told"]))
    invariant = Invariant(room.database, room.life)
    assert invariant.check() == []
    room.pass_time(8 * 24 * 3600)
    assert invariant.check() == [], "it has not stood still for long"
    room.change("UPDATE batch_task SET changed_at = changed_at - interval '9 days'")
    assert {line.split(":")[0] for line in invariant.check()} == {
        f"cake 2024-03 {task}" for task in ("lost", "dead", "outside", "external")
    }


@pytest.mark.parametrize("newest", [{"first": [], "load": ["first"]}, {"first": []}])
def test_a_file_that_the_newest_version_looks_for_no_more_is_an_error_in_the_log(
    room: EngineRoom, newest: dict[str, list[str]]
) -> None:
    first: dict[str, dict[str, Any]] = {"first": {"kind": "told_outside"}}
    load = {"load": {"kind": "told_file", "file": {"pattern": "gs://landing/a"}}}
    room.apply({"first": [], "load": ["first"]}, details={**first, **load})
    room.start()
    room.deliver_all()
    room.change("UPDATE batch_task SET changed_at = changed_at - interval '2 hours' WHERE status = 'WAITING'")
    invariant = Invariant(room.database, room.life)
    assert invariant.check() == [], "its file may come"
    room.apply(newest, details=first)
    why = "the newest version of its workflow looks for no file for it; batch rerun --latest moves it there"
    assert invariant.check() == [f"cake 2024-03 load: {why}"]
    room.moves.rerun_batch("cake", "2024-03", ME, latest=True)
    room.change("UPDATE batch_task SET changed_at = changed_at - interval '2 hours' WHERE status = 'WAITING'")
    assert invariant.check() == []


def test_a_batch_that_is_late_is_spoken_of_once_and_goes_on(room: EngineRoom, caplog: pytest.LogCaptureFixture) -> None:
    room.apply({"a": []}, deadline_seconds=600)
    room.start()
    assert room.sweep() == {}
    room.pass_time(601)
    assert room.sweep()["deadline"] == 1
    assert "the batch has missed its deadline" in caplog.text
    assert "deadline" not in room.sweep()
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"
    assert room.rows("SELECT deadline_missed_at IS NOT NULL FROM task_batch") == [(True,)]


def test_a_batch_that_is_late_is_cancelled_if_the_workflow_says_so(room: EngineRoom) -> None:
    room.apply(
        {"a": [], "b": ["a"]},
        details={"a": {"kind": "told_outside"}},
        deadline_seconds=600,
        on_missed_deadline="cancel",
    )
    room.start()
    room.deliver_all()
    room.pass_time(601)
    swept = room.sweep()
    assert (swept["deadline"], swept["cancellation"]) == (1, 1)
    assert room.statuses() == {"a": "CANCELLED", "b": "CANCELLED"}
    assert room.batch_status() == "CANCELLED"
    assert list(room.told_outside.jobs.values()) == ["cancelled"]
    assert room.rows("SELECT actor, action, subject FROM audit") == [("the deadline", "cancel", "batch cake 2024-03")]


def test_a_batch_that_has_ended_in_time_misses_no_deadline(room: EngineRoom) -> None:
    room.apply({"a": []}, deadline_seconds=600)
    room.start()
    room.deliver_all()
    room.pass_time(601)
    assert room.sweep() == {}


def test_a_batch_that_ended_in_time_and_is_opened_again_later_has_a_new_deadline(room: EngineRoom) -> None:
    room.told.orders["a"] = failing("no")
    room.apply({"a": []}, deadline_seconds=600, on_missed_deadline="cancel")
    room.start()
    room.deliver_all()
    room.pass_time(7200)
    room.told.orders.clear()
    room.moves.rerun_batch("cake", "2024-03", ME)
    assert room.sweep() == {}
    room.pass_time(599)
    assert "deadline" not in room.sweep()
    room.pass_time(2)
    assert room.sweep()["deadline"] == 1
    assert room.batch_status() == "CANCELLED"


def test_an_idle_sweep_asks_four_questions(room: EngineRoom) -> None:
    room.apply({"a": []})
    room.start()
    room.deliver_all()
    room.sweep()
    with counted_statements(room) as statements:
        room.sweep()
    assert len(statements) == 4


def test_one_item_that_raises_is_put_off_and_stops_no_other(room: EngineRoom) -> None:
    details = {name: {"kind": "told_outside"} for name in ("broken", "fine")}
    room.apply({"broken": [], "fine": []}, details=details)
    room.start()
    room.deliver_all()
    room.told_outside.end_jobs()
    broken = room.key("broken").task_id
    room.change("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'")
    room.change(
        "CREATE TRIGGER refuse BEFORE UPDATE ON batch_task FOR EACH ROW "
        f"WHEN (NEW.task_id = {broken} AND NEW.token IS NOT NULL) EXECUTE FUNCTION refuse()"
    )
    room.pass_time(60)
    assert room.sweep() == {"poll": 1, "put_off": 1}
    assert room.statuses() == {"broken": "PROCESSING", "fine": "SUCCESS"}
    [(seconds,)] = room.rows(
        "SELECT extract(epoch FROM due_at - clock_timestamp()) FROM batch_task WHERE task_id = :t", t=broken
    )
    assert 0 < seconds <= PUT_OFF_SECONDS
    room.change("DROP TRIGGER refuse ON batch_task")
    room.pass_time(PUT_OFF_SECONDS)
    assert room.sweep() == {"poll": 1}
    assert room.batch_status() == "SUCCESS"


def test_what_becomes_due_while_the_kick_lasts_is_done_by_the_same_kick(room: EngineRoom) -> None:
    room.told_outside.poll_after = 0.2
    room.apply({"a": []}, details={"a": {"kind": "told_outside"}})
    room.start()
    room.deliver_all()
    room.told_outside.end_jobs()
    room.change("UPDATE batch_task SET due_at = clock_timestamp() + interval '1 second'")
    assert room.sweeps.sweep(seconds=10)["poll"] == 1
    assert room.batch_status() == "SUCCESS"


def test_the_children_of_a_task_that_has_ended_are_published_again_when_its_message_comes_again(
    room: EngineRoom,
) -> None:
    room.apply({"a": [], "b": ["a"]})
    room.start()
    room.publisher.is_down = True
    room.execute("a")
    room.publisher.is_down = False
    room.publisher.messages.clear()
    room.execute("a")
    assert room.published() == [], "they may be on their way"
    room.change("UPDATE batch_task SET changed_at = changed_at - interval '10 seconds'")
    room.execute("a")
    assert room.published() == ["b"]
