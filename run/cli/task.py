"""`task rerun|mark`: what people do with one task of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from database.statuses import Status
from run.cli.moving import ByHand, carry_out, moving

if TYPE_CHECKING:
    from run.engine.moves import TaskOfBatch

_workflow = click.argument("workflow")
_batch = click.argument("batch_id", metavar="BATCH")
_task = click.argument("name", metavar="TASK")


@click.group()
def task() -> None:
    """Run a task of a batch again, or say how it ended."""


@task.command()
@_workflow
@_batch
@_task
@click.option("--downstream", is_flag=True, help="Everything below it too.")
@moving
def rerun(workflow: str, batch_id: str, name: str, downstream: bool, by_hand: ByHand) -> None:
    """Run a task again: only this one, or with all that is below it."""
    address = _address(workflow, batch_id, name)
    carry_out(by_hand, workflow, batch_id, lambda moves, who: moves.rerun_task(address, who, downstream=downstream))


@task.command()
@_workflow
@_batch
@_task
@click.option("--success", is_flag=True, help="It is done.")
@click.option("--error", is_flag=True, help="It has failed.")
@click.option("--skipped", is_flag=True, help="It is not needed.")
@moving
def mark(workflow: str, batch_id: str, name: str, by_hand: ByHand, **marks: bool) -> None:
    """Say how a task has ended, whatever it does now; what follows from it happens."""
    chosen = [Status(mark.upper()) for mark, given in marks.items() if given]
    if len(chosen) != 1:
        raise click.UsageError("give exactly one of --success, --error and --skipped")
    address = _address(workflow, batch_id, name)
    carry_out(by_hand, workflow, batch_id, lambda moves, who: moves.mark_task(address, who, chosen[0]))


def _address(workflow: str, batch_id: str, name: str) -> TaskOfBatch:
    from run.engine.moves import TaskOfBatch  # noqa: PLC0415  # It imports Google's clients, which take seconds.

    return TaskOfBatch(workflow, batch_id, name)
