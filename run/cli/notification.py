"""`notification list|send`: what people were told, and what they are yet to be told."""

from __future__ import annotations

import click

from database.listings.notifications import ListedNotification, list_notifications
from run.cli.connections import open_database
from run.cli.options import actor_option, json_option, limit_option
from run.cli.printing import moment, print_json, print_table, say_if_cut, styled


@click.group()
def notification() -> None:
    """List what people were told, and tell them again."""


@notification.command("list")
@json_option
@limit_option
def list_(as_json: bool, limit: int) -> None:
    """List notifications: what was sent, what is due, and what was given up."""
    with open_database() as database:
        rows = database.transact(lambda tx: list_notifications(tx, most=limit))
    if as_json:
        print_json(rows)
        return
    cells = [
        (str(row.notification_id), f"{row.workflow} {row.batch}", _what(row), row.by, styled(row.status), _how(row))
        for row in rows
    ]
    print_table((">ID", "BATCH", "TELLS OF", "BY", "STATUS", ""), cells, if_none="Nobody was to be told anything yet.")
    say_if_cut(len(rows), limit)


@notification.command()
@click.argument("notification_id", type=int, metavar="ID")
@actor_option
def send(notification_id: int, actor: str) -> None:
    """Have a notification sent with the next sweep, whatever has become of it."""

    from run.engine.moved import Who  # noqa: PLC0415  # These import all of the service.
    from run.engine.notifier import tell_again  # noqa: PLC0415

    with open_database() as database:
        database.transact(lambda tx: tell_again(tx, notification_id, Who(actor)))
    click.echo(f"notification {notification_id} is sent with the next sweep")


def how_it_went(row: ListedNotification) -> str:
    """A notification as a line of its batch."""
    return f"{_what(row)} by {row.by}: {row.status}{f', {how}' if (how := _how(row)) else ''}"


def _what(row: ListedNotification) -> str:
    words = row.event.replace("_", " ")
    return words if row.task is None else f"{words} of {row.task}"


def _how(row: ListedNotification) -> str:
    problem = f": {row.problem}" if row.problem else ""
    if row.sent_at is not None:
        return f"{moment(row.sent_at)} UTC{problem}"
    if row.due_at is None or row.tries:
        then = "" if row.due_at is None else f", next at {moment(row.due_at)} UTC"
        return f"tried {row.tries}x{then}{problem}"
    return ""
