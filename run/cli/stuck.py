"""`stuck`: what stands still although something should have moved it."""

from __future__ import annotations

from datetime import timedelta

import click

from database.facts import stuck_tasks
from run.cli.connections import open_database
from run.cli.options import json_option
from run.cli.printing import print_json, print_table
from run.workflows.durations import duration


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0), default=60, show_default=True, help="For how long at least.")
@json_option
def stuck(minutes: float, as_json: bool) -> None:
    """List tasks that nothing will move, or that nobody has moved in time."""
    # It imports the engine.
    from run.engine.invariant import find_stuck  # noqa: PLC0415

    with open_database() as database:
        found = database.transact(lambda tx: find_stuck(stuck_tasks(tx, minutes * 60)))
    if as_json:
        print_json(found)
        return
    cells = [(f"{one.workflow} {one.batch}", one.task, one.status, one.why) for one in found]
    nothing = f"Nothing has stood still for {duration(timedelta(minutes=minutes))} without a reason."
    print_table(("BATCH", "TASK", "STATUS", "WHY"), cells, if_none=nothing)
