"""What the commands say of a task that takes many files."""

from __future__ import annotations

import re

import pytest

from tests.integration.cli.conftest import CommandLine, Door
from tests.integration.cli.test_batch_reasons import reasons, shown

PARTS = r"""
workflow: parts
batch: "{period}"
tasks:
  load:
    kind: load_file
    files: many
    file: 'gs://{landing_bucket}/(?P<period>\d{4}-\d{2})/.*'
    until: UNTIL
    table: finance.parts
    on_new_generation: rerun
"""
PATTERN = r"gs://{landing_bucket}/(?P<period>\d{4}-\d{2})/.*"
COUNT = "{count: 3}"
MARKER = r"{marker: 'gs://{landing_bucket}/(?P<period>\d{4}-\d{2})/_SUCCESS'}"
QUIET = "{quiet: 10m}"


def collect(cli: CommandLine, door: Door, until: str, *names: str, policy: str = "rerun") -> None:
    cli.apply(PARTS.replace("UNTIL", until).replace("rerun", policy))
    for name in names:
        door.file(f"2024-03/{name}")


def explained(cli: CommandLine, name: str) -> tuple[str, str]:
    answer = cli.json("file", "explain", f"gs://landing/2024-03/{name}")
    [one] = answer["explanations"]
    return one["effect"], one["words"]


@pytest.mark.parametrize(
    ("until", "names", "words"),
    [
        (COUNT, ("a", "b"), "2 files so far, until there are 3: "),
        (MARKER, (), "0 files so far, until gs://{landing_bucket}/(?P<period>\\d{4}-\\d{2})/_SUCCESS has come: "),
        (QUIET, ("a",), "1 file so far, until none has come for 10m (quiet since TIME, ends at TIME): "),
    ],
)
def test_a_batch_says_what_its_collection_waits_for(
    cli: CommandLine, door: Door, until: str, names: tuple[str, ...], words: str
) -> None:
    collect(cli, door, until, *names)
    if not names:
        cli.good("batch", "start", "parts", "2024-03")
    assert shown(cli, "parts") == ["… load  WAITING", f"    collects its files, {words}{PATTERN}"]
    [reason] = reasons(cli, "load", "parts")
    assert (reason["kind"], reason["ids"][0]) == ("files", PATTERN)
    assert (reason["until"] is None) == (until != QUIET)


def test_files_are_listed_with_what_became_of_each(cli: CommandLine, door: Door) -> None:
    collect(cli, door, COUNT, "a", "b", "c")
    cli.room.change(
        "UPDATE file_log SET decision = 'SET_ASIDE', reason = 'row 7 is no number' WHERE object = '2024-03/b'"
    )
    listed = cli.good("file", "list", "--batch", "parts", "2024-03").splitlines()
    assert listed == [
        "… gs://landing/2024-03/c",
        "    COLLECTED by parts 2024-03 load, task NEW",
        "✗ gs://landing/2024-03/b",
        "    SET_ASIDE for parts 2024-03 load",
        "    row 7 is no number",
        "… gs://landing/2024-03/a",
        "    COLLECTED by parts 2024-03 load, task NEW",
    ]
    assert "row 7 is no number" in cli.good("file", "show", "gs://landing/2024-03/b")
    assert [row["file"] for row in cli.json("file", "list", "--decision", "SET_ASIDE")] == ["gs://landing/2024-03/b"]
    assert "    2 files, 1 set aside" in shown(cli, "parts")


def test_a_marker_is_listed_as_one(cli: CommandLine, door: Door) -> None:
    collect(cli, door, MARKER, "_SUCCESS")
    assert cli.good("file", "show", "gs://landing/2024-03/_SUCCESS").splitlines()[1] == (
        "    MARKER for parts 2024-03 load"
    )


@pytest.mark.parametrize(
    ("until", "landed", "name", "effect", "words"),
    [
        (COUNT, "", "a", "opens", "opens the batch 2024-03, which collects its files until there are 3"),
        (COUNT, "a", "b", "joins", "joins the batch 2024-03, which collects its files until there are 3"),
        (COUNT, "a", "a", "joins", "joins the batch 2024-03, which collects its files until there are 3"),
        (COUNT, "ab", "c", "joins", "joins the batch 2024-03, which then has all of its files (3)"),
        (COUNT, "abc", "d", "reruns", "with this one the task and what follows run again at once"),
        (QUIET, "a", "b", "joins", "joins the batch 2024-03, which collects its files until none has come for 10m"),
        (MARKER, "", "_SUCCESS", "opens", "opens the batch 2024-03, whose files are still to come"),
        (MARKER, "ab", "_SUCCESS", "joins", "is the marker of the batch 2024-03, which then has all of its files (2)"),
    ],
)
def test_explain_says_what_a_file_would_do_to_the_collection(
    cli: CommandLine, door: Door, until: str, landed: str, name: str, effect: str, words: str
) -> None:
    collect(cli, door, until, *landed)
    before = cli.everything()
    found = explained(cli, name)
    assert (found[0], words in found[1]) == (effect, True), found
    assert cli.everything() == before


def test_explain_says_that_a_file_would_come_too_late(cli: CommandLine, door: Door) -> None:
    collect(cli, door, COUNT, "a", "b", "c", policy="ignore")
    assert explained(cli, "d") == ("ignored", "the batch 2024-03 had all of its files; on_new_generation is ignore")


def test_explain_says_that_quiet_begins_again(cli: CommandLine, door: Door) -> None:
    collect(cli, door, QUIET, "a")
    cli.room.pass_time(601)
    cli.room.sweep()
    effect, words = explained(cli, "b")
    assert (effect, words.rpartition(" run again ")[2]) == ("reruns", "when none has come for 10m")


def test_the_examples_of_the_page_name_the_keys(cli: CommandLine) -> None:
    said = cli.bad("workflow", "check", cli.write("w.yaml", PARTS.replace("UNTIL", "{count: 3, quiet: 1m}")))
    assert re.search(r"w\.yaml:9: .*write one of marker .*, count .* and quiet", said)
