"""`python -m benchmarks`: measure, print each figure beside its goal, and keep them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.figures import Figure
from benchmarks.machine import ROOT, facts
from benchmarks.measures import MEASURES
from benchmarks.measures.measuring import Bench
from benchmarks.report import figures_page, figures_table
from benchmarks.room import open_house
from run.errors import AcceleratorError

RESULTS = ROOT / "benchmarks" / "results" / "latest.json"
#: On the disk, beside the data of the local stack; a temporary folder may be memory, where nothing is ever synced.
FOLDER = ROOT / ".local" / "bench"

#: Columns of the table where it goes into a file.
WIDTH_OF_A_FILE = 160


def _chosen(_context: click.Context, _option: click.Parameter, value: str | None) -> list[str]:
    names = list(MEASURES) if value is None else [name.strip() for name in value.split(",")]
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}; there are {', '.join(MEASURES)}")
    return names


@click.command()
@click.option("--only", callback=_chosen, help=f"Some of {','.join(MEASURES)}, with commas; nothing is kept then.")
@click.option("--full", is_flag=True, help="The sizes that take long too: 10 million rows, 100,000 tasks.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help=f"Where to keep the figures, as JSON and beside it as a page; {RESULTS.name} else.",
)
@click.option("--file-mb", default=1_000, show_default=True, help="The size of the raw file of `files`.")
def main(only: list[str], *, full: bool, output: Path | None, file_mb: int) -> None:
    """Measure the service on this machine: a durable Postgres, gunicorn, and loop-back delivery over HTTP."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    # What an interrupted run has left is of no use to anybody.
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        with open_house(FOLDER) as postgres:
            machine = facts(postgres)
            figures = _measure(console, only, Bench(postgres, print, is_full=full, file_mb=file_mb))
    except AcceleratorError as error:
        sys.exit(f"{error}")
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    console.print(figures_table(figures), _words(machine), sep="\n")
    if output or only == list(MEASURES):
        _keep(output or RESULTS, machine, figures)


def _measure(console: Console, names: list[str], bench: Bench) -> list[Figure]:
    figures: list[Figure] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for name in names:
            row = progress.add_task(name, total=1)

            def say(words: str, name: str = name, row: Any = row) -> None:
                progress.update(row, description=f"{name}: {words}")

            figures += MEASURES[name](replace(bench, say=say))
            progress.update(row, description=name, completed=1)
    return figures


def _words(machine: Mapping[str, Any]) -> str:
    shown = {**machine, "postgres": machine["postgres"]["server_version"]}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())


def _keep(path: Path, machine: Mapping[str, Any], figures: list[Figure]) -> None:
    kept = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "figures": {figure.name: figure.as_json() for figure in figures},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{json.dumps(kept, indent=2)}\n")
    path.with_suffix(".md").write_text(figures_page(figures, f"{kept['at']}. {_words(machine)}."))


if __name__ == "__main__":
    main()
