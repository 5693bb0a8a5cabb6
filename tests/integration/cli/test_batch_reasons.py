"""What `batch show` says of everything that is not over, or did not go as planned."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from database.listings.batches import ShownBatch, look_at_batch, show_batch
from database.sessions import Transaction
from run.errors import Unavailable
from run.kinds.kind import Work
from tests.engine_room import failing
from tests.integration.cli.conftest import CommandLine
from tests.integration.cli.workflow_files import SALES, chain

#: A time, or a length of time, in what is printed.
TIMES = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC|\d+ ms|\d+\.\d s|\d+ min \d\d s|\d+ h \d\d min"


def shown(cli: CommandLine, workflow: str = "cake") -> list[str]:
    """The lines about the tasks of a batch, every time in them as TIME."""
    printed = re.sub(TIMES, "TIME", cli.good("batch", "show", workflow, "2024-03"))
    return printed.partition("\n\n")[2].splitlines()


def reasons(cli: CommandLine, task: str, workflow: str = "cake") -> list[dict[str, Any]]:
    """The typed reasons of a task."""
    tasks = {one["task"]: one for one in cli.json("batch", "show", workflow, "2024-03")["tasks"]}
    found: list[dict[str, Any]] = tasks[task]["reasons"]
    return found


def run_one(cli: CommandLine, **details: Any) -> None:
    """A batch of one task, whose message has been delivered once."""
    cli.room.apply({"mix": []}, details={"mix": details})
    cli.room.start()
    cli.room.deliver_all()


def look_while_working(cli: CommandLine, look: Callable[[], list[str]]) -> list[str]:
    """What a look sees while a worker is at work."""
    seen: list[str] = []

    def work(_work: Work) -> None:
        seen.extend(look())

    cli.room.told.orders["mix"] = work
    run_one(cli)
    return seen


def test_reasons_are_objects_for_programs_and_words_for_people(cli: CommandLine) -> None:
    cli.apply(SALES)
    cli.good("batch", "start", "sales", "2024-03")
    [file] = reasons(cli, "load_sales", "sales")
    pattern = r"gs://{landing_bucket}/sales/(?P<period>\d{4}-\d{2})\.csv"
    assert (file["kind"], file["ids"], file["until"]) == ("file", [pattern], None)
    assert file["ends_by"] == "the arrival of its file"
    assert re.fullmatch(r"\d{4}-.*Z", file["since"])
    [parents] = reasons(cli, "profit", "sales")
    assert (parents["kind"], parents["ids"]) == ("parents", ["load_sales", "load_expenses"])
    assert f"    waits for its file: {pattern}" in shown(cli, "sales")
    assert "    waits for load_sales and load_expenses" in shown(cli, "sales")


def test_many_parents_are_not_spelt_out(cli: CommandLine) -> None:
    parents = [f"p{number:03}" for number in range(120)]
    cli.room.apply({**{parent: [] for parent in parents}, "end": parents})
    cli.room.start()
    assert shown(cli)[-1] == "    waits for p000, p001, p002, p003, p004, p005 and 114 more"


def test_a_task_that_may_start_waits_for_its_message(cli: CommandLine) -> None:
    cli.apply(chain("w", "a"))
    cli.good("batch", "start", "w", "2024-03")
    assert shown(cli, "w") == ["… a  NEW", "    may start: its message is on the way"]
    assert reasons(cli, "a", "w")[0]["kind"] == "message"


def test_a_task_of_a_kind_that_is_not_known_here_says_so(cli: CommandLine) -> None:
    cli.room.apply({"mix": []})
    cli.room.start()
    assert shown(cli)[1] == "    may start, but this revision of the service does not know its kind told"
    assert reasons(cli, "mix")[0]["kind"] == "unknown_kind"


def test_a_worker_that_has_a_task_is_a_reason(cli: CommandLine) -> None:
    seen = look_while_working(cli, lambda: shown(cli))
    assert seen == ["… mix  PROCESSING  attempt 1, TIME", "    a worker has it, with a lease until TIME"]


def test_a_worker_that_has_died_is_a_reason(cli: CommandLine) -> None:
    def look() -> list[str]:
        cli.room.pass_time(120)
        return shown(cli)

    seen = look_while_working(cli, look)
    assert seen[1:] == [
        "    its worker has been silent for longer than its lease; another one goes on with the next sweep"
    ]


def test_a_retry_shows_what_failed_which_retry_it_is_and_when_it_is_due(cli: CommandLine) -> None:
    cli.room.told.orders["mix"] = failing("the mill is closed", passing=True)
    run_one(cli, retries=2)
    cli.room.change("UPDATE batch_task SET due_at = clock_timestamp() + interval '1 hour'")
    assert shown(cli) == [
        "… mix  WAITING     attempt 1, TIME, retry 1 of 2",
        "    the mill is closed",
        "    waits for its next attempt, which is due at TIME",
    ]
    [reason] = reasons(cli, "mix")
    assert (reason["kind"], reason["ids"]) == ("retry", ["attempt 2"])
    assert re.fullmatch(r"\d{4}-.*Z", reason["until"])
    cli.room.pass_time(7200)
    assert shown(cli)[2] == "    waits for its next attempt, which is due with the next sweep"


def test_an_attempt_whose_other_side_does_not_answer_is_a_reason(cli: CommandLine) -> None:
    def not_now(_work: Work) -> None:
        raise Unavailable("BigQuery does not answer")

    cli.room.told.orders["mix"] = not_now
    run_one(cli)
    assert shown(cli)[1:] == ["    the other side did not answer, or its worker had to end; it goes on at TIME"]


def test_work_that_goes_on_outside_is_named(cli: CommandLine) -> None:
    run_one(cli, kind="told_outside")
    [job] = cli.room.told_outside.jobs
    assert shown(cli)[1:] == [f"    its work goes on outside (job {job}) and is asked for at TIME"]
    assert reasons(cli, "mix")[0]["ids"] == [f"job {job}"]


def test_a_completion_message_is_waited_for(cli: CommandLine) -> None:
    run_one(cli, kind="told_external")
    assert shown(cli)[1:] == ["    waits for a completion message and times out at TIME"]
    assert reasons(cli, "mix")[0]["kind"] == "completion"


def test_an_attempt_that_timed_out_is_told_and_that_it_is_being_ended(cli: CommandLine) -> None:
    run_one(cli, kind="told_outside", timeout_seconds=60)
    cli.room.told_outside.confirms = False
    cli.room.pass_time(100)
    cli.room.sweep()
    assert shown(cli)[:2] == ["✗ mix  ERROR       attempt 1, TIME", "    timed out after 60 s"]
    assert shown(cli)[2].startswith("    what attempt 1 has begun outside is being ended")


def test_what_was_taken_away_is_being_ended_until_the_other_side_confirms_it(cli: CommandLine) -> None:
    run_one(cli, kind="told_outside")
    cli.room.told_outside.confirms = False
    cli.good("task", "rerun", "cake", "2024-03", "mix")
    waits = "    waits until what attempt 1 has begun outside has ended"
    being_ended = "    what attempt 1 has begun outside is being ended"
    assert shown(cli)[1:] == [waits, f"{being_ended} from TIME on"]
    for times in ("once", "2 times"):
        cli.room.pass_time(1000)
        cli.room.sweep()
        said = "the other side has not confirmed it yet"
        assert shown(cli)[1:] == [waits, f"{being_ended}, tried {times}, next at TIME: {said}"]
    [task] = cli.json("batch", "show", "cake", "2024-03")["tasks"]
    assert [(one["attempt"], one["tries"], one["problem"]) for one in task["cancellations"]] == [(1, 2, said)]
    cli.room.told_outside.confirms = True
    cli.room.pass_time(1000)
    cli.room.sweep()
    [task] = cli.json("batch", "show", "cake", "2024-03")["tasks"]
    assert (task["status"], task["cancellations"]) == ("NEW", [])


def test_a_deadline_is_shown_and_whether_it_was_missed(cli: CommandLine) -> None:
    cli.room.apply({"mix": []}, deadline_seconds=3600)
    cli.room.start()
    assert re.search(r"^deadline 2.* UTC$", cli.good("batch", "show", "cake", "2024-03"), re.MULTILINE)
    cli.room.pass_time(7200)
    missed = re.compile(r"^missed its deadline, 2.* UTC$", re.MULTILINE)
    assert missed.search(cli.good("batch", "show", "cake", "2024-03"))
    assert cli.json("batch", "show", "cake", "2024-03")["deadline_missed_at"] is None
    cli.room.sweep()
    assert missed.search(cli.good("batch", "show", "cake", "2024-03"))
    assert cli.json("batch", "list")[0]["deadline_missed_at"] is not None


def test_a_batch_that_ended_in_time_has_not_missed_its_deadline(cli: CommandLine) -> None:
    cli.room.apply({"mix": []}, deadline_seconds=3600)
    cli.room.start()
    cli.room.deliver_all()
    later = "- interval '2 hours'"
    cli.room.change(
        f"UPDATE task_batch SET created_at = created_at {later}, ended_at = ended_at {later}, "
        f"deadline_at = deadline_at {later}"
    )
    assert "missed" not in cli.good("batch", "show", "cake", "2024-03")


def test_a_batch_without_a_deadline_speaks_of_none(cli: CommandLine) -> None:
    cli.room.apply({"mix": []})
    cli.room.start()
    assert "deadline" not in cli.good("batch", "show", "cake", "2024-03")


def test_tasks_that_the_newest_version_no_longer_has_are_shown_last(cli: CommandLine) -> None:
    cli.room.apply({"stir": [], "taste": [], "mix": [], "bake": ["mix"]}, details={"taste": {"kind": "told_file"}})
    cli.room.start()
    cli.room.execute("stir")
    cli.room.apply({"mix": [], "bake": ["mix"]})
    cli.good("batch", "rerun", "cake", "2024-03", "--latest")
    lines = [line for line in shown(cli) if not line.startswith("    ")]
    assert lines == [
        "… mix    NEW",
        "… bake   WAITING",
        "✓ stir   SUCCESS     attempt 1, TIME, not in this version any more",
        "\N{EN DASH} taste  CANCELLED   not in this version any more",
    ]
    tasks = cli.json("batch", "show", "cake", "2024-03", "--attempts")["tasks"]
    assert [(one["task"], one["kind"], one["removed"]) for one in tasks[1:]] == [
        ("bake", "told", False),
        ("stir", "told", True),
        ("taste", "told_file", True),
    ]


def test_a_look_sees_one_moment_whatever_happens_meanwhile(cli: CommandLine) -> None:
    cli.room.apply({"mix": [], "bake": ["mix"]})
    cli.room.start()

    def look_twice(tx: Transaction) -> tuple[ShownBatch, ShownBatch]:
        first = look_at_batch(tx, "cake", "2024-03")
        cli.room.execute("mix")
        return first, show_batch(tx, "cake", "2024-03")

    first, second = cli.database.transact(look_twice)
    assert (first.tasks, first.open_tasks) == (second.tasks, second.open_tasks)
    assert [task.status for task in first.tasks] == ["NEW", "WAITING"]
    assert cli.room.statuses()["mix"] == "SUCCESS"


@pytest.mark.parametrize("kind", ["told", "told_outside", "told_external"])
def test_what_is_over_waits_for_nothing(cli: CommandLine, kind: str) -> None:
    run_one(cli, kind=kind)
    if kind != "told":
        cli.good("batch", "cancel", "cake", "2024-03")
    assert reasons(cli, "mix") == []
