"""Files arrive: early, late, twice, together, again and wrongly; each is decided once for each task that wants it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from database.attempts import claim
from database.places import NewPlace, store_places
from database.statuses import FileDecision, Status
from run.errors import Unavailable
from run.handlers.file import FileHandler
from run.kinds.archive_file import ARCHIVE_MARKER, is_archived
from run.kinds.kind import Work
from run.pubsub.envelope import Delivery, read_delivery
from run.pubsub.messages import FileMessage, parse_message
from tests.engine_room import ME, EngineRoom, failing

PROFIT = {"load_sales": [], "load_expenses": [], "profit": ["load_sales", "load_expenses"]}
SALES = r"gs://{landing_bucket}/sales/(?P<period>\d{4}-\d{2})\.csv"
EXPENSES = r"gs://{landing_bucket}/expenses/(?P<period>\d{4}-\d{2})\.parquet"

_message_ids = count(1)


def wants(pattern: str, **more: Any) -> dict[str, Any]:
    """The details of a task that waits for a file."""
    return {"kind": "told_file", "file": {"pattern": pattern, **more}}


def apply_profit(room: EngineRoom, **sales: Any) -> None:
    room.apply(
        PROFIT, workflow="profit", details={"load_sales": wants(SALES, **sales), "load_expenses": wants(EXPENSES)}
    )


def notification(
    name: str,
    generation: int = 1,
    *,
    event: str = "OBJECT_FINALIZE",
    metadata: Mapping[str, str] | None = None,
    bucket: str = "landing",
) -> Delivery:
    """What Pub/Sub pushes when an object has landed, with a message id of its own each time."""
    resource = {"bucket": bucket, "name": name, "generation": str(generation), "size": "5", "metadata": metadata or {}}
    attributes = {"eventType": event, "bucketId": bucket, "objectId": name, "objectGeneration": str(generation)}
    message = {
        "attributes": attributes,
        "data": base64.b64encode(json.dumps(resource).encode()).decode(),
        "messageId": str(next(_message_ids)),
    }
    return read_delivery({"content-type": "application/json"}, json.dumps({"message": message}).encode())


def land(files: FileHandler, name: str, generation: int = 1, **more: Any) -> None:
    deliver(files, notification(name, generation, **more))


def deliver(files: FileHandler, delivery: Delivery) -> None:
    message = parse_message(delivery)
    assert isinstance(message, FileMessage)
    files.handle(message, delivery)


def decisions(room: EngineRoom) -> list[tuple[Any, ...]]:
    return room.rows("SELECT object, generation, decision, reason FROM file_log ORDER BY file_log_id")


def test_two_files_of_one_period_meet_in_one_batch(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    land(files, "sales/2024-03.csv")
    assert room.published() == ["load_sales"]
    room.deliver_all()
    assert room.statuses("2024-03", "profit") == {
        "load_sales": "SUCCESS",
        "load_expenses": "WAITING",
        "profit": "WAITING",
    }
    land(files, "expenses/2024-03.parquet")
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"
    assert room.rows("SELECT batch_id FROM task_batch") == [("2024-03",)]


def test_files_of_different_periods_never_meet(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    land(files, "sales/2024-03.csv")
    land(files, "expenses/2024-04.parquet")
    room.deliver_all()
    assert room.told.starts("profit") == 0
    assert room.statuses("2024-03", "profit")["profit"] == room.statuses("2024-04", "profit")["profit"] == "WAITING"


@pytest.mark.timeout(300)
def test_two_files_that_land_at_the_same_moment_open_one_batch_and_both_are_taken(
    room: EngineRoom, files: FileHandler
) -> None:
    apply_profit(room)
    rounds = 200
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            together = threading.Barrier(2)
            period = f"{1900 + number // 12}-{number % 12 + 1:02d}"

            def land_together(name: str, together: threading.Barrier = together) -> None:
                delivery = notification(name)
                together.wait()
                deliver(files, delivery)

            list(pool.map(land_together, [f"sales/{period}.csv", f"expenses/{period}.parquet"]))
    assert room.rows("SELECT count(*) FROM task_batch") == [(rounds,)]
    assert room.rows("SELECT decision, count(*) FROM file_log GROUP BY 1") == [("TAKEN", 2 * rounds)]
    assert sorted(room.published()) == ["load_expenses"] * rounds + ["load_sales"] * rounds


@pytest.mark.timeout(300)
def test_generations_that_land_at_the_same_moment_end_with_the_newest_however_they_overtake_each_other(
    room: EngineRoom, files: FileHandler
) -> None:
    apply_profit(room)
    rounds = 100
    with ThreadPoolExecutor(3) as pool:
        for number in range(rounds):
            together = threading.Barrier(3)
            name = f"sales/{1900 + number // 12}-{number % 12 + 1:02d}.csv"

            def land_together(generation: int, name: str = name, together: threading.Barrier = together) -> None:
                delivery = notification(name, generation)
                together.wait()
                deliver(files, delivery)

            list(pool.map(land_together, [1, 2, 3]))
    taken = room.rows("SELECT generation, count(*) FROM file_log WHERE decision = 'TAKEN' GROUP BY 1")
    assert taken == [(3, rounds)]
    assert room.rows("SELECT count(*) FROM file_log WHERE decision = 'SUPERSEDED'") == [(2 * rounds,)]
    assert room.rows("SELECT count(*) FROM batch_task WHERE status = 'NEW'") == [(rounds,)]


@pytest.mark.timeout(300)
def test_of_two_objects_that_land_at_the_same_moment_for_one_task_one_is_taken_and_one_is_rejected(
    room: EngineRoom, files: FileHandler
) -> None:
    details = {
        "other": wants(r"gs://landing/other/(?P<period>\d{4}-\d{2})\.csv"),
        "load": wants(r"gs://landing/(?P<period>\d{4}-\d{2})-\w+\.csv"),
    }
    room.apply({"other": [], "load": []}, workflow="profit", details=details)
    rounds = 50
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            together = threading.Barrier(2)
            period = f"{1900 + number // 12}-{number % 12 + 1:02d}"
            # The batch is there already, so that neither waits for the other to open it.
            land(files, f"other/{period}.csv")

            def land_together(name: str, together: threading.Barrier = together) -> None:
                delivery = notification(name)
                together.wait()
                deliver(files, delivery)

            list(pool.map(land_together, [f"{period}-first.csv", f"{period}-second.csv"]))
    decided = room.rows("SELECT decision, count(*) FROM file_log WHERE object LIKE '%-%-%' GROUP BY 1 ORDER BY 1")
    assert decided == [("REJECTED", rounds), ("TAKEN", rounds)]


def test_one_generation_announced_often_is_one_load(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: land(files, "sales/2024-03.csv", 7), range(8)))
    room.deliver_all()
    land(files, "sales/2024-03.csv", 7)
    room.deliver_all()
    assert room.told_file.starts("load_sales") == 1
    assert decisions(room) == [("sales/2024-03.csv", 7, "TAKEN", None)]


def test_a_file_that_comes_again_is_logged_as_known_whatever_was_decided(
    room: EngineRoom, files: FileHandler, caplog: pytest.LogCaptureFixture
) -> None:
    apply_profit(room, on_new_generation="ignore")
    caplog.set_level("INFO")
    for generation in (1, 2, 2):
        land(files, "sales/2024-03.csv", generation)
    said = [record.getMessage() for record in caplog.records if "sales/2024-03.csv#2" in record.getMessage()]
    assert ["IGNORED" in said[0], said[1]] == [
        True,
        "gs://landing/sales/2024-03.csv#2 is known: it was announced before",
    ]


def test_two_workflows_may_want_one_file(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    room.apply({"copy": []}, workflow="copies", details={"copy": wants(SALES)})
    land(files, "sales/2024-03.csv")
    assert sorted(room.published()) == ["copy", "load_sales"]
    room.deliver_all()
    assert room.told_file.starts("copy") == room.told_file.starts("load_sales") == 1
    assert room.rows("SELECT count(*) FROM file_log WHERE decision = 'TAKEN'") == [(2,)]


def test_an_object_that_no_pattern_wants_is_recorded_as_such(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    land(files, "holiday/photo.jpg")
    land(files, "holiday/photo.jpg")
    assert decisions(room) == [("holiday/photo.jpg", 1, "UNWANTED", "no pattern of any workflow fits it")]
    assert room.rows("SELECT count(*) FROM task_batch") == [(0,)]


def test_a_file_in_another_bucket_is_not_wanted(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    land(files, "sales/2024-03.csv", bucket="elsewhere")
    assert [row[2] for row in decisions(room)] == ["UNWANTED"]


def test_folder_placeholders_other_events_and_our_own_archive_are_ignored_with_a_reason(
    room: EngineRoom, files: FileHandler
) -> None:
    apply_profit(room)
    land(files, "sales/")
    land(files, "sales/2024-03.csv", 1, event="OBJECT_DELETE")
    land(files, "sales/2024-03.csv", 2, metadata={ARCHIVE_MARKER: "gs://landing/sales/2024-03.csv"})
    assert decisions(room) == [
        ("sales/", 1, "IGNORED", "it is the placeholder of a folder"),
        ("sales/2024-03.csv", 1, "IGNORED", "its event is OBJECT_DELETE; only OBJECT_FINALIZE brings a file"),
        ("sales/2024-03.csv", 2, "IGNORED", "one of our own tasks has put it here"),
    ]
    assert room.publisher.messages == []


def test_a_file_that_comes_back_from_the_archive_is_a_file_like_any_other(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    land(files, "sales/2024-03.csv", metadata={ARCHIVE_MARKER: "gs://archive/profit/2024-03/2024-03.csv"})
    assert [row[2] for row in decisions(room)] == ["TAKEN"]


def test_our_own_archive_is_known_without_the_objects_description(room: EngineRoom) -> None:
    apply_profit(room)
    asked: list[tuple[str, str, int]] = []

    def find_metadata(*object_version: Any) -> Mapping[str, str]:
        asked.append(object_version)
        return {ARCHIVE_MARKER: "gs://landing/sales/2024-03.csv"}

    files = FileHandler(room.database, room.life, {"landing_bucket": "landing"}, find_metadata, is_archived)
    message = FileMessage("OBJECT_FINALIZE", "landing", "sales/2024-03.csv", 3, None, None, None)
    files.handle(message, notification("sales/2024-03.csv", 3))
    assert asked == [("landing", "sales/2024-03.csv", 3)]
    assert [row[2] for row in decisions(room)] == ["IGNORED"]


def test_a_newer_generation_runs_the_task_and_all_below_it_again_and_keeps_history(
    room: EngineRoom, files: FileHandler
) -> None:
    apply_profit(room)
    land(files, "sales/2024-03.csv", 1)
    land(files, "expenses/2024-03.parquet", 1)
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"
    land(files, "sales/2024-03.csv", 2)
    assert room.published() == ["load_sales"]
    assert room.batch_status() == "PROCESSING"
    assert room.rows("SELECT ended_at FROM task_batch") == [(None,)]
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"
    assert room.log("load_sales") == room.log("profit") == [(1, "SUCCESS", None), (2, "SUCCESS", None)]
    assert room.log("load_expenses") == [(1, "SUCCESS", None)]
    assert room.told_file.works[-1].files["load_sales"].landed.generation == 2
    assert [(row[1], row[2]) for row in decisions(room)] == [(1, "SUPERSEDED"), (1, "TAKEN"), (2, "TAKEN")]


def test_generations_are_compared_as_numbers_and_an_older_one_is_superseded(
    room: EngineRoom, files: FileHandler
) -> None:
    apply_profit(room)
    land(files, "sales/2024-03.csv", 10)
    room.deliver_all()
    land(files, "sales/2024-03.csv", 9)
    assert room.published() == []
    assert [(row[1], row[2]) for row in decisions(room)] == [(10, "TAKEN"), (9, "SUPERSEDED")]
    assert "generation 10" in decisions(room)[1][3]


def test_a_task_may_ignore_newer_generations(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room, on_new_generation="ignore")
    land(files, "sales/2024-03.csv", 1)
    room.deliver_all()
    land(files, "sales/2024-03.csv", 2)
    assert room.published() == []
    assert [(row[1], row[2]) for row in decisions(room)] == [(1, "TAKEN"), (2, "IGNORED")]


def test_a_newer_generation_that_comes_while_the_task_works_gives_it_another_attempt_afterwards(
    room: EngineRoom, files: FileHandler
) -> None:
    apply_profit(room)
    land(files, "expenses/2024-03.parquet", 1)
    land(files, "sales/2024-03.csv", 1)
    seen: list[int] = []

    def work(work: Work) -> None:
        seen.append(work.files["load_sales"].landed.generation)
        if len(seen) == 1:
            land(files, "sales/2024-03.csv", 2)

    room.told_file.orders["load_sales"] = work
    room.deliver_all()
    assert seen == [1, 2]
    assert room.log("load_sales") == [(1, "SUCCESS", None), (2, "SUCCESS", None)]
    assert room.log("profit") == [(1, "SUCCESS", None)]
    assert room.batch_status() == "SUCCESS"


def test_whoever_takes_an_attempt_over_reads_the_generation_that_it_began_with(
    room: EngineRoom, files: FileHandler
) -> None:
    apply_profit(room)
    land(files, "sales/2024-03.csv", 1)
    key = room.key("load_sales", workflow="profit")
    dead = "00000000-0000-0000-0000-000000000001"
    room.database.transact(lambda tx: claim(tx, key, dead, ["told_file"]))
    land(files, "sales/2024-03.csv", 2)
    room.change("UPDATE batch_task SET lease_until = clock_timestamp() - interval '1 s' WHERE token IS NOT NULL")
    room.deliver_all()
    seen = [(work.attempt, work.files["load_sales"].landed.generation) for work in room.told_file.works]
    assert seen == [(1, 1), (2, 2)]


def test_a_newer_generation_that_comes_while_a_descendant_works_gives_both_another_attempt(
    room: EngineRoom, files: FileHandler
) -> None:
    apply_profit(room)
    land(files, "expenses/2024-03.parquet", 1)
    land(files, "sales/2024-03.csv", 1)

    def work(_work: Work) -> None:
        room.told.orders.clear()
        land(files, "sales/2024-03.csv", 2)

    room.told.orders["profit"] = work
    room.deliver_all()
    assert room.log("profit") == room.log("load_sales") == [(1, "SUCCESS", None), (2, "SUCCESS", None)]
    assert room.batch_status() == "SUCCESS"


def test_a_newer_generation_after_a_failure_brings_back_what_was_skipped(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    room.told_file.orders["load_sales"] = failing("bad rows")
    land(files, "expenses/2024-03.parquet")
    land(files, "sales/2024-03.csv", 1)
    room.deliver_all()
    assert room.batch_status() == "ERROR"
    assert room.statuses("2024-03", "profit")["profit"] == "SKIPPED:upstream_failed"
    room.told_file.orders.clear()
    land(files, "sales/2024-03.csv", 2)
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"
    assert room.log("load_sales") == [(1, "ERROR", "bad rows"), (2, "SUCCESS", None)]


def test_a_newer_generation_of_a_file_whose_parent_has_failed_stays_skipped_with_all_below_it(
    room: EngineRoom, files: FileHandler
) -> None:
    room.apply(
        {"prepare": [], "load": ["prepare"], "report": ["load"]}, workflow="profit", details={"load": wants(SALES)}
    )
    room.told.orders["prepare"] = failing("no")
    land(files, "sales/2024-03.csv", 1)
    room.deliver_all()
    land(files, "sales/2024-03.csv", 2)
    assert room.statuses("2024-03", "profit") == {
        "prepare": "ERROR",
        "load": "SKIPPED:upstream_failed",
        "report": "SKIPPED:upstream_failed",
    }
    assert room.batch_status() == "ERROR"


def test_a_second_object_for_the_same_task_of_the_same_batch_is_rejected_naming_both(
    room: EngineRoom, files: FileHandler
) -> None:
    room.apply(
        {"load": []}, workflow="profit", details={"load": wants(r"gs://landing/(?P<period>\d{4}-\d{2})-\w+\.csv")}
    )
    land(files, "2024-03-first.csv")
    land(files, "2024-03-second.csv")
    land(files, "2024-03-second.csv")
    assert room.published() == ["load"]
    [(reason, body)] = room.rows("SELECT reason, body FROM rejected_message")
    assert "gs://landing/2024-03-first.csv" in reason
    assert "gs://landing/2024-03-second.csv" in reason
    assert b"attributes" in bytes(body)
    assert [(row[0], row[2]) for row in decisions(room)] == [
        ("2024-03-first.csv", "TAKEN"),
        ("2024-03-second.csv", "REJECTED"),
    ]


def test_dates_that_are_written_differently_meet_in_one_batch(room: EngineRoom, files: FileHandler) -> None:
    details = {
        "load_sales": wants(r"gs://landing/sales-(?P<period>\w{3}-\d{4})\.csv", parse={"period": "%b-%Y"}),
        "load_expenses": wants(r"gs://landing/expenses-(?P<period>[\d-]+)\.csv", parse={"period": "%Y-%m"}),
    }
    room.apply(PROFIT, workflow="profit", batch="{period:%Y-%m}", details=details)
    land(files, "sales-Mar-2024.csv")
    land(files, "expenses-2024-03.csv")
    room.deliver_all()
    assert room.rows("SELECT batch_id, status FROM task_batch") == [("2024-03", "SUCCESS")]


def test_a_name_whose_date_is_none_is_rejected_with_the_reason(room: EngineRoom, files: FileHandler) -> None:
    details = {"load": wants(r"gs://landing/(?P<period>[\w-]+)\.csv", parse={"period": "%Y-%m"})}
    room.apply({"load": []}, workflow="profit", batch="{period:%Y-%m}", details=details)
    land(files, "2024-13.csv")
    [(_, _, decision, reason)] = decisions(room)
    assert decision == FileDecision.REJECTED
    assert "'2024-13'" in reason
    assert room.rows("SELECT count(*) FROM rejected_message") == [(1,)]


def test_a_file_for_a_cancelled_batch_is_recorded_and_opens_nothing(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    land(files, "expenses/2024-03.parquet")
    room.publisher.messages.clear()
    room.change("UPDATE task_batch SET status = 'CANCELLED', ended_at = clock_timestamp()")
    land(files, "sales/2024-03.csv")
    assert room.published() == []
    assert decisions(room)[1][2:] == ("IGNORED", "batch 2024-03 of workflow profit is cancelled")


def test_a_file_that_came_while_its_batch_was_cancelled_is_taken_once_the_batch_runs_again(
    room: EngineRoom, files: FileHandler
) -> None:
    apply_profit(room)
    land(files, "sales/2024-03.csv")
    room.moves.cancel_batch("profit", "2024-03", ME)
    land(files, "expenses/2024-03.parquet")
    land(files, "expenses/2024-03.parquet")
    room.moves.rerun_batch("profit", "2024-03", ME, failed=True)
    room.deliver_all()
    assert room.statuses("2024-03", "profit")["load_expenses"] == "WAITING"
    for _ in range(2):
        land(files, "expenses/2024-03.parquet")
        room.deliver_all()
    assert room.batch_status() == "SUCCESS"
    assert room.told_file.starts("load_expenses") == 1
    assert [row[2:] for row in decisions(room)] == [("TAKEN", None), ("TAKEN", None)]


def test_every_trigger_opens_its_own_batch_where_the_workflow_says_so(room: EngineRoom, files: FileHandler) -> None:
    details = {"load": wants(r"gs://landing/daily/.*\.csv")}
    room.apply({"load": []}, workflow="daily", batch="Batch_{today:%Y%m%d}_{number}", details=details)
    for number in (1, 2, 2, 1):
        land(files, f"daily/{number}.csv", 5)
    today = room.rows("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD')")[0][0]
    assert room.rows("SELECT batch_id FROM task_batch ORDER BY 1") == [(f"Batch_{today}_001",), (f"Batch_{today}_002",)]
    assert room.published() == ["load", "load"]


def test_fifty_files_at_once_open_fifty_batches_with_numbers_without_a_gap(
    room: EngineRoom, files: FileHandler
) -> None:
    details = {"load": wants(r"gs://landing/daily/.*\.csv")}
    room.apply({"load": []}, workflow="daily", batch="Batch_{today:%Y%m%d}_{number}", details=details)
    with ThreadPoolExecutor(16) as pool:
        # Every file is announced twice, from different threads.
        list(pool.map(lambda number: land(files, f"daily/{number % 50}.csv"), range(100)))
    numbers = room.rows("SELECT right(batch_id, 3) FROM task_batch ORDER BY batch_id")
    assert numbers == [(f"{number:03d}",) for number in range(1, 51)]
    assert room.rows("SELECT count(*) FROM file_log WHERE decision = 'TAKEN'") == [(50,)]


def test_a_batch_that_has_an_older_version_without_the_task_says_so(room: EngineRoom, files: FileHandler) -> None:
    room.apply({"load_sales": []}, workflow="profit", details={"load_sales": wants(SALES)})
    land(files, "sales/2024-03.csv")
    apply_profit(room)
    land(files, "expenses/2024-03.parquet")
    assert decisions(room)[1][2:] == (
        "REJECTED",
        "batch 2024-03 of workflow profit has version 1, in which no task load_expenses takes a file",
    )


def test_a_file_that_one_workflow_has_moved_is_read_at_its_new_place_by_the_other(
    room: EngineRoom, files: FileHandler
) -> None:
    room.apply({"load": []}, workflow="one", details={"load": wants(SALES)})
    room.apply({"wait": [], "load": ["wait"]}, workflow="two", details={"load": wants(SALES)})
    land(files, "sales/2024-03.csv", 5)

    def move(work: Work) -> None:
        (file,) = work.files.values()
        room.database.transact(
            lambda tx: store_places(tx, [NewPlace(file.file_log_id, "archive", "old/2024-03.csv", 6)])
        )

    seen: dict[str, tuple[str, ...]] = {}

    def look(work: Work) -> None:
        seen[work.workflow] = (work.files["load"].place.uri, *work.files["load"].read_by)

    room.told.orders["wait"] = move
    room.told_file.orders["load"] = look
    room.deliver_all()
    assert seen == {
        "one": ("gs://landing/sales/2024-03.csv",),
        "two": ("gs://archive/old/2024-03.csv",),
    }


def test_an_archive_that_goes_on_after_a_newer_file_has_come_is_told_that_its_loader_has_yet_to_read_it(
    room: EngineRoom, files: FileHandler
) -> None:
    room.apply({"load": [], "archive": ["load"]}, workflow="w", details={"load": wants(SALES)})
    land(files, "sales/2024-03.csv", 10)
    room.execute("load", workflow="w")
    seen: list[tuple[int, tuple[str, ...]]] = []

    def archive(work: Work) -> None:
        file = work.files["load"]
        seen.append((file.landed.generation, file.read_by))
        if len(seen) == 1:
            land(files, "sales/2024-03.csv", 11)
            raise Unavailable("it is still being read")

    room.told.orders["archive"] = archive
    room.execute("archive", workflow="w")
    room.execute("archive", workflow="w")
    assert seen == [(10, ()), (11, ("w.load 2024-03",))]


def test_a_task_is_told_who_else_may_be_reading_a_file(room: EngineRoom, files: FileHandler) -> None:
    room.apply({"load": []}, workflow="one", details={"load": wants(SALES)})
    room.apply({"load": [], "archive": ["load"]}, workflow="two", details={"load": wants(SALES)})
    land(files, "sales/2024-03.csv")
    room.execute("load", workflow="two")
    read_by: list[tuple[str, ...]] = []

    def look(work: Work) -> None:
        read_by.append(work.files["load"].read_by)

    room.told.orders["archive"] = look
    room.execute("archive", workflow="two")
    assert read_by == [("one.load 2024-03",)]


def test_the_file_of_a_task_that_was_marked_without_it_runs_it_after_all(room: EngineRoom, files: FileHandler) -> None:
    apply_profit(room)
    land(files, "sales/2024-03.csv")
    room.deliver_all()
    room.moves.mark_task(room.task("load_expenses", "2024-03", "profit"), ME, Status.SUCCESS)
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"
    land(files, "expenses/2024-03.parquet")
    assert room.statuses("2024-03", "profit") == {
        "load_sales": "SUCCESS",
        "load_expenses": "NEW",
        "profit": "WAITING",
    }
    room.deliver_all()
    assert (len(room.log("load_expenses")), len(room.log("profit"))) == (1, 2)
    assert room.batch_status() == "SUCCESS"
