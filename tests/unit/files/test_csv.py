"""Lines are numbered as an editor does, and nothing dirty goes by unseen or is made worse."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
from pathlib import Path

import pytest

from run.files.csv_rows import LONGEST_CELL
from run.files.reading import LONGEST
from tests.unit.files.checked import checked, contract, converted, places, reasons

AB = contract("a", {"name": "b", "type": "INT64"})


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_an_error_has_the_line_that_an_editor_shows(end: str) -> None:
    lines = ["a,b", "x,1", "", '"two', 'lines",2', '"a ""quote"", and', "", 'a hole",three', "y,four", "z,5"]
    assert places(checked(end.join(lines), AB)) == [(6, "b"), (9, "b")]


def test_what_is_in_quotes_stays_as_it_is(tmp_path: Path) -> None:
    text = 'a,b\n"x, ""y""\r\nz",1\n5" pipe,2\n\'q\',3\n"",\n'
    assert converted(text, AB, tmp_path) == [
        {"a": 'x, "y"\r\nz', "b": 1},
        {"a": '5" pipe', "b": 2},
        {"a": "'q'", "b": 3},
        {"a": None, "b": None},
    ]


def test_a_row_of_another_width_is_an_error_of_the_row() -> None:
    outcome = checked('a,b\nx,1,2\ny\n"z",3\n"q",1,"2"\n', AB)
    told = [(one["line"], one["row"], one["column"], one["reason"]) for one in outcome["first_errors"]]
    assert told == [
        (2, 1, None, "has 3 cells, and there are 2 columns"),
        (3, 2, None, "has 1 cells, and there are 2 columns"),
        (5, 4, None, "has 3 cells, and there are 2 columns"),
    ]
    assert outcome["rows"] == 4


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('a,b\nx,1\n"y,2\nz,3\n', 3, "has a quote that is never closed"),
        ('a,b\n"x"y,1\nz,3\n', 2, "is no CSV: ',' expected after '\"'"),
    ],
)
def test_a_quote_in_the_wrong_place_is_told_with_its_line(text: str, line: int, reason: str) -> None:
    outcome = checked(text, AB)
    assert [(one["line"], one["reason"]) for one in outcome["first_errors"]] == [(line, reason)]


@pytest.mark.parametrize("gap", ["", "\n", "\r\n\r\n"])
def test_empty_lines_are_no_rows(tmp_path: Path, gap: str) -> None:
    assert converted(f"{gap}a,b\n{gap}x,1{gap}", AB, tmp_path) == [{"a": "x", "b": 1}]


def test_a_file_may_end_without_a_line_end_and_be_all_header(tmp_path: Path) -> None:
    assert converted("a,b", AB, tmp_path) == []
    assert checked("a,b\n", AB) == {"outcome": "sound", "rows": 0}


def test_the_characters_of_the_format_are_the_tasks_to_say(tmp_path: Path) -> None:
    form = {"delimiter": ";", "quote": "'", "null_marker": "NA"}
    text = "b;a\n1;'x;''y'\nNA;\"z\"\n2;\n3;NA\n"
    assert converted(text, contract(*AB.model_dump()["columns"], csv=form), tmp_path) == [
        {"a": "x;'y", "b": 1},
        {"a": '"z"', "b": None},
        {"a": "", "b": 2},
        {"a": None, "b": 3},
    ]


def test_a_null_marker_may_look_like_a_template(tmp_path: Path) -> None:
    assert converted("a\n{}\n", contract("a", csv={"null_marker": "{}"}), tmp_path) == [{"a": None}]


def test_without_a_header_the_columns_are_those_of_the_contract(tmp_path: Path) -> None:
    wanted = contract(*AB.model_dump()["columns"], csv={"header": False})
    assert converted("x,1\ny,2\n", wanted, tmp_path) == [{"a": "x", "b": 1}, {"a": "y", "b": 2}]
    assert places(checked("x,1\ny,z\n", wanted)) == [(2, "b")]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("a,b\nZoë,1\n".encode(), "utf-8"),
        (codecs.BOM_UTF8 + "a,b\nZoë,1\n".encode(), "utf-8"),
        ("a,b\nZoë,1\n".encode("latin-1"), "latin-1"),
        ("a,b\nZoë,1\n".encode("cp1252"), "windows-1252"),
        ("a,b\nZoë,1\n".encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + "a,b\nZoë,1\n".encode("utf-16-be"), "utf-16"),
        ("a,b\nZoë,1\n".encode("utf-16-le"), "utf-16-le"),
        ("a,b\nZoë,1\n".encode("utf-16"), "utf-16-le"),
    ],
)
@pytest.mark.parametrize("is_packed", [False, True])
def test_encodings_are_read_packed_or_not(tmp_path: Path, content: bytes, encoding: str, is_packed: bool) -> None:
    wanted = contract(*AB.model_dump()["columns"], encoding=encoding)
    assert converted(gzip.compress(content, mtime=0) if is_packed else content, wanted, tmp_path) == [
        {"a": "Zoë", "b": 1}
    ]


@pytest.mark.parametrize(
    ("content", "encoding", "reason"),
    [
        (b"", "utf-8", "is empty"),
        (gzip.compress(b"", mtime=0), "utf-8", "is empty"),
        (b"\n\r\n\n", "utf-8", "has nothing but empty lines, not even a header"),
        (b"PK\x03\x04...", "utf-8", "is a zip archive"),
        (b"PAR1....", "utf-8", "is a Parquet file"),
        ("a,b\n".encode("utf-16"), "utf-8", "begins as utf-16 does, and encoding is utf-8"),
        ("a,b\n".encode("utf-16-le"), "utf-8", "has a NUL character; is it utf-8? (line 1)"),
        ("a,b\n".encode("utf-16-le"), "utf-16", "has no byte order mark; write encoding: utf-16-le, or utf-16-be"),
        (codecs.BOM_UTF8 + b"a,b\n", "latin-1", "begins as utf-8 does, and encoding is latin-1"),
        (b"a,b\nx,1\nZo\xeb,2\n", "utf-8", "has bytes (eb) that are no utf-8; say which encoding it has (line 3)"),
        (b"a,b\nx,\x81\n", "cp1252", "has bytes (81) that are no cp1252; say which encoding it has (line 2)"),
        (b"a,b\nx,\x00\n", "utf-8", "has a NUL character; is it utf-8? (line 2)"),
        (b"a,b,A\n", "utf-8", "has a header with two columns 'a' (line 1)"),
        (b"\na,,b\n", "utf-8", "has a header with no name for column 2 (line 2)"),
        (b'a,"b\n', "utf-8", "has a header that has a quote that is never closed (line 1)"),
        (gzip.compress(b"a,b\nx,1\n" * 9, mtime=0)[:-12], "utf-8", "cannot be unpacked: "),
        (gzip.compress(b"a,b\n", mtime=0)[:10] + b"xxxxxxxx", "utf-8", "cannot be unpacked: "),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(content: bytes, encoding: str, reason: str) -> None:
    outcome = checked(content, contract(*AB.model_dump()["columns"], encoding=encoding))
    assert outcome["outcome"] == "unreadable"
    assert outcome["reasons"][0].startswith(reason)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_bytes_that_are_no_text_are_found_on_their_line_however_far_down(end: str) -> None:
    lines = [f"row {number},{number}" for number in range(5000)]
    lines[4321] = "\udceb,1"
    content = end.join(["a,b", *lines]).encode(errors="surrogateescape")
    assert checked(content, AB)["reasons"] == [
        "has bytes (eb) that are no utf-8; say which encoding it has (line 4323)"
    ]


def test_a_cell_without_end_stops_the_reading_where_it_begins() -> None:
    text = 'a,b\nx,1\n"y' + "\nz,2" * (LONGEST_CELL // 4 + 10)
    assert checked(text, AB)["reasons"] == [
        "has a cell of more than 1,000,000 characters; is a quote not closed? (line 3)"
    ]


def test_a_line_without_end_stops_the_reading() -> None:
    assert checked("a,b\n" + "x" * (LONGEST + 5), AB)["reasons"] == [
        "has a line of 4,000,000 characters or more (line 2)"
    ]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a,b\n" + "\u4e00" * 3_500_000 + ",1\n", "csv"),
        ("a,b\n" + ",".join(['"' + "x\n" * 450_000 + '"'] * 10) + "\n", "csv"),
        ('{"a": "1"}\n{"a": "' + "\u4e00" * 3_500_000 + '"}\n', "json"),
    ],
)
def test_a_row_that_is_too_long_stops_the_reading_where_it_begins(text: str, form: str) -> None:
    columns = ["a", "b"] if text.count('"') != 20 else list("abcdefghij")
    text = text.replace("a,b\n", ",".join(columns) + "\n", 1)
    wanted = contract(*columns, format=form, drift="ignore")
    assert checked(text, wanted) == {
        "outcome": "unreadable",
        "reasons": ["has a row of more than 8,000,000 bytes (line 2)"],
    }


@pytest.mark.parametrize("delimiter", ["\x1f", "\\", "|", " ", "¦", "\t"])
def test_whatever_is_no_letter_and_no_digit_may_be_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    text = f'a{delimiter}b\nx{delimiter}1\n"y{delimiter}y"{delimiter}\n'
    rows = converted(text, contract("a", "b", csv={"delimiter": delimiter}), tmp_path)
    assert [(row["a"], row["b"]) for row in rows] == [("x", "1"), (f"y{delimiter}y", None)]


def test_large_rows_are_read() -> None:
    row = ",".join(["y" * 900_000] * 4)
    assert checked(f"a,b,c,d\n{row}\n", contract("a", "b", "c", "d")) == {"outcome": "sound", "rows": 1}


def test_csv_that_python_writes_comes_back(tmp_path: Path) -> None:
    rows = [
        [cell, str(number)] for number, cell in enumerate(['"', ",", "\n", "\r", "a\r\nb", "''", "\x1f", "NULL", " "])
    ]
    text = io.StringIO()
    csv.writer(text).writerows([["a", "b"], *rows])
    assert [[row["a"], str(row["b"])] for row in converted(text.getvalue(), AB, tmp_path)] == rows


def test_a_reason_of_a_contract_with_quotes_is_no_sql() -> None:
    assert reasons("a\nx\n", contract({"name": "a", "allowed": ["'; DROP TABLE row; --"]})) == [
        "is none of '; DROP TABLE row; --"
    ]
