"""A contract that makes no sense is refused when the workflow is checked, with the place and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from run.clients import Clients
from run.errors import InvalidWorkflow
from run.kinds import build_kinds
from run.settings import Settings
from run.workflows.reader import read_workflow
from run.workflows.templates import NameType

KINDS = build_kinds(
    Clients(Settings(database_url="postgresql://nobody@localhost/none", project="local", landing_bucket="landing"))
)
NAMES = dict.fromkeys(("landing_bucket", "archive_bucket", "project"), NameType.TEXT)
FILE = "file: 'gs://{landing_bucket}/(?P<period>.*)'"
COLUMNS = "columns: [{name: id, type: INT64}, {name: day, type: DATE}]"


def complaints(tmp_path: Path, *keys: str, kind: str = "validate_file", above: str = "") -> list[str]:
    lines = [f"    {key}" for key in (f"kind: {kind}", *keys)]
    (tmp_path / "w.yaml").write_text("\n".join(['workflow: w\nbatch: "{period}"\ntasks:', above, "  one:", *lines]))
    try:
        read_workflow(tmp_path / "w.yaml", KINDS, NAMES)
    except InvalidWorkflow as error:
        return [line.split(": task 'one': ", 1)[-1] for line in str(error).splitlines()]
    return []


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("columns: []", "'columns': a file has at least one column"),
        ("columns: [{name: a b}]", "'columns.0.name'"),
        ("columns: [{name: a}, {name: A}]", "there are 2 columns 'a'; each needs a name of its own"),
        ("columns: [{name: a, type: TEXT}]", "'TEXT' is no type of a column; known are STRING, INT64"),
        ("columns: [{name: a, type: 'NUMERIC(50, 2)'}]", "'NUMERIC(50, 2)' is no NUMERIC"),
        ("columns: [{name: a, min: 1}]", "min is for numbers, dates and times, and the type is STRING"),
        ("columns: [{name: a, type: INT64, max: 1.5}]", "max is '1.5', which is no INT64"),
        ("columns: [{name: a, type: DATE, min: 2024-02-30}]", "min is '2024-02-30', which is no DATE"),
        ("columns: [{name: a, type: INT64, allowed: [1, x]}]", "allowed has 'x', which is no INT64"),
        ("columns: [{name: a, pattern: '(a'}]", "is no regular expression of RE2"),
        ("columns: [{name: a, type: INT64, pattern: a}]", "pattern is for STRING, and the type is INT64"),
        ("columns: [{name: a, format: '%d'}]", "format is for DATE, DATETIME and TIMESTAMP, and the type is STRING"),
        ("columns: [{name: a, type: DATE, format: '%Q'}]", "'Q' is a bad directive"),
        ("columns: [{name: a, type: DATE, format: dd.mm}]", "format 'dd.mm' has no part of a date"),
        ("columns: [{name: a, required: perhaps}]", "'columns.0.required' must be true or false"),
        ("columns: [{name: a, typ: INT64}]", "unknown key 'typ'"),
    ],
)
def test_a_column_that_makes_no_sense_is_refused(tmp_path: Path, key: str, complaint: str) -> None:
    [found] = complaints(tmp_path, FILE, key)
    assert complaint in found


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("unique: ident", "'unique': 'ident' is none of the columns"),
        ("unique: [[id], [day, x]]", "'unique': 'x' is none of the columns"),
        ("rows: {min: 5, max: 4}", "min (5) is more than max (4)"),
        ("drift: warn", "'drift' must be 'fail', 'add' or 'ignore', not 'warn'"),
        ("encoding: utf8", "'encoding' must be"),
        ("csv: {delimiter: ';;'}", "'csv.delimiter'"),
        ("csv: {delimiter: '\"'}", "delimiter and quote are two different characters"),
        ("csv: {delimiter: '1'}", "delimiter and quote are no letters and no digits"),
        ("csv: {delimiter: x}", "delimiter and quote are no letters and no digits"),
        ("csv: {quote: 'e'}", "delimiter and quote are no letters and no digits"),
        ("csv: {quote: '§'}", "quote is a character of ASCII"),
        ("memory_mib: 100", "'memory_mib'"),
        ("format: xlsx", "'format' must be 'csv' or 'json', not 'xlsx'"),
        ("from: nobody", "'from' is there instead of 'file'; leave one of them out"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(tmp_path: Path, key: str, complaint: str) -> None:
    assert any(complaint in found for found in complaints(tmp_path, FILE, COLUMNS, key))


def test_csv_options_are_for_csv(tmp_path: Path) -> None:
    keys = (FILE, COLUMNS, "format: json", "csv: {}")
    assert complaints(tmp_path, *keys) == ["'csv': is for CSV files, and format is json"]


@pytest.mark.parametrize("unique", ["id", "[id, day]", "[[id], [id, day]]"])
def test_keys_are_said_in_the_shortest_way_that_is_clear(tmp_path: Path, unique: str) -> None:
    assert complaints(tmp_path, FILE, COLUMNS, f"unique: {unique}") == []


@pytest.mark.parametrize(
    ("above", "source", "complaint"),
    [
        (f"  raw: {{kind: validate_file, {FILE}, {COLUMNS}}}", "raw", None),
        (
            f"  raw: {{kind: validate_file, {FILE}, {COLUMNS}}}",
            "rwa",
            "'from': 'rwa' is no task with a file above this one",
        ),
        ("  raw: {kind: external}", "raw", "'from': 'raw' is no task with a file above this one; there are: none"),
    ],
)
def test_a_source_is_a_task_above_that_has_a_file(
    tmp_path: Path, above: str, source: str, complaint: str | None
) -> None:
    found = complaints(tmp_path, COLUMNS, "needs: [raw]", f"from: {source}", kind="convert_file", above=above)
    assert [line for line in found if complaint is None or complaint not in line] == []
    assert bool(found) == bool(complaint)


@pytest.mark.parametrize(
    ("kind", "keys"), [("validate_file", COLUMNS), ("convert_file", COLUMNS), ("load_file", "table: a.b")]
)
def test_many_files_are_a_source_only_for_kinds_that_take_many(tmp_path: Path, kind: str, keys: str) -> None:
    above = f"  many: {{kind: load_file, {FILE}, files: many, until: {{count: 2}}, table: a.c}}"
    found = complaints(tmp_path, keys, "needs: [many]", "from: many", kind=kind, above=above)
    takes_one = [line for line in found if "'from': 'many' takes many files, and this task takes one" in line]
    assert bool(takes_one) == (kind != "load_file")
    assert found == takes_one


def test_a_source_must_be_above(tmp_path: Path) -> None:
    above = f"  raw: {{kind: validate_file, {FILE}, {COLUMNS}}}"
    [found] = complaints(tmp_path, COLUMNS, "from: raw", kind="convert_file", above=above)
    assert "'raw' is no task with a file above this one; there are: none" in found


def test_what_a_task_makes_of_a_source_is_a_source_again(tmp_path: Path) -> None:
    above = (
        f"  raw: {{kind: validate_file, {FILE}, {COLUMNS}}}\n"
        f"  made: {{kind: convert_file, needs: [raw], from: raw, {COLUMNS}}}"
    )
    assert complaints(tmp_path, "table: a.b", "needs: [made]", "from: made", kind="load_file", above=above) == []


def test_without_a_file_and_without_a_source_both_ways_are_named(tmp_path: Path) -> None:
    [found] = complaints(tmp_path, COLUMNS)
    assert found.endswith("takes, or from: the task above whose file it takes")


@pytest.mark.parametrize(
    ("to", "complaint"),
    [
        ("processed/{batch_id}.parquet", "is a whole address"),
        ("gs://{landing_bucket}/x.parquet", "gives the files of different batches one place"),
        ("gs://{landing_bucket}/{periot}.parquet", "'{periot}' is not a known name"),
    ],
)
def test_a_place_is_one_for_every_batch(tmp_path: Path, to: str, complaint: str) -> None:
    found = complaints(tmp_path, FILE, COLUMNS, f"to: '{to}'", kind="convert_file")
    assert any(complaint in line for line in found)
