"""How answers look: tables for people, lines for pipes, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import click
from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from run.cli.escaping import in_json, in_lines

STYLES = {
    "SUCCESS": "green",
    "TAKEN": "green",
    "COLLECTED": "green",
    "MARKER": "green",
    "ERROR": "red",
    "SET_ASIDE": "red",
    "REJECTED": "red",
    "PROCESSING": "cyan",
    "NEW": "cyan",
    "SKIPPED": "yellow",
    "CANCELLED": "yellow",
    "SENT": "green",
    "DUE": "cyan",
    "GIVEN_UP": "red",
}
MARKS = {"SUCCESS": "✓", "ERROR": "✗", "SKIPPED": "\N{EN DASH}", "CANCELLED": "\N{EN DASH}"}
OPEN_MARK = "…"
#: Wide enough that a line which is piped is never folded.
_PIPE_WIDTH = 100_000


def console() -> Console:
    """Standard output as it is now."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(file=sys.stdout, width=_PIPE_WIDTH, color_system=None, highlight=False)


def show_answer(*answer: RenderableType) -> None:
    """Print an answer: for a terminal as wide as that is, for a pipe with every line whole and nothing after it."""
    out = console()
    if out.is_terminal:
        out.print(*answer, sep="\n")
        return
    with out.capture() as captured:
        out.print(*answer, sep="\n")
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def below(line: Text) -> Padding:
    """A line that belongs to the one before it."""
    return Padding(line, (0, 0, 0, 4), expand=False)


def print_json(value: Any) -> None:
    """Print rows, or anything else that is made of dataclasses, mappings and lists."""
    click.echo(in_json(json.dumps(value, default=_as_json, ensure_ascii=False, indent=2)))


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]], *, if_none: str) -> None:
    """Print rows under their headings, or `if_none`; what is too wide for the terminal goes on in the next line.

    A heading that begins with ">" is that of a column of numbers.
    """
    rule = box.SIMPLE_HEAD if sys.stdout.isatty() else None
    table = Table(box=rule, pad_edge=False, header_style="bold", show_edge=False)
    for heading in headings:
        is_number = heading.startswith(">")
        table.add_column(heading.removeprefix(">"), overflow="fold", justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(in_lines(cell)) for cell in row))
    if table.row_count:
        show_answer(table)
    else:
        click.echo(if_none, err=True)


def say_if_cut(count: int, limit: int, *, which: str = "newest") -> None:
    """Say that there may be more than was listed."""
    if count == limit:
        click.echo(f"Only the {which} {limit} are shown; --limit shows more.", err=True)


def styled(word: str) -> Text:
    """A status or a decision in its colour."""
    return Text(word, STYLES.get(word, ""))


def mark(status: str) -> Text:
    """The sign of a task's status."""
    return Text(MARKS.get(status, OPEN_MARK), STYLES.get(status, "dim"))


def moment(value: datetime) -> str:
    """A time in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
