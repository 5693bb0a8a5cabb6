"""`batch start|list|show|history|watch|rerun|cancel`. A batch is named by its workflow and its batch id."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
from rich.text import Text

from database.listings.audit import ListedMove, list_moves
from database.listings.batches import (
    ListedAttempt,
    ListedBatch,
    ShownBatch,
    find_batch,
    list_attempts,
    list_batches,
    look_at_batch,
)
from database.listings.notifications import ListedNotification, notifications_of_batch
from database.sessions import Transaction
from database.statuses import BatchStatus, Status
from run.cli.batch_view import batch_view, history_view, moves_view
from run.cli.commands import Failed
from run.cli.connections import open_database, open_service
from run.cli.escaping import in_one_line
from run.cli.moving import ByHand, carry_out, moving
from run.cli.notification import how_it_went
from run.cli.options import ParamValueType, actor_option, json_option, limit_option
from run.cli.printing import moment, print_json, print_table, say_if_cut, show_answer, styled
from run.cli.waiting import reasons_by_task
from run.cli.watching import watch_batch
from run.pubsub.messages import WorkflowMessage
from run.workflows.durations import duration

_workflow = click.argument("workflow")
_batch = click.argument("batch_id", metavar="BATCH")


@click.group()
def batch() -> None:
    """Start, list, watch, re-run and cancel batches."""


@batch.command()
@_workflow
@click.argument("batch_id", metavar="[BATCH]", required=False)
@click.option("--param", "params", multiple=True, type=ParamValueType(), help="A param of the workflow, as YAML.")
@actor_option
def start(workflow: str, batch_id: str | None, params: tuple[tuple[str, Any], ...], actor: str) -> None:
    """Open a batch and print its id; join it when it is open with the same params.

    Without BATCH a fresh one is opened, for workflows that number their batches.
    """
    message = WorkflowMessage(workflow, batch_id, _given(params))
    with open_service() as service:
        joined = service.workflows.start(message, f"command line {uuid.uuid4()}", actor)
        opened = joined.key.batch_id
    if not joined.created:
        click.echo(f"The batch {workflow} {opened} was there already.", err=True)
    click.echo(opened)


@batch.command("list")
@click.argument("workflow", required=False)
@json_option
@limit_option
def list_(workflow: str | None, as_json: bool, limit: int) -> None:
    """List batches, of one WORKFLOW if it is named."""
    with open_database() as database:
        rows = database.transact(lambda tx: list_batches(tx, workflow, most=limit))
    if as_json:
        print_json(rows)
        return
    cells = [
        (row.workflow, row.batch, styled(row.status), _progress(row), moment(row.created_at), _took(row))
        for row in rows
    ]
    headings = ("WORKFLOW", "BATCH", "STATUS", ">TASKS", "OPENED (UTC)", "TOOK")
    print_table(headings, cells, if_none="There is no batch yet.")
    say_if_cut(len(rows), limit)


@batch.command()
@_workflow
@_batch
@click.option("--attempts", is_flag=True, help="The history too: every attempt with its whole error.")
@json_option
def show(workflow: str, batch_id: str, attempts: bool, as_json: bool) -> None:
    """Show a batch: what its tasks do, why one failed, what the others wait for."""

    with open_database() as database:
        looked = database.transact(lambda tx: _look(tx, workflow, batch_id, attempts=attempts))
    shown = looked.shown
    if as_json:
        reasons = reasons_by_task(shown)
        tasks = [{**vars(task), "reasons": reasons.get(task.task, ())} for task in shown.tasks]
        told = {"tasks": tasks, "elements": looked.shown.elements}
        told |= {"audit": looked.moves, "notifications": looked.notifications}
        print_json({**vars(shown.batch), **told} | ({"attempts": looked.history} if attempts else {}))
        return
    lines = [Text(in_one_line(how_it_went(one)), "dim") for one in looked.notifications]
    notifications = [Text(), Text("Notifications", "bold"), *lines] if lines else []
    show_answer(batch_view(shown), *notifications, *([history_view(looked.history)] if attempts else []))


@dataclass(frozen=True)
class _Looked:
    """Everything about one batch, as of one moment."""

    shown: ShownBatch
    moves: list[ListedMove]
    notifications: list[ListedNotification]
    history: list[ListedAttempt]


def _look(tx: Transaction, workflow: str, batch_id: str, *, attempts: bool) -> _Looked:
    return _Looked(
        look_at_batch(tx, workflow, batch_id),
        list_moves(tx, workflow, batch_id),
        notifications_of_batch(tx, workflow, batch_id),
        list_attempts(tx, workflow, batch_id) if attempts else [],
    )


@batch.command()
@_workflow
@_batch
@json_option
def history(workflow: str, batch_id: str, as_json: bool) -> None:
    """Show what has happened to a batch: who did what to it and why, and every attempt."""

    def look(tx: Transaction) -> tuple[list[ListedMove], list[ListedAttempt]]:
        find_batch(tx, workflow, batch_id)
        return list_moves(tx, workflow, batch_id), list_attempts(tx, workflow, batch_id)

    with open_database() as database:
        moves, attempts = database.transact(look)
    if as_json:
        print_json({"audit": moves, "attempts": attempts})
        return
    show_answer(moves_view(moves), history_view(attempts))


@batch.command()
@_workflow
@_batch
@click.option("--timeout", type=click.FloatRange(min=0), help="Give up after so many seconds.")
def watch(workflow: str, batch_id: str, timeout: float | None) -> None:
    """Watch a batch until it has ended; exit status 0 when it is SUCCESS."""
    with open_database() as database:
        shown = watch_batch(lambda: database.transact(lambda tx: look_at_batch(tx, workflow, batch_id)), timeout)
    if shown.batch.status == BatchStatus.PROCESSING:
        raise Failed(f"The batch {workflow} {batch_id} has not ended within {timeout:g} s.")
    if shown.batch.status != BatchStatus.SUCCESS:
        raise Failed(f"The batch {workflow} {batch_id} is {shown.batch.status}.")


@batch.command()
@_workflow
@_batch
@click.option("--failed", is_flag=True, help="What failed or was cancelled, and what was skipped because of it.")
@click.option("--latest", is_flag=True, help="With the newest version of the workflow.")
@moving
def rerun(workflow: str, batch_id: str, failed: bool, latest: bool, by_hand: ByHand) -> None:
    """Go on with a batch that has failed, or move it to the newest version of its workflow."""
    if not failed and not latest:
        raise click.UsageError("give --failed, --latest or both")
    carry_out(
        by_hand,
        workflow,
        batch_id,
        lambda moves, who: moves.rerun_batch(workflow, batch_id, who, failed=failed, latest=latest),
    )


@batch.command()
@_workflow
@_batch
@moving
def cancel(workflow: str, batch_id: str, by_hand: ByHand) -> None:
    """End a batch: nothing of it starts any more, and what runs is ended."""
    carry_out(by_hand, workflow, batch_id, lambda moves, who: moves.cancel_batch(workflow, batch_id, who))


def _given(params: tuple[tuple[str, Any], ...]) -> Mapping[str, Any]:
    given = dict(params)
    if len(given) < len(params):
        raise click.UsageError("a param is given twice")
    return given


def _progress(row: ListedBatch) -> str:
    # What was skipped counts as done with, too: nothing more will happen to it.
    done = sum(
        count for status, count in row.tasks.items() if status not in (Status.WAITING, Status.NEW, Status.PROCESSING)
    )
    return f"{done}/{sum(row.tasks.values())}"


def _took(row: ListedBatch) -> str:
    return "" if row.ended_at is None else duration(row.ended_at - row.created_at)
