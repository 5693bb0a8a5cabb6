"""The report of the demo: read from BigQuery, compared with the sources, and drawn."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from typing import Any

import requests
from rich import box
from rich.console import Console
from rich.table import Table

from run.errors import Unavailable
from run.local.demo_figures import MonthlyDelays, SourceFigures

REPORT = "flights.monthly_delays"
QUERY_SECONDS = 60
WIDTH = 80
HEADINGS = (
    "month",
    "flights",
    "cancelled",
    "late",
    "mean\ndelay",
    "wind\nlate",
    "wind\non time",
    "visib.\nlate",
    "visib.\non time",
)


class BigQueryReader:
    """Asks questions of the local BigQuery server in `project` at `url`, over its REST interface."""

    def __init__(self, url: str, project: str) -> None:
        self._url = f"{url}/bigquery/v2/projects/{project}/queries"

    def report(self) -> list[MonthlyDelays]:
        """Return the rows of the report by month; raises Unavailable."""
        fields = dataclasses.fields(MonthlyDelays)
        rows = self.rows(f"SELECT {', '.join(one.name for one in fields)} FROM {REPORT} ORDER BY month")
        return [_delays(row) for row in rows]

    def count(self, table: str) -> int:
        """Return how many rows a table has; raises Unavailable."""
        ((count,),) = self.rows(f"SELECT COUNT(*) FROM {table}")
        return int(count)

    def rows(self, sql: str) -> list[list[Any]]:
        """Return the values of each row as the REST interface writes them; raises Unavailable."""
        with requests.Session() as session:
            session.trust_env = False
            try:
                answer = session.post(self._url, json={"query": sql, "useLegacySql": False}, timeout=QUERY_SECONDS)
                answer.raise_for_status()
            except requests.RequestException as error:
                raise Unavailable(f"the BigQuery server did not answer {sql!r}: {error}") from error
        return [[cell["v"] for cell in row["f"]] for row in answer.json().get("rows", [])]


def disagreements(report: Sequence[MonthlyDelays], sources: SourceFigures) -> Iterator[str]:
    """Yield a sentence for each month whose row is missing, not wanted or not what the sources say."""
    found = {row.month: row for row in report}
    wanted = {row.month: row for row in sources.delays}
    if len(found) != len(report):
        yield f"{REPORT} has {len(report)} rows for {len(found)} months"
    for month in sorted(found.keys() | wanted.keys()):
        row, expected = found.get(month), wanted.get(month)
        if row is None or expected is None or not row.agrees_with(expected):
            yield f"{REPORT} says {row} for {month}, and the sources say {expected}"


def drawn(report: Sequence[MonthlyDelays]) -> str:
    """Return the report as text of at most 80 columns."""
    table = Table(*HEADINGS, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in report:
        month, flights, cancelled, late, *means = dataclasses.astuple(row)
        table.add_row(
            month, *(f"{count:,}" for count in (flights, cancelled, late)), *(f"{mean:.2f}" for mean in means)
        )
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _delays(row: Sequence[Any]) -> MonthlyDelays:
    month, flights, cancelled, late, *means = row
    return MonthlyDelays(month, int(flights), int(cancelled), int(late), *(float(mean) for mean in means))
