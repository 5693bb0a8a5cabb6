"""`task rerun|mark|elements`: what people do with one task of a batch, and what its elements do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from database.errors import Missing
from database.listings.batches import look_at_batch
from database.listings.elements import list_elements
from database.statuses import Status
from run.cli.connections import open_database
from run.cli.moving import ByHand, carry_out, moving
from run.cli.options import json_option, limit_option
from run.cli.printing import print_json, print_table, say_if_cut, styled

if TYPE_CHECKING:
    from run.engine.moved import TaskOfBatch

#: As much of an item as is shown in a line.
LONGEST_ITEM = 80

_workflow = click.argument("workflow")
_batch = click.argument("batch_id", metavar="BATCH")
_task = click.argument("name", metavar="TASK")
_element = click.option("--element", type=click.IntRange(min=0), help="Only this element of a mapped task, from 0.")


@click.group()
def task() -> None:
    """Run a task of a batch again, or say how it ended."""


@task.command()
@_workflow
@_batch
@_task
@_element
@click.option("--downstream", is_flag=True, help="Everything below it too.")
@moving
def rerun(workflow: str, batch_id: str, name: str, element: int | None, downstream: bool, by_hand: ByHand) -> None:
    """Run a task again: only this one, or with all that is below it."""
    address = _address(workflow, batch_id, name, element)
    carry_out(by_hand, workflow, batch_id, lambda moves, who: moves.rerun_task(address, who, downstream=downstream))


@task.command()
@_workflow
@_batch
@_task
@_element
@click.option("--success", is_flag=True, help="It is done.")
@click.option("--error", is_flag=True, help="It has failed.")
@click.option("--skipped", is_flag=True, help="It is not needed.")
@moving
def mark(workflow: str, batch_id: str, name: str, element: int | None, by_hand: ByHand, **marks: bool) -> None:
    """Say how a task has ended, whatever it does now; what follows from it happens."""
    chosen = [Status(mark.upper()) for mark, given in marks.items() if given]
    if len(chosen) != 1:
        raise click.UsageError("give exactly one of --success, --error and --skipped")
    address = _address(workflow, batch_id, name, element)
    carry_out(by_hand, workflow, batch_id, lambda moves, who: moves.mark_task(address, who, chosen[0]))


@task.command()
@_workflow
@_batch
@_task
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only those of this status.")
@json_option
@limit_option
def elements(workflow: str, batch_id: str, name: str, status: str | None, as_json: bool, limit: int) -> None:
    """List the elements of a mapped task with their items."""
    with open_database() as database:
        shown = database.transact(lambda tx: look_at_batch(tx, workflow, batch_id))
        if name not in {one.task for one in shown.tasks}:
            raise Missing(f"batch {batch_id} of workflow {workflow} has no task {name!r}")
        rows = database.transact(lambda tx: list_elements(tx, workflow, batch_id, name, status=status, most=limit))
    if as_json:
        print_json(rows)
        return
    cells = [
        (str(row.element), styled(row.status), str(row.attempt), _short(row.item), row.error or "") for row in rows
    ]
    headings = (">ELEMENT", "STATUS", ">ATTEMPT", "ITEM", "ERROR")
    print_table(headings, cells, if_none="There are no such elements; a task has them once its list was read.")
    say_if_cut(len(rows), limit, which="first")


def _short(item: Any) -> str:
    text = json.dumps(item, ensure_ascii=False)
    return text if len(text) <= LONGEST_ITEM else f"{text[: LONGEST_ITEM - 1]}…"


def _address(workflow: str, batch_id: str, name: str, element: int | None) -> TaskOfBatch:
    from run.engine.moved import TaskOfBatch  # noqa: PLC0415  # It imports Google's clients, which take seconds.

    return TaskOfBatch(workflow, batch_id, name, element)
