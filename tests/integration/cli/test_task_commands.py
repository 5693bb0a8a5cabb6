from __future__ import annotations

import pytest

from tests.engine_room import failing
from tests.integration.cli.conftest import CommandLine

NEEDS: dict[str, list[str]] = {"mix": [], "bake": ["mix"], "decorate": ["bake"], "deliver": ["decorate"]}


@pytest.fixture
def burnt(cli: CommandLine) -> CommandLine:
    """A batch in which decorating has failed, so that nothing is delivered."""
    cli.room.apply(NEEDS)
    cli.room.told.orders["decorate"] = failing("no cherries")
    cli.room.start("2024-03")
    cli.room.deliver_all()
    return cli


def pushed(cli: CommandLine) -> list[str]:
    """The names of the tasks whose messages have been sent."""
    names = dict(map(tuple, cli.room.rows("SELECT task_id, name FROM task")))
    return [names[message["task_id"]] for message in cli.pushes.messages]


def test_rerun_gives_one_task_a_new_attempt_sends_its_message_and_says_so(burnt: CommandLine) -> None:
    said = burnt.good("task", "rerun", "cake", "2024-03", "decorate", "--reason", "cherries came", "--actor", "ann")
    assert said == "moved: decorate\nmay start now: decorate\ncake 2024-03 is PROCESSING\n"
    assert burnt.room.statuses() == {
        "mix": "SUCCESS",
        "bake": "SUCCESS",
        "decorate": "NEW",
        "deliver": "SKIPPED:upstream_failed",
    }
    assert pushed(burnt) == ["decorate"]
    audit = burnt.room.rows("SELECT actor, action, subject, reason FROM audit")
    assert audit == [("ann", "rerun", "task cake 2024-03 decorate", "cherries came")]


def test_rerun_downstream_moves_all_below_too_and_starts_the_first(burnt: CommandLine) -> None:
    answer = burnt.json("task", "rerun", "cake", "2024-03", "bake", "--downstream")
    assert answer == {
        "workflow": "cake",
        "batch": "2024-03",
        "changed": ["bake", "decorate", "deliver"],
        "released": ["bake"],
        "batch_status": "PROCESSING",
    }
    assert burnt.room.statuses() == {"mix": "SUCCESS", "bake": "NEW", "decorate": "WAITING", "deliver": "WAITING"}
    assert pushed(burnt) == ["bake"]


@pytest.mark.parametrize(
    ("mark", "statuses", "started"),
    [
        ("--success", {"decorate": "SUCCESS", "deliver": "NEW"}, ["deliver"]),
        ("--skipped", {"decorate": "SKIPPED:marked", "deliver": "SKIPPED:rule"}, []),
    ],
)
def test_mark_says_how_a_task_has_ended_and_what_follows_happens(
    burnt: CommandLine, mark: str, statuses: dict[str, str], started: list[str]
) -> None:
    said = burnt.good("task", "mark", "cake", "2024-03", "decorate", mark, "--actor", "ann")
    assert said.splitlines()[:2] == ["moved: decorate", f"may start now: {', '.join(started) or 'nothing'}"]
    assert {task: status for task, status in burnt.room.statuses().items() if task in statuses} == statuses
    assert pushed(burnt) == started
    status = mark.removeprefix("--").upper()
    audit = burnt.room.rows("SELECT actor, action, subject, reason, details ->> 'status' FROM audit")
    assert audit == [("ann", "mark", "task cake 2024-03 decorate", None, status)]


@pytest.mark.parametrize("mark", ["--success", "--skipped"])
def test_what_a_person_has_marked_does_not_show_the_error_of_its_last_attempt_any_more(
    burnt: CommandLine, mark: str
) -> None:
    assert "no cherries" in burnt.good("batch", "show", "cake", "2024-03")
    burnt.good("task", "mark", "cake", "2024-03", "decorate", mark)
    assert "no cherries" not in burnt.good("batch", "show", "cake", "2024-03")
    errors = {task["task"]: task["error"] for task in burnt.json("batch", "show", "cake", "2024-03")["tasks"]}
    assert errors["decorate"] is None
    assert "no cherries" in burnt.good("batch", "show", "cake", "2024-03", "--attempts"), "history keeps it"


def test_a_task_that_runs_again_shows_the_error_of_its_last_attempt_until_that_has_ended(burnt: CommandLine) -> None:
    burnt.good("task", "rerun", "cake", "2024-03", "decorate")
    assert "no cherries" in burnt.good("batch", "show", "cake", "2024-03")


def test_mark_error_fails_what_had_succeeded(cli: CommandLine) -> None:
    cli.room.apply(NEEDS)
    cli.room.start("2024-03")
    cli.room.deliver_all()
    answer = cli.json("task", "mark", "cake", "2024-03", "deliver", "--error")
    assert (answer["changed"], answer["released"], answer["batch_status"]) == (["deliver"], [], "ERROR")


def test_who_does_it_is_the_user_of_the_system_unless_said_otherwise(
    burnt: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "bob")
    burnt.good("task", "rerun", "cake", "2024-03", "decorate")
    assert burnt.room.rows("SELECT actor, reason FROM audit") == [("bob", None)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("mark", "cake", "2024-03", "bake"),
        ("mark", "cake", "2024-03", "bake", "--success", "--error"),
        ("mark", "cake", "2024-03", "bake", "--error", "--skipped"),
        ("mark", "cake", "2024-03", "--success"),
        ("rerun", "cake", "2024-03"),
        ("rerun", "cake", "2024-03", "bake", "--upstream"),
    ],
)
def test_wrong_usage_is_exit_status_2_and_changes_nothing(burnt: CommandLine, arguments: tuple[str, ...]) -> None:
    before = burnt.everything()
    burnt.bad("task", *arguments, status=2)
    assert burnt.everything() == before


@pytest.mark.parametrize("command", [("rerun",), ("rerun", "--downstream"), ("mark", "--success")])
@pytest.mark.parametrize(
    ("address", "said"),
    [
        (("bread", "2024-03", "mix"), "there is no workflow 'bread'\n"),
        (("cake", "2024-04", "mix"), "workflow cake has no batch '2024-04'\n"),
        (("cake", "2024-03", "stir"), "workflow cake has no task 'stir'\n"),
    ],
)
def test_a_task_that_is_not_there_is_one_line(
    burnt: CommandLine, command: tuple[str, ...], address: tuple[str, ...], said: str
) -> None:
    assert burnt.bad("task", command[0], *address, *command[1:]) == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rerun", "deliver"), "task deliver would be skipped again"),
        (("rerun", "deliver", "--downstream"), "would be skipped again"),
        (("mark", "decorate", "--error"), "task decorate is ERROR already"),
    ],
)
def test_a_move_that_makes_no_sense_is_refused_in_one_line_and_changes_nothing(
    burnt: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    before = burnt.everything()
    line = burnt.bad("task", arguments[0], "cake", "2024-03", *arguments[1:])
    assert said in line
    assert line.count("\n") == 1
    assert burnt.everything() == before
    assert burnt.pushes.messages == []


def test_what_a_terminal_would_obey_in_a_name_is_escaped(cli: CommandLine) -> None:
    cli.room.apply({"mix": []})
    cli.room.start("a\x1b[2Jb")
    assert cli.good("batch", "cancel", "cake", "a\x1b[2Jb").splitlines()[-1] == r"cake a\x1b[2Jb is CANCELLED"
