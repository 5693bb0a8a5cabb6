from __future__ import annotations

import json
import os
import pty
import re
import threading
import uuid
from typing import Any

import pytest

from run.kinds.kind import Skipped
from tests.engine_room import failing
from tests.integration.cli.conftest import CommandLine
from tests.integration.cli.workflow_files import NUMBERED, SALES, chain
from tests.local_parts import eventually

NEEDS: dict[str, list[str]] = {
    "mix": [],
    "bake": ["mix"],
    "rescue": ["bake"],
    "decorate": ["bake"],
    "deliver": ["decorate", "wrap"],
    "wrap": [],
}
ORDERED = {task: NEEDS[task] for task in ("mix", "wrap", "bake", "rescue", "decorate", "deliver")}
PATTERN = {"pattern": "gs://{landing_bucket}/paper", "parse": {}, "on_new_generation": "rerun"}


@pytest.fixture
def half_baked(cli: CommandLine) -> CommandLine:
    """A batch in which baking has failed, and paper for wrapping has not come."""
    details: dict[str, dict[str, Any]] = {
        "wrap": {"kind": "told_file", "file": PATTERN},
        "rescue": {"rule": "one_success"},
    }
    cli.room.apply(ORDERED, details=details)
    cli.room.told.orders["mix"] = lambda work: {"rows": 3}
    cli.room.told.orders["bake"] = failing("the oven is cold\nas the log of the oven says")
    cli.room.start("2024-03")
    cli.room.deliver_all()
    return cli


def test_start_opens_the_batch_prints_its_id_publishes_and_says_who_did_it(cli: CommandLine) -> None:
    cli.apply(chain("w", "a", "b"))
    assert cli.good("batch", "start", "w", "2024-03", "--actor", "ann") == "2024-03\n"
    (task_id,) = cli.room.rows("SELECT task_id FROM batch_task WHERE status = 'NEW'")[0]
    assert cli.pushes.messages == [{"trigger_type": "task", "task_id": task_id, "batch_id": "2024-03"}]
    audit = cli.room.rows("SELECT actor, subject, details FROM audit WHERE action = 'start'")
    assert audit == [("ann", "batch w 2024-03", {"params": {}, "opened": True})]


def test_starting_the_same_batch_again_joins_it_and_says_so(cli: CommandLine) -> None:
    cli.apply(chain("w", "a"))
    cli.good("batch", "start", "w", "2024-03")
    again = cli("batch", "start", "w", "2024-03")
    assert (again.exit_code, again.stdout) == (0, "2024-03\n")
    assert again.stderr == "The batch w 2024-03 was there already.\n"
    assert cli.room.rows("SELECT count(*) FROM task_batch") == [(1,)]


def test_each_start_without_an_id_opens_a_fresh_batch(cli: CommandLine) -> None:
    cli.apply(NUMBERED)
    opened = [cli.good("batch", "start", "numbered").strip() for _ in range(2)]
    assert [re.sub(r"\d{8}", "DAY", batch) for batch in opened] == ["Batch_DAY_001", "Batch_DAY_002"]


def test_params_are_read_as_in_a_workflow_file(cli: CommandLine) -> None:
    cli.apply(NUMBERED + "params: {n: 1, text: '', day: '', flag: false, empty: x, many: []}\n")
    given = ["n=2.5", "text=a=b", "day=2024-03-01", "flag=true", "empty=", "many=[1, no]"]
    cli.good("batch", "start", "numbered", *(word for value in given for word in ("--param", value)))
    (batch,) = cli.json("batch", "list")
    expected = {"n": 2.5, "text": "a=b", "day": "2024-03-01", "flag": True, "empty": "", "many": [1, "no"]}
    assert batch["params"] == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "there is no workflow 'nothing'"),
        (("sales",), "workflow sales needs a batch_id: its ids are made from '{period}'"),
        (("sales", "2024-03", "--param", "colour=red"), "workflow sales has no param 'colour'"),
    ],
)
def test_a_start_that_cannot_be_is_one_line_and_opens_nothing(
    cli: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    cli.apply(SALES)
    before = cli.everything()
    line = cli.bad("batch", "start", *arguments)
    assert line.startswith(said)
    assert line.count("\n") == 1
    assert cli.everything() == before


def test_a_start_with_other_params_than_the_open_batch_is_refused(cli: CommandLine) -> None:
    cli.apply(SALES)
    cli.good("batch", "start", "sales", "2024-03")
    assert "has other params" in cli.bad("batch", "start", "sales", "2024-03", "--param", "currency=USD")


@pytest.mark.parametrize(
    "arguments",
    [
        ("start",),
        ("start", "w", "b", "--param", "no-equals"),
        ("start", "w", "b", "--param", "a={"),
        ("start", "w", "b", "--param", "a=1", "--param", "a=2"),
        ("show", "w"),
        ("watch", "w", "b", "--timeout", "soon"),
        ("list", "--limit", "0"),
        ("rerun", "w", "b"),
        ("rerun", "w", "--failed"),
        ("cancel", "w"),
    ],
)
def test_wrong_usage_is_exit_status_2(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    cli.bad("batch", *arguments, status=2)


def test_list_shows_the_newest_first_and_how_far_each_is(half_baked: CommandLine) -> None:
    cli = half_baked
    cli.apply(chain("w", "a", "b"))
    cli.good("batch", "start", "w", "x")
    rows = cli.json("batch", "list")
    assert [(row["workflow"], row["batch"], row["status"]) for row in rows] == [
        ("w", "x", "PROCESSING"),
        ("cake", "2024-03", "PROCESSING"),
    ]
    assert rows[1]["tasks"] == {"SUCCESS": 1, "ERROR": 1, "SKIPPED": 3, "WAITING": 1}
    assert [row["batch"] for row in cli.json("batch", "list", "cake")] == ["2024-03"]
    assert re.search(r"^cake +2024-03 +PROCESSING +5/6 ", cli.good("batch", "list"), re.MULTILINE)
    cut = cli("batch", "list", "--limit", "1")
    assert cut.stderr == "Only the newest 1 are shown; --limit shows more.\n"
    assert "2024-03" not in cut.stdout


def test_lists_of_nothing_say_so_and_are_empty_json(cli: CommandLine) -> None:
    empty = cli("batch", "list")
    assert (empty.exit_code, empty.stdout, empty.stderr) == (0, "", "There is no batch yet.\n")
    assert cli.json("batch", "list") == []
    assert cli.bad("batch", "list", "cake") == "there is no workflow 'cake'\n"


def test_show_says_what_each_task_does_and_why(half_baked: CommandLine) -> None:
    shown = re.sub(r"\d+ ms", "N ms", half_baked.good("batch", "show", "cake", "2024-03"))
    head, _, tasks = shown.partition("\n\n")
    assert head.startswith("cake 2024-03  PROCESSING\nversion 1, opened 2")
    assert tasks.splitlines() == [
        "✓ mix       SUCCESS     attempt 1, N ms",
        "… wrap      WAITING",
        "    waits for its file: gs://{landing_bucket}/paper",
        "✗ bake      ERROR       attempt 1, N ms",
        "    the oven is cold",
        "\N{EN DASH} rescue    SKIPPED",
        "    skipped because bake failed",
        "\N{EN DASH} decorate  SKIPPED",
        "    skipped because bake failed",
        "\N{EN DASH} deliver   SKIPPED",
        "    skipped because bake failed",
    ]


def test_show_names_the_parents_that_a_task_waits_for(cli: CommandLine) -> None:
    cli.room.apply(ORDERED)
    cli.room.start("2024-03")
    tasks = {task["task"]: task for task in cli.json("batch", "show", "cake", "2024-03")["tasks"]}
    assert tasks["deliver"]["open_parents"] == ["wrap", "decorate"]
    assert [(reason["kind"], reason["ids"]) for reason in tasks["deliver"]["reasons"]] == [
        ("parents", ["wrap", "decorate"])
    ]
    assert "    waits for wrap and decorate\n" in cli.good("batch", "show", "cake", "2024-03")


def test_show_gives_the_last_line_of_a_traceback(cli: CommandLine) -> None:
    def stumble(_work: object) -> None:
        raise ZeroDivisionError("too little flour")

    cli.room.apply({"mix": []})
    cli.room.told.orders["mix"] = stumble
    cli.room.start()
    cli.room.deliver_all()
    (task,) = cli.json("batch", "show", "cake", "2024-03")["tasks"]
    assert task["error"] == "ZeroDivisionError: too little flour"
    assert "Traceback" in cli.good("batch", "show", "cake", "2024-03", "--attempts")


def test_show_gives_the_reason_of_a_task_that_had_nothing_to_do(cli: CommandLine) -> None:
    cli.room.told.orders["mix"] = lambda _work: Skipped("no flour in the house")
    cli.room.apply({"mix": []})
    cli.room.start()
    cli.room.deliver_all()
    assert "skipped because its own work said so: no flour in the house" in cli.good("batch", "show", "cake", "2024-03")
    shown = cli.json("batch", "show", "cake", "2024-03")
    assert shown["tasks"][0]["skip_reason"] == "no flour in the house"


def test_attempts_are_shown_with_their_whole_error_and_what_they_told(half_baked: CommandLine) -> None:
    shown = half_baked.good("batch", "show", "cake", "2024-03", "--attempts")
    history = shown.partition("History\n")[2]
    assert "✓ mix attempt 1  SUCCESS" in history
    assert "    rows: 3\n" in history
    assert "    the oven is cold\n    as the log of the oven says\n" in history
    attempts = half_baked.json("batch", "show", "cake", "2024-03", "--attempts")["attempts"]
    assert [(row["task"], row["attempt"], row["status"]) for row in attempts] == [
        ("mix", 1, "SUCCESS"),
        ("bake", 1, "ERROR"),
    ]
    assert attempts[0]["started_at"].endswith("Z")


@pytest.fixture
def moved(half_baked: CommandLine) -> CommandLine:
    """The same after ann has let it bake again and bob has given up, beside a batch whose name begins alike."""
    half_baked.room.start("2024-03 b")
    half_baked.good("task", "mark", "cake", "2024-03 b", "wrap", "--success", "--actor", "eve")
    half_baked.good("batch", "cancel", "cake", "2024-03 b", "--actor", "eve")
    half_baked.good("task", "rerun", "cake", "2024-03", "bake", "--reason", "the oven\nis hot", "--actor", "ann")
    half_baked.good("batch", "cancel", "cake", "2024-03", "--actor", "bob\x1b[2J")
    return half_baked


def test_history_says_who_did_what_when_and_why_and_shows_every_attempt(moved: CommandLine) -> None:
    history = moved.json("batch", "history", "cake", "2024-03")
    assert [(row["actor"], row["action"], row["task"], row["reason"]) for row in history["audit"]] == [
        ("ann", "rerun", "bake", "the oven\nis hot"),
        ("bob\x1b[2J", "cancel", None, None),
    ]
    assert all(row["at"].endswith("Z") for row in history["audit"])
    assert history["audit"][0]["details"] == {"downstream": False}
    assert [(row["task"], row["attempt"]) for row in history["attempts"]] == [("mix", 1), ("bake", 1)]
    said = moved.good("batch", "history", "cake", "2024-03")
    by_hand, _, attempts = said.partition("History\n")
    assert re.search(r"\nann: rerun task bake  \d{4}-\d\d-\d\d [\d:]{8} UTC\n    the oven\n    is hot\n", by_hand)
    assert r"bob\x1b[2J: cancel batch" in by_hand
    assert "eve" not in said
    assert "✗ bake attempt 1  ERROR" in attempts


def test_show_has_the_audit_in_json(moved: CommandLine) -> None:
    shown = moved.json("batch", "show", "cake", "2024-03")
    assert shown["audit"] == moved.json("batch", "history", "cake", "2024-03")["audit"]
    assert [row["actor"] for row in moved.json("batch", "show", "cake", "2024-03 b")["audit"]] == ["eve", "eve"]


def test_the_history_of_a_batch_begins_with_who_opened_it(cli: CommandLine) -> None:
    cli.apply(chain("w", "a"))
    cli.good("batch", "start", "w", "2024-03", "--actor", "ann")
    (row,) = cli.json("batch", "history", "w", "2024-03")["audit"]
    assert (row["actor"], row["action"], row["task"]) == ("ann", "start", None)


def test_a_batch_that_nobody_has_touched_says_so(half_baked: CommandLine) -> None:
    assert half_baked.good("batch", "history", "cake", "2024-03").startswith("By hand\nnothing\n")


def test_piped_lines_are_whole_and_without_colour(cli: CommandLine) -> None:
    batch = "b" * 190
    cli.apply(chain("w", "a"))
    cli.good("batch", "start", "w", batch)
    for arguments in (("list",), ("show", "w", batch)):
        printed = cli.good("batch", *arguments)
        assert batch in printed
        assert "\x1b" not in printed
        assert all(line == line.rstrip() for line in printed.splitlines())


@pytest.mark.parametrize("command", [("show",), ("show", "--attempts"), ("watch", "--timeout", "0")])
def test_what_a_terminal_would_obey_in_an_error_is_escaped(cli: CommandLine, command: tuple[str, ...]) -> None:
    cli.room.apply({"bake": []})
    cli.room.told.orders["bake"] = failing("gs://landing/\x1b[2J\x9b\u202e.csv\nis cold\x07")
    cli.room.start("2024-03")
    cli.room.deliver_all()
    said = cli("batch", command[0], "cake", "2024-03", *command[1:]).stdout
    assert r"gs://landing/\x1b[2J\x9b\u202e.csv" in said
    assert all(one.isprintable() for one in said.replace("\n", ""))


@pytest.mark.parametrize("command", ["show", "history", "watch"])
def test_a_batch_that_is_not_there_is_one_line(cli: CommandLine, command: str) -> None:
    assert cli.bad("batch", command, "cake", "x") == "there is no workflow 'cake'\n"
    cli.room.apply({"mix": []})
    assert cli.bad("batch", command, "cake", "x") == "workflow cake has no batch 'x'\n"


def test_watch_follows_a_batch_until_it_has_succeeded(cli: CommandLine) -> None:
    cli.room.apply({"mix": [], "bake": ["mix"]})
    cli.room.start()
    with cli.process("batch", "watch", "cake", "2024-03") as watching:
        assert watching.stdout is not None
        seen = [watching.stdout.readline() for _ in range(2)]
        cli.room.deliver_all()
        seen += watching.stdout.readlines()
        assert watching.wait(20) == 0
    assert seen[:4] == ["mix: NEW\n", "bake: WAITING\n", "mix: SUCCESS\n", "bake: SUCCESS\n"]
    assert seen[4].startswith("cake 2024-03: SUCCESS, took ")


def test_watch_of_a_failed_batch_fails(cli: CommandLine) -> None:
    cli.room.apply({"mix": []})
    cli.room.told.orders["mix"] = failing("no flour")
    cli.room.start()
    cli.room.deliver_all()
    result = cli("batch", "watch", "cake", "2024-03")
    assert (result.exit_code, result.stderr) == (1, "The batch cake 2024-03 is ERROR.\n")
    assert result.stdout.startswith("mix: ERROR: no flour\ncake 2024-03: ERROR, took ")


def test_watch_gives_up_after_its_timeout(cli: CommandLine) -> None:
    cli.room.apply({"mix": []})
    cli.room.start()
    result = cli("batch", "watch", "cake", "2024-03", "--timeout", "0.1")
    assert (result.exit_code, result.stderr) == (1, "The batch cake 2024-03 has not ended within 0.1 s.\n")


def test_watch_at_a_terminal_ends_with_the_whole_batch(cli: CommandLine) -> None:
    cli.room.apply({"mix": [], "bake": ["mix"]})
    cli.room.start()
    ours, theirs = pty.openpty()
    size = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"}
    cli.environment.update(size)
    seen = bytearray()

    def read() -> None:
        try:
            while piece := os.read(ours, 1000):
                seen.extend(piece)
        except OSError:
            return  # The other end is closed.

    with cli.process("batch", "watch", "cake", "2024-03", stdout=theirs, stderr=theirs) as watching:
        os.close(theirs)
        reader = threading.Thread(target=read)
        reader.start()
        eventually(lambda: b"may start" in seen, "the first look")
        cli.room.deliver_all()
        assert watching.wait(20) == 0
        reader.join()
    os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert "✓ bake  SUCCESS" in plain.rpartition("cake 2024-03  SUCCESS")[2]


def test_json_of_a_batch_is_one_object_and_nothing_else(half_baked: CommandLine) -> None:
    result = half_baked("batch", "show", "cake", "2024-03", "--json")
    assert result.stderr == ""
    assert json.loads(result.stdout)["batch"] == "2024-03"


def test_two_starts_have_triggers_of_their_own(cli: CommandLine) -> None:
    cli.apply(NUMBERED)
    cli.good("batch", "start", "numbered")
    cli.good("batch", "start", "numbered")
    triggers = {trigger for (trigger,) in cli.room.rows("SELECT trigger_key FROM task_batch")}
    assert len(triggers) == 2
    assert all(uuid.UUID(trigger.removeprefix("command line ")) for trigger in triggers)


def test_rerun_of_what_failed_takes_with_it_what_was_skipped_because_of_it(half_baked: CommandLine) -> None:
    cli = half_baked
    said = cli.good("batch", "rerun", "cake", "2024-03", "--failed", "--reason", "it is hot now", "--actor", "ann")
    assert said == "moved: bake\nmay start now: bake\ncake 2024-03 is PROCESSING\n"
    assert cli.room.statuses() == {
        "mix": "SUCCESS",
        "wrap": "WAITING",
        "bake": "NEW",
        "rescue": "WAITING",
        "decorate": "WAITING",
        "deliver": "WAITING",
    }
    assert [message["batch_id"] for message in cli.pushes.messages] == ["2024-03"]
    audit = cli.room.rows("SELECT actor, action, subject, reason FROM audit")
    assert audit == [("ann", "rerun", "batch cake 2024-03", "it is hot now")]


def test_rerun_with_the_latest_version_keeps_what_has_not_changed(cli: CommandLine) -> None:
    cli.room.apply({"mix": [], "bake": ["mix"], "taste": ["mix"]})
    cli.room.start()
    cli.room.deliver_all()
    cli.room.apply({"mix": [], "bake": ["mix"], "wrap": ["bake"]})
    assert cli.json("batch", "rerun", "cake", "2024-03", "--latest") == {
        "workflow": "cake",
        "batch": "2024-03",
        "changed": ["wrap"],
        "released": ["wrap"],
        "batch_status": "PROCESSING",
    }
    assert len(cli.pushes.messages) == 1
    assert "has the newest version" in cli.bad("batch", "rerun", "cake", "2024-03", "--latest")


def test_rerun_of_a_batch_in_which_nothing_failed_is_refused_and_changes_nothing(cli: CommandLine) -> None:
    cli.room.apply({"mix": []})
    cli.room.start()
    cli.room.deliver_all()
    before = cli.everything()
    assert cli.bad("batch", "rerun", "cake", "2024-03", "--failed").startswith("no task of batch 2024-03 has failed")
    assert cli.everything() == before


def test_cancel_ends_a_batch_once_and_a_rerun_brings_it_back(cli: CommandLine) -> None:
    cli.room.apply({"mix": [], "bake": ["mix"]})
    cli.room.start()
    said = cli.good("batch", "cancel", "cake", "2024-03", "--reason", "wrong month", "--actor", "ann")
    assert said == "moved: mix, bake\nmay start now: nothing\ncake 2024-03 is CANCELLED\n"
    assert cli.room.statuses() == {"mix": "CANCELLED", "bake": "CANCELLED"}
    audit = cli.room.rows("SELECT actor, action, subject, reason FROM audit")
    assert audit == [("ann", "cancel", "batch cake 2024-03", "wrong month")]
    assert "has ended" in cli.bad("batch", "cancel", "cake", "2024-03")
    assert cli.json("batch", "rerun", "cake", "2024-03", "--failed")["released"] == ["mix"]


@pytest.mark.parametrize("command", [("rerun", "--failed"), ("rerun", "--latest"), ("cancel",)])
def test_a_batch_that_is_not_there_cannot_be_moved(cli: CommandLine, command: tuple[str, ...]) -> None:
    assert cli.bad("batch", command[0], "cake", "x", *command[1:]) == "there is no workflow 'cake'\n"
    cli.room.apply({"mix": []})
    assert cli.bad("batch", command[0], "cake", "x", *command[1:]) == "workflow cake has no batch 'x'\n"
