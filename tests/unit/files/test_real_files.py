"""Files as the world writes them: counted by the csv and json modules, and judged by queries of their own."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.unit.files.checked import checked, contract, converted

DATA = Path(__file__).parents[2] / "data"
PENGUINS: list[Any] = [
    {"name": "species", "header": "Species", "required": True, "allowed": ["Adelie", "Chinstrap", "Gentoo"]},
    {"name": "island", "header": "Island", "required": True},
    {"name": "beak_length", "header": "Beak Length (mm)", "type": "FLOAT64", "min": 30, "max": 60},
    {"name": "beak_depth", "header": "Beak Depth (mm)", "type": "NUMERIC(4, 1)"},
    {"name": "flipper_length", "header": "Flipper Length (mm)", "type": "INT64"},
    {"name": "body_mass", "header": "Body Mass (g)", "type": "INT64"},
    {"name": "sex", "header": "Sex", "allowed": ["MALE", "FEMALE"]},
]


def query(sql: str, name: str) -> list[tuple[Any, ...]]:
    """What DuckDB's own reader says of the file."""
    with duckdb.connect() as database:
        return database.execute(sql.replace("{file}", f"'{DATA / name}'")).fetchall()


@pytest.mark.parametrize("name", ["co2-concentration", "github", "seattle-weather", "us-employment"])
def test_every_row_and_every_value_of_a_csv_file_comes_through(tmp_path: Path, name: str) -> None:
    with (DATA / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns: list[Any] = [{"name": f"c{number}", "header": header} for number, header in enumerate(rows[0])]
    out = converted((DATA / f"{name}.csv").read_bytes(), contract(*columns), tmp_path)
    assert [list(row.values()) for row in out] == [[value or None for value in row.values()] for row in rows]


@pytest.mark.parametrize(
    ("name", "count"), [("flights-5k", 5000), ("gapminder", 682), ("movies", 3201), ("penguins", 344)]
)
def test_every_row_and_every_value_of_a_json_file_comes_through(tmp_path: Path, name: str, count: int) -> None:
    rows = json.loads((DATA / f"{name}.json").read_text(), parse_float=str, parse_int=str)
    columns: list[Any] = [{"name": f"c{number}", "header": header} for number, header in enumerate(rows[0])]
    out = converted((DATA / f"{name}.json").read_bytes(), contract(*columns, format="json"), tmp_path)
    assert len(out) == count
    assert [list(row.values()) for row in out] == [list(row.values()) for row in rows]


def test_weather_has_its_types_and_one_day_each(tmp_path: Path) -> None:
    numbers: list[Any] = [
        {"name": name, "type": "NUMERIC(5, 1)", "required": True}
        for name in ("precipitation", "temp_max", "temp_min", "wind")
    ]
    wanted = contract(
        *({"name": "date", "type": "DATE", "required": True, "min": "2012-01-01"}, *numbers),
        {"name": "weather", "allowed": ["drizzle", "rain", "sun", "snow", "fog"]},
        unique=[["date"]],
        rows={"min": 1461, "max": 1461},
    )
    rows = converted((DATA / "seattle-weather.csv").read_bytes(), wanted, tmp_path)
    sums = query(
        "SELECT count(*), sum(wind::DECIMAL(5, 1)), max(date) FROM read_csv({file}, all_varchar = true)",
        "seattle-weather.csv",
    )
    assert [(len(rows), sum(row["wind"] for row in rows), str(max(row["date"] for row in rows)))] == sums


def test_the_dirt_of_the_penguins_is_found_where_it_is() -> None:
    text = (DATA / "penguins.json").read_text()
    outcome = checked(text, contract(*PENGUINS, format="json"))
    found = [(one["row"], one["column"], one["value"], one["reason"]) for one in outcome["first_errors"]]
    rows = json.loads(text)
    dirty = [number for number, row in enumerate(rows, 1) if row["Sex"] not in {"MALE", "FEMALE", None}]
    assert found == [(number, "Sex", ".", "is none of MALE, FEMALE") for number in dirty] != []
    lines = text.splitlines()
    for error, number in zip(outcome["first_errors"], dirty, strict=True):
        begins = error["line"] - 1
        assert (lines[begins].strip(), rows[number - 1]) == (
            "{",
            json.loads("\n".join(lines[begins : begins + 9]).rstrip(",")),
        )


def test_the_doubles_of_a_log_are_those_that_grouping_finds() -> None:
    outcome = checked(
        (DATA / "github.csv").read_bytes(), contract("time", {"name": "count", "type": "INT64"}, unique=[["count"]])
    )
    again = query("SELECT count(*) - count(DISTINCT count) FROM read_csv({file}, all_varchar = true)", "github.csv")
    assert [(outcome["errors"],)] == again


def test_dates_of_films_have_their_format_or_are_told() -> None:
    columns: list[Any] = [{"name": "released", "header": "Release Date", "type": "DATE", "format": "%b %d %Y"}]
    outcome = checked((DATA / "movies.json").read_bytes(), contract(*columns, format="json", drift="ignore"))
    bad = query(
        "SELECT count(*) FROM read_json({file}) WHERE try_strptime(\"Release Date\"::VARCHAR, '%b %d %Y') IS NULL",
        "movies.json",
    )
    assert [(outcome.get("errors", 0),)] == bad
    assert len(outcome["drift"]["new"]) == 15
