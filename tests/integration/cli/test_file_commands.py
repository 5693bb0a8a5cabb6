from __future__ import annotations

import json
from typing import Any

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


def objects(*names: str) -> dict[str, Any]:
    """What Cloud Storage says of a bucket with these objects."""
    common = {"bucket": "landing", "generation": "7", "size": "5", "timeCreated": "2024-03-16T12:00:05Z"}
    return {"items": [{**common, "name": name} for name in names]}


@pytest.fixture
def missed(cli: CommandLine) -> CommandLine:
    """A bucket with a file that was never announced, beside others."""
    cli.apply(DATED)
    cli.pushes.storage_says = 200, objects("dated/20240301.csv", "dated/20240302.csv", "dated/readme.txt")
    cli.good("file", "scan", "gs://landing/dated/")
    cli.pushes.storage_says = 200, objects("dated/20240301.csv", "dated/20240302.csv", "dated/20240303.csv", "dated/x")
    cli.pushes.messages.clear()
    return cli


def test_scan_hands_over_what_was_missed_and_says_who_asked(missed: CommandLine) -> None:
    said = missed.good("file", "scan", "--actor", "ann")
    assert said == (
        "✓ gs://landing/dated/20240303.csv for dated.load\n"
        "looked at 4 objects: 1 handed over, 2 known, 1 that no task wants\n"
    )
    (row,) = missed.json("file", "show", "gs://landing/dated/20240303.csv")
    assert (row["decision"], row["batch"]) == ("TAKEN", "2024-03-03")
    assert [message["batch_id"] for message in missed.pushes.messages] == ["2024-03-03"]
    audit = "SELECT actor, subject, details FROM audit WHERE action = 'scan' ORDER BY audit_id"
    assert missed.room.rows(audit)[1:] == [("ann", "all files", {"looked_at": 4, "handed_over": 1})]
    assert "looked at 4 objects: 0 handed over, 3 known" in missed.good("file", "scan")


def test_scan_dry_run_only_says_it(missed: CommandLine) -> None:
    before = missed.everything()
    said = missed.good("file", "scan", "--dry-run")
    assert "✓ gs://landing/dated/20240303.csv for dated.load\n" in said
    assert "1 would be handed over" in said
    answer = missed.json("file", "scan", "--dry-run")
    assert answer == {
        "dry_run": True,
        "looked_at": 4,
        "known": 2,
        "files": [
            {
                "file": "gs://landing/dated/20240303.csv",
                "generation": 7,
                "wanted_by": ["dated.load"],
                "handed_over": False,
            }
        ],
        "problems": [],
    }
    assert missed.everything() == before
    assert missed.pushes.messages == []


def test_scan_says_what_it_could_not_look_at_and_fails(missed: CommandLine) -> None:
    missed.pushes.storage_says = 403, {"error": {"code": 403, "message": "you may not"}}
    result = missed("file", "scan")
    assert result.exit_code == 1
    assert result.stdout == "looked at 0 objects: 0 handed over, 0 known, 0 that no task wants\n"
    assert "listing gs://landing/dated/: " in result.stderr
    assert "you may not" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("prefix", ["gs://other/", "gs://landing/elsewhere/"])
def test_scan_where_no_pattern_looks_fails_and_says_so(missed: CommandLine, prefix: str) -> None:
    result = missed("file", "scan", prefix)
    assert result.exit_code == 1
    assert result.stdout.startswith("looked at 0 objects")
    assert f"no file pattern of any workflow looks under {prefix}\n" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "landing/a.csv"),
        ("explain", "gs://landing"),
        ("list", "--decision", "EATEN"),
        ("list", "--batch", "w"),
        ("scan", "landing/a"),
    ],
)
def test_wrong_usage_is_exit_status_2(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    cli.bad("file", *arguments, status=2)
