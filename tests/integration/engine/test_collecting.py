"""Tasks that take many files: until a marker, a count or quiet, whatever comes late, twice or at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from database.attempts import claim
from database.facts import open_tasks
from database.statuses import Status
from run.engine.collecting import close_if_quiet
from run.engine.invariant import Invariant
from run.engine.reasons import Reason, reasons_of
from run.errors import BadFiles
from run.handlers.file import FileHandler
from run.kinds.kind import Work
from tests.engine_room import ME, EngineRoom
from tests.integration.engine.test_arrivals import decisions, land, wants

PARTS = r"gs://{landing_bucket}/(?P<period>\d{4}-\d{2})/.*"
MARKER = r"gs://{landing_bucket}/(?P<period>\d{4}-\d{2})/_SUCCESS"
BY_MARKER = {"marker": MARKER}
BY_QUIET = {"quiet_seconds": 600}
LATE = "it came too late: batch 2024-03 of workflow parts had all of its files (2): on_new_generation is ignore"


def by_count(count: int) -> dict[str, Any]:
    return {"count": count}


def apply(room: EngineRoom, until: dict[str, Any], *, retries: int = 0, **file: Any) -> None:
    """A workflow that loads many files, and then sums them up."""
    load = {**wants(PARTS, until=until, **file), "retries": retries}
    room.apply({"load": [], "sum": ["load"]}, workflow="parts", details={"load": load})


def land_parts(files: FileHandler, *names: str, generation: int = 1) -> None:
    for name in names:
        land(files, f"2024-03/{name}", generation)


def names_of(work: Work) -> list[str]:
    return sorted(file.landed.name.removeprefix("2024-03/") for file in work.collected["load"])


def loaded(room: EngineRoom) -> list[list[str]]:
    """The files of each attempt at the load."""
    return [names_of(work) for work in room.told_file.works]


def generations(room: EngineRoom) -> list[dict[str, int]]:
    """The generations that each attempt at the load had, by name."""
    return [
        {file.landed.name.removeprefix("2024-03/"): file.landed.generation for file in work.collected["load"]}
        for work in room.told_file.works
    ]


def statuses(room: EngineRoom) -> dict[str, str]:
    return room.statuses("2024-03", "parts")


def reasons(room: EngineRoom, task: str = "load") -> tuple[Reason, ...]:
    key = room.key(task, workflow="parts")
    return next(
        reasons_of(one)
        for one in room.database.transact(lambda tx: open_tasks(tx, key.batch))
        if one.task_id == key.task_id
    )


def fates(room: EngineRoom) -> list[tuple[Any, ...]]:
    return [(name.removeprefix("2024-03/"), *rest) for name, *rest in decisions(room)]


def test_a_task_starts_with_all_files_when_so_many_have_come(room: EngineRoom, files: FileHandler) -> None:
    apply(room, by_count(3))
    land_parts(files, "a.csv", "b.csv")
    assert (room.published(), statuses(room)) == ([], {"load": "WAITING", "sum": "WAITING"})
    land_parts(files, "b.csv", "c.csv")
    room.deliver_all()
    assert loaded(room) == [["a.csv", "b.csv", "c.csv"]]
    assert room.batch_status() == "SUCCESS"
    assert [decision for _, _, decision, _ in fates(room)] == ["COLLECTED"] * 3


def test_a_task_starts_when_the_marker_has_come_which_is_none_of_its_files(
    room: EngineRoom, files: FileHandler
) -> None:
    apply(room, BY_MARKER)
    land_parts(files, "a.csv", "b.csv")
    assert room.published() == []
    land_parts(files, "_SUCCESS", "_SUCCESS")
    room.deliver_all()
    assert loaded(room) == [["a.csv", "b.csv"]]
    assert fates(room)[-1][2] == "MARKER"
    assert room.batch_status() == "SUCCESS"


def test_a_marker_that_overtakes_its_files_waits_for_the_first_and_each_later_one_runs_the_task_again(
    room: EngineRoom, files: FileHandler
) -> None:
    apply(room, BY_MARKER)
    land_parts(files, "_SUCCESS")
    assert (room.published(), statuses(room)["load"]) == ([], "WAITING")
    land_parts(files, "a.csv")
    room.deliver_all()
    land_parts(files, "b.csv")
    assert statuses(room) == {"load": "NEW", "sum": "WAITING"}
    room.deliver_all()
    assert loaded(room) == [["a.csv"], ["a.csv", "b.csv"]]
    assert room.told.starts("sum") == 2
    assert room.batch_status() == "SUCCESS"


def test_a_newer_marker_of_the_same_files_starts_nothing(room: EngineRoom, files: FileHandler) -> None:
    apply(room, BY_MARKER)
    land_parts(files, "a.csv", "_SUCCESS")
    room.deliver_all()
    land_parts(files, "_SUCCESS", generation=2)
    assert room.published() == []
    assert [(row[1], row[2]) for row in fates(room)[1:]] == [(1, "SUPERSEDED"), (2, "MARKER")]


def test_a_task_starts_when_no_file_has_come_for_long_enough_and_each_file_puts_that_off(
    room: EngineRoom, files: FileHandler
) -> None:
    apply(room, BY_QUIET)
    land_parts(files, "a.csv")
    room.pass_time(599)
    land_parts(files, "b.csv")
    room.pass_time(599)
    assert room.sweep() == {}
    assert statuses(room)["load"] == "WAITING"
    room.pass_time(2)
    assert room.sweep() == {"quiet": 1}
    room.deliver_all()
    assert loaded(room) == [["a.csv", "b.csv"]]
    assert room.batch_status() == "SUCCESS"


def test_a_sweep_that_a_file_has_overtaken_closes_nothing(room: EngineRoom, files: FileHandler) -> None:
    apply(room, BY_QUIET)
    land_parts(files, "a.csv")
    room.pass_time(601)
    land_parts(files, "b.csv")
    # What it had found due before the file came.
    checked = room.database.transact(lambda tx: close_if_quiet(tx, room.key("load", workflow="parts")))
    assert (checked.released, statuses(room)["load"]) == ((), "WAITING")


def test_a_file_that_comes_after_quiet_opens_the_collection_again(room: EngineRoom, files: FileHandler) -> None:
    apply(room, BY_QUIET)
    land_parts(files, "a.csv")
    room.pass_time(601)
    room.sweep()
    room.deliver_all()
    land_parts(files, "b.csv")
    assert statuses(room) == {"load": "WAITING", "sum": "WAITING"}
    assert room.batch_status() == "PROCESSING"
    room.pass_time(601)
    room.sweep()
    room.deliver_all()
    assert loaded(room) == [["a.csv"], ["a.csv", "b.csv"]]
    assert room.batch_status() == "SUCCESS"


def test_a_task_that_is_about_to_start_waits_for_more_when_its_collection_opens_again(
    room: EngineRoom, files: FileHandler
) -> None:
    apply(room, BY_QUIET)
    land_parts(files, "a.csv")
    room.pass_time(601)
    room.sweep()
    assert statuses(room)["load"] == "NEW"
    land_parts(files, "b.csv")
    room.deliver_all()
    assert (room.told_file.works, statuses(room)["load"]) == ([], "WAITING")
    room.pass_time(601)
    room.sweep()
    room.deliver_all()
    assert loaded(room) == [["a.csv", "b.csv"]]


def test_a_file_that_comes_while_the_task_works_gives_it_another_attempt_with_all(
    room: EngineRoom, files: FileHandler
) -> None:
    apply(room, by_count(2))

    def work(_work: Work) -> None:
        room.told_file.orders.clear()
        land_parts(files, "c.csv")

    room.told_file.orders["load"] = work
    land_parts(files, "a.csv", "b.csv")
    room.deliver_all()
    assert loaded(room) == [["a.csv", "b.csv"], ["a.csv", "b.csv", "c.csv"]]
    assert room.told.starts("sum") == 1


def test_whoever_takes_an_attempt_over_has_the_files_that_it_began_with(room: EngineRoom, files: FileHandler) -> None:
    apply(room, by_count(2))
    land_parts(files, "a.csv", "b.csv")
    key = room.key("load", workflow="parts")
    room.database.transact(lambda tx: claim(tx, key, "00000000-0000-0000-0000-000000000001", ["told_file"]))
    land_parts(files, "a.csv", generation=2)
    room.change("UPDATE batch_task SET lease_until = clock_timestamp() - interval '1 s' WHERE token IS NOT NULL")
    room.deliver_all()
    assert [work.attempt for work in room.told_file.works] == [1, 2]
    assert generations(room) == [{"a.csv": 1, "b.csv": 1}, {"a.csv": 2, "b.csv": 1}]


def test_a_newer_generation_replaces_the_older_one_and_counts_once(room: EngineRoom, files: FileHandler) -> None:
    apply(room, by_count(2), on_new_generation="ignore")
    land_parts(files, "a.csv", generation=5)
    land_parts(files, "a.csv", generation=6)
    land_parts(files, "a.csv", generation=4)
    assert room.published() == []
    land_parts(files, "b.csv")
    room.deliver_all()
    assert generations(room) == [{"a.csv": 6, "b.csv": 1}]
    assert [(row[1], row[2]) for row in fates(room)] == [
        (5, "SUPERSEDED"),
        (6, "COLLECTED"),
        (4, "SUPERSEDED"),
        (1, "COLLECTED"),
    ]


@pytest.mark.parametrize(("until", "last"), [(by_count(2), []), (BY_MARKER, ["_SUCCESS"]), (BY_QUIET, [])])
def test_a_file_that_comes_too_late_is_ignored_with_the_reason_where_the_task_says_so(
    room: EngineRoom, files: FileHandler, until: dict[str, Any], last: Sequence[str]
) -> None:
    apply(room, until, on_new_generation="ignore")
    land_parts(files, "a.csv", "b.csv", *last)
    room.pass_time(601)
    room.sweep()
    room.publisher.messages.clear()
    land_parts(files, "c.csv")
    land_parts(files, "a.csv", generation=2)
    assert [row[2:] for row in fates(room)[-2:]] == [("IGNORED", LATE), ("IGNORED", LATE)]
    assert (room.published(), statuses(room)["load"]) == ([], "NEW")


def test_files_of_other_batches_and_of_cancelled_ones_do_not_count(room: EngineRoom, files: FileHandler) -> None:
    apply(room, by_count(2))
    land(files, "2024-04/a.csv")
    land_parts(files, "a.csv")
    assert room.published() == []
    room.moves.cancel_batch("parts", "2024-03", ME)
    land_parts(files, "b.csv")
    assert fates(room)[-1][2:] == ("IGNORED", "batch 2024-03 of workflow parts is cancelled")


def test_a_cancelled_collection_goes_on_when_the_batch_does(room: EngineRoom, files: FileHandler) -> None:
    apply(room, BY_QUIET)
    land_parts(files, "a.csv")
    room.moves.cancel_batch("parts", "2024-03", ME)
    room.pass_time(601)
    assert room.sweep() == {}
    room.moves.rerun_batch("parts", "2024-03", ME)
    assert statuses(room) == {"load": "WAITING", "sum": "WAITING"}
    assert room.sweep() == {"quiet": 1}
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"


@pytest.mark.parametrize("until", [by_count(2), BY_QUIET])
def test_a_task_that_was_marked_while_it_collected_runs_when_its_files_are_all_there(
    room: EngineRoom, files: FileHandler, until: dict[str, Any]
) -> None:
    apply(room, until)
    land_parts(files, "a.csv")
    room.moves.mark_task(room.task("load", workflow="parts"), ME, Status.SUCCESS)
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"
    land_parts(files, "b.csv")
    room.pass_time(601)
    room.sweep()
    room.deliver_all()
    assert loaded(room) == [["a.csv", "b.csv"]]
    assert (room.told.starts("sum"), room.batch_status()) == (2, "SUCCESS")


def test_a_collection_that_is_whole_still_waits_for_the_parents_of_its_task(
    room: EngineRoom, files: FileHandler
) -> None:
    details = {"load": wants(PARTS, until=by_count(1))}
    room.apply({"prepare": [], "load": ["prepare"]}, workflow="parts", details=details)
    land_parts(files, "a.csv")
    assert room.published() == ["prepare"]
    land_parts(files, "b.csv")
    room.deliver_all()
    assert loaded(room) == [["a.csv", "b.csv"]]


def test_what_a_collection_waits_for_has_a_reason_that_says_what_ends_it(room: EngineRoom, files: FileHandler) -> None:
    apply(room, by_count(12))
    land_parts(files, *(f"{number}.csv" for number in range(7)))
    [reason] = reasons(room)
    assert (reason.kind, reason.ids, reason.until, reason.ends_by) == (
        "files",
        (PARTS, "7 files so far"),
        None,
        "there are 12",
    )


def test_the_reason_of_quiet_says_since_when_and_until_when(room: EngineRoom, files: FileHandler) -> None:
    apply(room, BY_QUIET)
    land_parts(files, "a.csv")
    [reason] = reasons(room)
    assert reason.until is not None
    assert (reason.until - reason.since).total_seconds() == 600
    assert (reason.ids[1], reason.ends_by) == ("1 file so far", "none has come for 10m")


@pytest.mark.parametrize("until", [by_count(1), BY_MARKER, BY_QUIET])
def test_a_collection_that_nobody_has_closed_is_found_and_closed(
    room: EngineRoom, files: FileHandler, until: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    apply(room, until)
    land_parts(files, "a.csv", "_SUCCESS")
    room.publisher.messages.clear()
    room.change(
        "UPDATE batch_task SET status = 'WAITING', publish_after = NULL, awaits_file = true, quiet_at = quiet_at - "
        "interval '2 hours', changed_at = changed_at - interval '2 hours' WHERE task_id = :task",
        task=room.key("load", workflow="parts").task_id,
    )
    [found] = Invariant(room.database, room.life).check()
    assert found.startswith("parts 2024-03 load: ")
    assert room.published() == ["load"]


def test_a_collection_that_waits_is_nothing_to_worry_about(room: EngineRoom, files: FileHandler) -> None:
    apply(room, by_count(2))
    land_parts(files, "a.csv")
    room.change("UPDATE batch_task SET changed_at = changed_at - interval '2 hours'")
    assert Invariant(room.database, room.life).check() == []


def set_aside(*names: str) -> Any:
    def work(work: Work) -> None:
        bad = {
            file.file_log_id: f"row 1 of {file.landed.name}"
            for file in work.collected["load"]
            if file.landed.name.removeprefix("2024-03/") in names
        }
        if bad:
            raise BadFiles(f"{len(bad)} files are bad", bad)

    return work


def test_bad_files_are_set_aside_each_with_its_reason_and_the_next_attempt_has_the_others(
    room: EngineRoom, files: FileHandler
) -> None:
    apply(room, by_count(3), retries=1)
    room.told_file.orders["load"] = set_aside("a.csv", "c.csv")
    land_parts(files, "a.csv", "b.csv", "c.csv")
    room.deliver_all()
    assert statuses(room)["load"] == "WAITING"
    room.pass_time(1000)
    room.sweep()
    room.deliver_all()
    assert loaded(room) == [["a.csv", "b.csv", "c.csv"], ["b.csv"]]
    assert room.log("load") == [(1, "ERROR", "2 files are bad"), (2, "SUCCESS", None)]
    assert [(row[0], *row[2:]) for row in fates(room)] == [
        ("a.csv", "SET_ASIDE", "row 1 of 2024-03/a.csv"),
        ("b.csv", "COLLECTED", None),
        ("c.csv", "SET_ASIDE", "row 1 of 2024-03/c.csv"),
    ]


def test_without_a_retry_the_files_are_set_aside_all_the_same_for_the_person_who_runs_it_again(
    room: EngineRoom, files: FileHandler
) -> None:
    apply(room, by_count(2))
    room.told_file.orders["load"] = set_aside("a.csv")
    land_parts(files, "a.csv", "b.csv")
    room.deliver_all()
    assert room.batch_status() == "ERROR"
    room.moves.rerun_batch("parts", "2024-03", ME)
    room.deliver_all()
    assert loaded(room)[-1] == ["b.csv"]
    assert room.batch_status() == "SUCCESS"


def test_a_file_that_was_set_aside_and_comes_mended_joins_the_others_again(
    room: EngineRoom, files: FileHandler
) -> None:
    apply(room, by_count(2), retries=1)
    room.told_file.orders["load"] = set_aside("a.csv")
    land_parts(files, "a.csv", "b.csv")
    room.deliver_all()
    room.pass_time(1000)
    room.sweep()
    room.deliver_all()
    room.told_file.orders.clear()
    land_parts(files, "a.csv", generation=2)
    room.deliver_all()
    assert generations(room)[-1] == {"a.csv": 2, "b.csv": 1}
    assert [(row[1], row[2]) for row in fates(room)] == [(1, "SUPERSEDED"), (1, "COLLECTED"), (2, "COLLECTED")]
    assert room.batch_status() == "SUCCESS"


def test_a_file_that_was_set_aside_counts_as_one_that_has_come(room: EngineRoom, files: FileHandler) -> None:
    apply(room, by_count(2))
    room.told_file.orders["load"] = set_aside("a.csv")
    land_parts(files, "a.csv", "b.csv")
    room.deliver_all()
    land_parts(files, "b.csv", generation=2)
    room.deliver_all()
    assert generations(room)[-1] == {"b.csv": 2}
    assert room.batch_status() == "SUCCESS"


def test_a_bad_file_that_was_replaced_while_it_was_read_is_not_set_aside(room: EngineRoom, files: FileHandler) -> None:
    apply(room, by_count(2))

    def work(work: Work) -> None:
        room.told_file.orders.clear()
        land_parts(files, "a.csv", generation=2)
        set_aside("a.csv")(work)

    room.told_file.orders["load"] = work
    land_parts(files, "a.csv", "b.csv")
    room.deliver_all()
    assert generations(room) == [{"a.csv": 1, "b.csv": 1}, {"a.csv": 2, "b.csv": 1}]
    assert [row[2] for row in fates(room)] == ["SUPERSEDED", "COLLECTED", "COLLECTED"]


def test_tasks_below_are_told_of_all_files_and_who_reads_them(room: EngineRoom, files: FileHandler) -> None:
    apply(room, by_count(2))
    room.apply({"load": []}, workflow="copies", details={"load": wants(PARTS, until=by_count(2))})
    land_parts(files, "a.csv", "b.csv")
    room.execute("load", workflow="parts")
    seen: list[tuple[str, ...]] = []

    def look(work: Work) -> None:
        seen.extend(file.read_by for file in work.files_of("load"))

    room.told.orders["sum"] = look
    room.execute("sum", workflow="parts")
    assert seen == [("copies.load 2024-03",)] * 2


def move_to_newest(room: EngineRoom) -> None:
    room.moves.rerun_batch("parts", "2024-03", ME, failed=False, latest=True)


def test_a_batch_that_moves_to_a_version_with_another_end_waits_for_that_one(
    room: EngineRoom, files: FileHandler
) -> None:
    apply(room, by_count(2))
    land_parts(files, "a.csv", "b.csv")
    room.deliver_all()
    apply(room, by_count(3))
    move_to_newest(room)
    assert statuses(room) == {"load": "WAITING", "sum": "WAITING"}
    land_parts(files, "c.csv")
    room.deliver_all()
    assert loaded(room) == [["a.csv", "b.csv"], ["a.csv", "b.csv", "c.csv"]]
    apply(room, BY_QUIET)
    move_to_newest(room)
    assert reasons(room)[0].ends_by == "none has come for 10m"
    room.pass_time(601)
    assert room.sweep() == {"quiet": 1}
    apply(room, by_count(1))
    move_to_newest(room)
    room.deliver_all()
    assert room.batch_status() == "SUCCESS"


def test_a_batch_that_moves_between_one_file_and_many_keeps_what_fits(room: EngineRoom, files: FileHandler) -> None:
    room.apply({"load": []}, workflow="parts", details={"load": wants(PARTS)})
    land_parts(files, "a.csv")
    room.deliver_all()
    room.apply({"load": []}, workflow="parts", details={"load": wants(PARTS, until=by_count(2))})
    move_to_newest(room)
    land_parts(files, "b.csv")
    room.deliver_all()
    assert names_of(room.told_file.works[-1]) == ["a.csv", "b.csv"]
    room.apply({"load": []}, workflow="parts", details={"load": wants(PARTS, parse={})})
    move_to_newest(room)
    assert [row[2] for row in fates(room)] == ["SUPERSEDED", "SUPERSEDED"]
    land_parts(files, "a.csv", generation=2)
    room.deliver_all()
    assert room.told_file.works[-1].files["load"].landed.generation == 2


def test_a_collection_that_a_newer_version_does_not_change_goes_on_as_it_was(
    room: EngineRoom, files: FileHandler
) -> None:
    load = wants(PARTS, until=BY_QUIET)
    room.apply({"load": []}, workflow="parts", details={"load": load})
    land_parts(files, "a.csv")
    room.apply({"load": [], "sum": ["load"]}, workflow="parts", details={"load": load})
    before = room.rows("SELECT awaits_file, quiet_at FROM batch_task")
    move_to_newest(room)
    assert room.rows("SELECT awaits_file, quiet_at FROM batch_task ORDER BY position LIMIT 1") == before


@pytest.mark.timeout(300)
@pytest.mark.parametrize("last", [("b.csv", "c.csv"), ("b.csv", "_SUCCESS")])
def test_the_last_two_that_come_at_the_same_moment_close_the_collection_exactly_once(
    room: EngineRoom, files: FileHandler, last: tuple[str, str]
) -> None:
    apply(room, by_count(3) if last[1] == "c.csv" else BY_MARKER, on_new_generation="rerun")
    rounds = 200
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            period = f"{1900 + number // 12}-{number % 12 + 1:02d}"
            land(files, f"{period}/a.csv")
            together = threading.Barrier(2)

            def land_together(name: str, together: threading.Barrier = together, period: str = period) -> None:
                together.wait()
                land(files, f"{period}/{name}")

            list(pool.map(land_together, last))
            assert room.published() == ["load"], f"round {number}: published {room.published()}"
            room.publisher.messages.clear()
            room.execute("load", period, "parts")
            names = {file.landed.name.removeprefix(f"{period}/") for file in room.told_file.works[-1].collected["load"]}
            assert names == {"a.csv", *last} - {"_SUCCESS"}
            room.publisher.messages.clear()
    assert room.told_file.starts("load") == rounds


@pytest.mark.timeout(300)
def test_a_file_that_comes_at_the_very_end_of_quiet_is_in_this_attempt_or_the_next(
    room: EngineRoom, files: FileHandler
) -> None:
    apply(room, BY_QUIET)
    rounds = 100
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            period = f"{1900 + number // 12}-{number % 12 + 1:02d}"
            land(files, f"{period}/a.csv")
            room.pass_time(601)
            together = threading.Barrier(2)

            def land_late(together: threading.Barrier = together, period: str = period) -> None:
                together.wait()
                land(files, f"{period}/b.csv")

            def sweep(together: threading.Barrier = together) -> None:
                together.wait()
                room.sweep()

            for done in [pool.submit(land_late), pool.submit(sweep)]:
                done.result()
            room.publisher.messages.clear()
            room.pass_time(601)
            room.sweep()
            room.deliver_all()
            last = [work for work in room.told_file.works if work.batch_id == period][-1]
            assert len(last.collected["load"]) == 2, f"round {number}"
    assert room.rows("SELECT status, count(*) FROM task_batch GROUP BY 1") == [("SUCCESS", rounds)]
