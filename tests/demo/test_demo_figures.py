"""The check at the end of the demo: that it can fail, and that its figures are those of the published data."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import fields, replace
from typing import Any

import pytest

from run.local.demo_figures import MonthlyDelays, SourceFigures, figures_of_sources
from run.local.demo_files import MONTHS, DemoFile, monthly_files
from run.local.demo_report import disagreements, drawn


@pytest.fixture(scope="module")
def sources() -> SourceFigures:
    return figures_of_sources(MONTHS)


@pytest.fixture(scope="module")
def files() -> dict[str, DemoFile]:
    return {file.name: file for file in monthly_files()}


def rows_of(file: DemoFile) -> list[dict[str, str]]:
    content = gzip.decompress(file.content) if file.name.endswith(".gz") else file.content
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_the_sources_are_the_whole_published_year(sources: SourceFigures) -> None:
    # https://nycflights13.tidyverse.org says how many rows each table has.
    assert (sources.flights, sources.weather_rows) == (336_776, 26_115)
    assert [row.month for row in sources.delays] == list(MONTHS)
    # The number of missing dep_delay in the same package's documentation of R.
    assert sum(row.cancelled for row in sources.delays) == 8_255


def test_every_row_of_the_sources_is_in_the_file_of_its_month(files: dict[str, DemoFile]) -> None:
    assert len(files) == 24
    flights = {month: rows_of(files[f"flights/{month}.csv.gz"]) for month in MONTHS}
    weather = {month: rows_of(files[f"weather/{month}.csv"]) for month in MONTHS}
    assert sum(len(rows) for rows in flights.values()) == 336_776
    assert sum(len(rows) for rows in weather.values()) == 26_115
    for month in MONTHS:
        assert {f"{row['year']}-{int(row['month']):02}" for row in flights[month] + weather[month]} == {month}


def test_a_missing_value_is_an_empty_field_and_no_name_is_cut(files: dict[str, DemoFile]) -> None:
    rows = rows_of(files["flights/2013-01.csv.gz"])
    assert sum(row["dep_delay"] == "" for row in rows) == 521
    assert not any("NA" in row.values() for row in rows)
    assert any(row["tailnum"].startswith("N") for row in rows)


@pytest.mark.parametrize("field", [one.name for one in fields(MonthlyDelays) if one.name != "month"])
def test_a_wrong_figure_is_found(sources: SourceFigures, field: str) -> None:
    right = sources.delays[4]
    figure = getattr(right, field)
    changes: dict[str, Any] = {field: figure + 1 if isinstance(figure, int) else figure * 1.000001}
    wrong = replace(right, **changes)
    report = [*sources.delays[:4], wrong, *sources.delays[5:]]
    (sentence,) = disagreements(report, sources)
    assert f"says {wrong} for 2013-05" in sentence


def test_a_missing_and_a_doubled_month_are_found(sources: SourceFigures) -> None:
    assert len(list(disagreements(sources.delays[1:], sources))) == 1
    assert list(disagreements([*sources.delays, sources.delays[0]], sources)) == [
        "flights.monthly_delays has 13 rows for 12 months"
    ]
    assert list(disagreements(sources.delays, sources)) == []


def test_the_report_fits_a_terminal(sources: SourceFigures) -> None:
    lines = drawn(sources.delays).splitlines()
    assert len(lines) == 15
    assert max(len(line) for line in lines) <= 80
    assert "…" not in "".join(lines)
