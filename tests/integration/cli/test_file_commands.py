from __future__ import annotations

import json

import pytest

from tests.integration.cli.conftest import CommandLine, Door
from tests.integration.cli.workflow_files import DATED, EXTRACT, SALES


@pytest.fixture
def landed(cli: CommandLine, door: Door) -> CommandLine:
    """One file of each fate."""
    cli.apply(SALES, "sales.yaml")
    cli.apply(DATED, "dated.yaml")
    door.file("sales/2024-03.csv", generation=2)
    door.file("sales/2024-03.csv", generation=1)
    door.file("readme.txt")
    door.file("folder/")
    door.file("expenses/2024-03.csv", generation=5)
    door.file("expenses/2024-03-v2.csv")
    door.file("dated/20241399.csv")
    return cli


def test_list_says_which_files_are_processed_and_what_was_the_problem(landed: CommandLine) -> None:
    rows = {(row["file"], row["generation"]): row for row in landed.json("file", "list")}
    decisions = {file.removeprefix("gs://landing/"): row["decision"] for (file, _), row in rows.items()}
    assert decisions == {
        "sales/2024-03.csv": "TAKEN",
        "readme.txt": "UNWANTED",
        "folder/": "IGNORED",
        "expenses/2024-03.csv": "TAKEN",
        "expenses/2024-03-v2.csv": "REJECTED",
        "dated/20241399.csv": "REJECTED",
    }
    assert rows["gs://landing/sales/2024-03.csv", 1]["decision"] == "SUPERSEDED"
    taken = rows["gs://landing/sales/2024-03.csv", 2]
    assert (taken["workflow"], taken["batch"], taken["task"]) == ("sales", "2024-03", "load_sales")
    assert taken["task_status"] == "NEW"
    listed = landed.good("file", "list")
    assert "gs://landing/readme.txt\n    UNWANTED\n    no pattern of any workflow fits it\n" in listed
    assert "is a second object for the same task" in listed


def test_list_shows_the_error_of_the_task_and_where_the_file_is_now(landed: CommandLine) -> None:
    key = landed.room.key("load_sales", workflow="sales").columns
    where = "WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id"
    landed.room.change(f"UPDATE batch_task SET status = 'ERROR', attempt = 1, publish_after = NULL {where}", **key)
    landed.room.change(
        "INSERT INTO task_log (workflow_id, batch_id, task_id, attempt, status, ended_at, error) "
        "VALUES (:workflow_id, :batch_id, :task_id, 1, 'ERROR', now(), E'row 3 is broken\\nsee the job')",
        **key,
    )
    landed.room.change(
        f"UPDATE file_log SET place_bucket = 'archive', place_object = 'kept.csv', place_generation = 9 {where} "
        "AND decision = 'TAKEN'",
        **key,
    )
    listed = landed.good("file", "list", "--batch", "sales", "2024-03", "--decision", "taken")
    assert "✗ gs://landing/sales/2024-03.csv\n" in listed
    assert "    TAKEN by sales 2024-03 load_sales, task ERROR\n    row 3 is broken\n" in listed
    assert "    now gs://archive/kept.csv\n" in listed
    shown = landed.good("file", "show", "gs://archive/kept.csv")
    assert shown.startswith("✗ gs://landing/sales/2024-03.csv  generation 2\n")


@pytest.mark.parametrize("arguments", [("list",), ("show", "gs://landing/sales/\x1b[31m\x9b\u202e\n✓ gs://a/b.csv")])
def test_what_a_terminal_would_obey_in_a_file_s_name_is_escaped(
    cli: CommandLine, door: Door, arguments: tuple[str, ...]
) -> None:
    name = "sales/\x1b[31m\x9b\u202e\n✓ gs://a/b.csv"
    door.file(name)
    said = cli.good("file", *arguments) + cli.good("file", "explain", f"gs://landing/{name}")
    assert said.count(r"gs://landing/sales/\x1b[31m\x9b\u202e\n✓ gs://a/b.csv") == 2
    assert all(one.isprintable() for one in said.replace("\n", ""))
    written = cli.good("file", *arguments, "--json")
    assert all(one.isprintable() for one in written.replace("\n", ""))
    assert json.loads(written)[0]["file"] == f"gs://landing/{name}"


def test_what_a_terminal_would_obey_in_an_error_is_escaped(cli: CommandLine) -> None:
    assert r"no message about gs://landing/\x1b[2J.csv has come" in cli.bad("file", "show", "gs://landing/\x1b[2J.csv")


def test_list_is_narrowed_by_decision_and_by_batch(landed: CommandLine) -> None:
    rejected = landed.json("file", "list", "--decision", "REJECTED")
    assert [row["decision"] for row in rejected] == ["REJECTED"] * 2
    assert len(landed.json("file", "list", "--batch", "sales", "2024-03")) == 4
    assert len(landed.json("file", "list", "--limit", "1")) == 1
    said = landed.bad("file", "list", "--batch", "sales", "2025-01")
    assert said == "workflow sales has no batch '2025-01'\n"


def test_show_tells_every_generation_of_one_object(landed: CommandLine) -> None:
    rows = landed.json("file", "show", "gs://landing/sales/2024-03.csv")
    assert [(row["generation"], row["decision"]) for row in rows] == [(1, "SUPERSEDED"), (2, "TAKEN")]
    assert "OBJECT_FINALIZE at 2" in landed.good("file", "show", "gs://landing/sales/2024-03.csv")
    said = landed.bad("file", "show", "gs://landing/never.csv")
    assert said.startswith("no message about gs://landing/never.csv has come")


def explained(cli: CommandLine, name: str) -> list[tuple[str, str | None, str]]:
    answer = cli.json("file", "explain", f"gs://landing/{name}")
    return [(one["effect"], one["batch"], one["words"]) for one in answer["explanations"]]


def test_explain_says_what_would_happen_and_does_nothing(landed: CommandLine) -> None:
    landed.apply(EXTRACT, "extract.yaml")
    before, pushed = landed.everything(), list(landed.pushes.messages)
    assert explained(landed, "sales/2024-04.csv") == [("opens", "2024-04", "opens the batch 2024-04")]
    ((effect, _, words),) = explained(landed, "sales/2024-03.csv")
    assert (effect, "has generation 2" in words) == ("reruns", True)
    ((effect, _, words),) = explained(landed, "expenses/2024-03.csv")
    assert (effect, "on_new_generation is ignore" in words) == ("ignored", True)
    ((effect, _, words),) = explained(landed, "expenses/2024-03-v3.csv")
    assert (effect, "gs://landing/expenses/2024-03.csv" in words) == ("rejected", True)
    ((effect, _, words),) = explained(landed, "dated/20241399.csv")
    assert (effect, "is no date of the format" in words) == ("rejected", True)
    assert explained(landed, "dated/20240301.csv") == [("opens", "2024-03-01", "opens the batch 2024-03-01")]
    ((effect, batch, words),) = explained(landed, "extract/crm.csv")
    assert (effect, batch, "opens a fresh batch" in words) == ("opens", None, True)
    assert landed.everything() == before
    assert landed.pushes.messages == pushed


def test_explain_says_that_a_batch_waits_for_the_file(cli: CommandLine) -> None:
    cli.apply(SALES)
    cli.good("batch", "start", "sales", "2024-03")
    said = cli.good("file", "explain", "gs://landing/sales/2024-03.csv")
    assert said.splitlines() == [
        "gs://landing/sales/2024-03.csv",
        "✓ sales, task load_sales (period 2024-03)",
        "    joins the batch 2024-03, which waits for it",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [("folder/", "it is the placeholder of a folder"), ("else.csv", "no pattern of any workflow fits it")],
)
def test_explain_says_why_an_object_would_be_left_alone(cli: CommandLine, name: str, why: str) -> None:
    said = cli.good("file", "explain", f"gs://landing/{name}")
    assert said == f"gs://landing/{name} would be left alone: {why}\n"
    answer = cli.json("file", "explain", f"gs://landing/{name}")
    assert answer == {"file": f"gs://landing/{name}", "ignored": why, "explanations": []}


def test_explain_knows_our_own_archive(landed: CommandLine) -> None:
    landed.room.change(
        "UPDATE file_log SET place_bucket = 'landing', place_object = 'sales/2023-01.csv', place_generation = 9 "
        "WHERE decision = 'TAKEN' AND object = 'sales/2024-03.csv'"
    )
    said = landed.good("file", "explain", "gs://landing/sales/2023-01.csv")
    assert "it is where the batch sales 2024-03 has put gs://landing/sales/2024-03.csv" in said


def test_explain_follows_the_version_of_the_batch(landed: CommandLine) -> None:
    landed.apply(SALES.replace("load_sales", "load_all_sales"), "sales.yaml")
    ((effect, _, words),) = explained(landed, "sales/2024-03.csv")
    assert (effect, "has version 1, in which no task load_all_sales takes a file" in words) == ("rejected", True)
    landed.room.change("UPDATE task_batch SET status = 'CANCELLED', ended_at = now()")
    ((effect, _, words),) = explained(landed, "sales/2024-03.csv")
    assert (effect, words) == ("ignored", "the batch 2024-03 is cancelled")


@pytest.mark.parametrize(
    "arguments",
    [("show", "landing/a.csv"), ("explain", "gs://landing"), ("list", "--decision", "EATEN"), ("list", "--batch", "w")],
)
def test_wrong_usage_is_exit_status_2(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    cli.bad("file", *arguments, status=2)
