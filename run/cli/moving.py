"""What the commands share that move a batch by hand: who does it and why, and what has come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from run.cli.connections import open_service
from run.cli.escaping import in_one_line
from run.cli.options import actor_option, json_option
from run.cli.printing import print_json

if TYPE_CHECKING:
    from run.engine.moved import MoveResult, Who
    from run.engine.moves import Moves

_reason_option = click.option("--reason", help="Why, for the audit.")


@dataclass(frozen=True)
class ByHand:
    """Who moves something and why, and how the answer is to look."""

    actor: str
    reason: str | None
    as_json: bool


def moving(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that every move by hand has, as one argument, `by_hand`."""

    @_reason_option
    @actor_option
    @json_option
    @wraps(command)
    def with_options(*args: Any, actor: str, reason: str | None, as_json: bool, **others: Any) -> None:
        command(*args, by_hand=ByHand(actor, reason, as_json), **others)

    return with_options


def carry_out(by_hand: ByHand, workflow: str, batch_id: str, move: Callable[[Moves, Who], MoveResult]) -> None:
    """Move a batch, or a task of it, and say what has come of it."""
    from run.engine.moved import Who  # noqa: PLC0415  # It imports Google's clients, which take seconds.

    with open_service() as service:
        result = move(service.moves, Who(by_hand.actor, by_hand.reason))
    if by_hand.as_json:
        print_json({"workflow": workflow, "batch": batch_id, **vars(result)})
        return
    click.echo(f"moved: {_names(result.changed)}")
    click.echo(f"may start now: {_names(result.released)}")
    click.echo(in_one_line(f"{workflow} {batch_id} is {result.batch_status}"))


def _names(tasks: Sequence[str]) -> str:
    return ", ".join(tasks) or "nothing"
