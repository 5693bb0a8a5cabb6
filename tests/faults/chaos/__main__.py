"""The command of the chaos run; `make chaos` gives it."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import click

from tests.faults.chaos.campaign import run
from tests.faults.chaos.figures import table
from tests.faults.chaos.plan import Plan


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long batches are started and services tormented.")
@click.option("--seed", type=int, default=None, help="Where chance begins; a new seed unless given.")
@click.option("--json", "result", type=click.Path(path_type=Path), help="Where the figures are written to.")
def main(minutes: float, seed: int | None, result: Path | None) -> None:
    """Torment two services with random batches, and see whether anything is lost, doubled or left open."""
    plan = Plan(seed=random.randrange(10**9) if seed is None else seed, seconds=minutes * 60)
    click.echo(f"chaos run of {minutes:g} minutes with the seed {plan.seed}")
    report = run(plan, click.echo)
    click.echo(table(report.figures))
    if result is not None:
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text(json.dumps(report.figures, indent=2) + "\n")
    if report.findings:
        click.echo(report.story, err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
