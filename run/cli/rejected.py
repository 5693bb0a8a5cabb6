"""`rejected list|show|replay`: the inbox of messages that could not succeed."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.text import Text

from database.errors import Missing
from database.listings.rejected import list_rejected_messages
from database.rejected import RejectedMessage, find_rejected
from run.cli.connections import open_database, open_service
from run.cli.escaping import in_lines, in_one_line
from run.cli.options import actor_option, json_option, limit_option
from run.cli.printing import moment, print_json, print_table, say_if_cut, show_answer
from run.errors import Rejected
from run.pubsub.envelope import Delivery, read_delivery

_rejected_id = click.argument("rejected_id", type=int, metavar="ID")


@click.group()
def rejected() -> None:
    """Read and replay messages that could not succeed."""


@rejected.command("list")
@click.option("--all", "replayed_too", is_flag=True, help="Those that were replayed too.")
@json_option
@limit_option
def list_(replayed_too: bool, as_json: bool, limit: int) -> None:
    """List the rejected messages that wait for a person."""
    with open_database() as database:
        rows = database.transact(lambda tx: list_rejected_messages(tx, replayed_too=replayed_too, most=limit))
    if as_json:
        print_json(rows)
        return
    cells = [
        (str(row.rejected_id), moment(row.received_at), f"{row.deliveries}x", _reason(row.reason, row.replays))
        for row in rows
    ]
    print_table((">ID", "CAME (UTC)", ">TIMES", "REASON"), cells, if_none="No rejected message waits for anybody.")
    say_if_cut(len(rows), limit)


@rejected.command()
@_rejected_id
@json_option
def show(rejected_id: int, as_json: bool) -> None:
    """Show a rejected message whole."""
    with open_database() as database:
        stored = database.transact(lambda tx: find_rejected(tx, rejected_id))
    if stored is None:
        raise Missing(f"there is no rejected message {rejected_id}")
    message = _message(stored)
    if as_json:
        print_json({**vars(stored), "body": _text(stored.body), "message": message})
        return
    show_answer(*_lines(stored, message))


@rejected.command()
@_rejected_id
@actor_option
def replay(rejected_id: int, actor: str) -> None:
    """Put a rejected message through the door again."""
    from run.handlers.replay import replay as replay_message  # noqa: PLC0415  # It imports all of the service.

    with open_service() as service:
        try:
            replay_message(service.database, service.router, service.publisher, rejected_id, actor)
        except Rejected as again:
            raise Rejected(f"rejected message {rejected_id} is rejected again: {again}") from again
    click.echo(f"rejected message {rejected_id} is replayed")


def _lines(stored: RejectedMessage, message: Mapping[str, Any] | None) -> Iterator[Text]:
    yield Text(f"rejected message {stored.rejected_id}", "bold")
    yield Text(in_lines(stored.reason), "red")
    key = in_one_line(stored.message_key)
    yield Text(f"{key}; came {moment(stored.received_at)} UTC, {stored.deliveries}x", "dim")
    if stored.replayed_at is not None:
        yield Text(f"replayed {moment(stored.replayed_at)} UTC, {stored.replays}x", "green")
    for name, value in ({} if message is None else message["attributes"]).items():
        yield Text(in_one_line(f"{name}: {value}"))
    content = _text(stored.body) if message is None else message["data"]
    if content:
        yield Text(f"\n{in_lines(content.rstrip())}")


def _reason(reason: str, replays: int) -> str:
    return f"{reason} (replayed)" if replays else reason


def _message(stored: RejectedMessage) -> dict[str, Any] | None:
    """What the door read of the message; None when it could not be read at all."""
    try:
        delivery: Delivery = read_delivery(stored.headers, stored.body)
    except Rejected:
        return None
    return {"attributes": dict(delivery.attributes), "data": _text(delivery.data), "source": delivery.source}


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(content).decode()}"
