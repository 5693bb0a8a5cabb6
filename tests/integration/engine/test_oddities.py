"""What comes oddly: triggers late or by name, outcomes that no JSON holds, revisions that know less than the data."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from database.attempts import claim
from database.sessions import Transaction
from database.workflows import NewVersion, store_version
from run.errors import PermanentFailure, Unavailable
from run.handlers.file import FileHandler
from run.handlers.workflow import WorkflowHandler
from run.kinds.archive_file import is_archived
from run.kinds.kind import Work
from run.pubsub.messages import FileMessage, WorkflowMessage
from tests.engine_room import EngineRoom, _task
from tests.integration.engine.test_arrivals import apply_profit, decisions, deliver, land, notification, wants

FRESH = "Batch_{today:%Y%m%d}_{number}"


@pytest.fixture
def files(room: EngineRoom) -> FileHandler:
    return FileHandler(room.database, room.life, {"landing_bucket": "landing"}, lambda *_: None, is_archived)


def test_a_batch_that_was_opened_by_name_does_not_swallow_the_next_trigger(room: EngineRoom) -> None:
    room.apply({"only": []}, batch=FRESH)
    workflows = WorkflowHandler(room.database, room.life)
    workflows.start(WorkflowMessage("cake", "Batch_20240316_001"), "by name")
    joined = workflows.start(WorkflowMessage("cake"), "by a trigger", day=date(2024, 3, 16))
    assert (joined.key.batch_id, joined.created) == ("Batch_20240316_002", True)
    again = workflows.start(WorkflowMessage("cake"), "by a trigger", day=date(2024, 3, 17))
    assert (again.key.batch_id, again.created) == ("Batch_20240316_002", False)


def test_a_file_belongs_to_the_day_of_its_event_however_late_it_is_announced(
    room: EngineRoom, files: FileHandler
) -> None:
    room.apply({"load": []}, workflow="w", batch="{today:%Y-%m-%d}", details={"load": wants(r"gs://landing/.*\.csv")})
    late = datetime(2024, 3, 1, 23, 59, 59, tzinfo=UTC)
    message = FileMessage("OBJECT_FINALIZE", "landing", "a.csv", 1, 5, {}, late)
    for _ in range(2):
        files.handle(message, notification("a.csv"))
    assert room.rows("SELECT batch_id FROM task_batch") == [("2024-03-01",)]


def test_a_file_that_comes_again_after_the_batch_ids_have_changed_opens_nothing(
    room: EngineRoom, files: FileHandler
) -> None:
    details = {"load": wants(r"gs://{landing_bucket}/sales/(?P<period>\d{4}-\d{2})\.csv")}
    room.apply({"load": []}, workflow="w", details=details)
    announced = notification("sales/2024-03.csv")
    deliver(files, announced)
    room.apply({"load": []}, workflow="w", batch="p-{period}", details=details)
    deliver(files, announced)
    assert room.rows("SELECT batch_id FROM task_batch") == [("2024-03",)]


@pytest.mark.parametrize(("policy", "batches"), [("rerun", 2), ("ignore", 1)])
def test_generations_are_told_apart_where_every_trigger_opens_its_own_batch(
    room: EngineRoom, files: FileHandler, policy: str, batches: int
) -> None:
    details = {"load": wants(r"gs://landing/daily/.*\.csv", on_new_generation=policy)}
    room.apply({"load": []}, workflow="daily", batch=FRESH, details=details)
    for generation in (5, 4, 6):
        land(files, "daily/a.csv", generation)
    assert room.rows("SELECT count(*) FROM task_batch") == [(batches,)]
    assert [(row[1], row[2]) for row in decisions(room)] == [
        (5, "TAKEN"),
        (4, "SUPERSEDED"),
        (6, "TAKEN" if policy == "rerun" else "IGNORED"),
    ]


def test_a_start_that_comes_again_after_a_default_has_changed_joins_its_batch(room: EngineRoom) -> None:
    def apply(params: dict[str, Any]) -> None:
        new = NewVersion("cake", "{period}", params, {}, str(params), [_task("only", [], {})])

        def store(tx: Transaction) -> None:
            store_version(tx, new)

        room.database.transact(store)

    workflows = WorkflowHandler(room.database, room.life)
    apply({"size": 1})
    assert workflows.start(WorkflowMessage("cake", "2024-03"), "k").created
    apply({"size": 2})
    assert not workflows.start(WorkflowMessage("cake", "2024-03"), "k").created


@pytest.mark.parametrize("odd", [float("nan"), date(2024, 1, 1), "\ud800", {1: {2}}, "a\0b"])
def test_an_outcome_is_kept_however_oddly_it_is_told(room: EngineRoom, odd: object) -> None:
    room.apply({"fails": [], "succeeds": []})
    room.start()

    def fail(_work: Work) -> None:
        raise PermanentFailure("bad name \udcff.csv", {"odd": odd})

    room.told.orders |= {"fails": fail, "succeeds": lambda _work: {"odd": odd}}
    room.deliver_all()
    assert room.log("fails") == [(1, "ERROR", "bad name \N{REPLACEMENT CHARACTER}.csv")]
    assert room.log("succeeds") == [(1, "SUCCESS", None)]


def test_a_trigger_that_this_revision_cannot_read_stops_no_other_file(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    newer = {"pattern": r"gs://{landing_bucket}/(?P<x>.*)", "a_key_of_the_next_revision": 1}
    room.apply({"load": []}, workflow="newer", batch="{x}", details={"load": {"kind": "told_file", "file": newer}})
    with pytest.raises(Unavailable, match=r"newer\.load"):
        land(files, "sales/2024-03.csv")
    assert room.published() == ["load_sales"]


def test_an_outage_of_pubsub_does_not_make_messages_rare(room: EngineRoom) -> None:
    room.apply({"a": []})
    room.start()
    room.publisher.messages.clear()
    room.publisher.is_down = True
    for _ in range(5):
        room.change("UPDATE batch_task SET publish_after = clock_timestamp() - interval '1 s'")
        room.sweep()
    waits = room.rows("SELECT publishes, publish_after < clock_timestamp() + interval '61 s' FROM batch_task")
    assert waits == [(0, True)]


def test_the_sweep_leaves_attempts_of_kinds_that_this_revision_does_not_know(room: EngineRoom) -> None:
    room.apply({"a": []})
    key = room.start()
    room.publisher.messages.clear()
    token = "00000000-0000-0000-0000-000000000001"
    room.database.transact(lambda tx: claim(tx, room.key("a", key.batch_id), token, ["told"]))
    room.change("UPDATE batch_task SET lease_until = clock_timestamp() - interval '1 s'")
    room.change("UPDATE task_version SET kind = 'of_tomorrow'")
    assert "dead_attempts" not in room.sweep()


def test_what_is_skipped_and_why_does_not_depend_on_who_ends_first(room: EngineRoom) -> None:
    graph = {"ok": [], "bad": [], "rescue": ["ok"], "child": ["rescue", "bad"], "grandchild": ["child"]}
    details: dict[str, dict[str, Any]] = {
        "ok": {"success_may_skip": True},
        "rescue": {"rule": "one_failed"},
        "grandchild": {"rule": "none_failed"},
    }
    room.apply(graph, details=details)
    room.told.orders["bad"] = failing_now
    for batch_id, order in (("1", ("ok", "bad")), ("2", ("bad", "ok"))):
        room.start(batch_id)
        for task in order:
            room.execute(task, batch_id)
    room.deliver_all()
    assert room.statuses("1") == room.statuses("2")
    assert room.statuses("1")["grandchild"] == "SKIPPED:upstream_failed"


def failing_now(_work: Work) -> None:
    raise PermanentFailure("no")
