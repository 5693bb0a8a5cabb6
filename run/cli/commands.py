"""How a command is found, only when it is asked for, and how its failure is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import IO, Any

import click

from database.errors import DatabaseError
from run.cli.escaping import in_lines
from run.errors import AcceleratorError


@dataclass(frozen=True)
class Place:
    """Where a command is written, as `module:name`, and its short help."""

    target: str
    help: str


class Failed(click.ClickException):
    """Ends a command with exit status 1; the message is printed on stderr as it is."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(in_lines(self.format_message()), file=file, err=file is None)


class CommandLine(click.Group):
    """Imports a command's module when the command is used, so that `--help` waits for none of them."""

    def __init__(self, *args: Any, places: Mapping[str, Place], **options: Any) -> None:
        super().__init__(*args, **options)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click asks so.
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self._places:
            return None
        module, _, name = self._places[cmd_name].target.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in self._places.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (AcceleratorError, DatabaseError) as error:
            raise Failed(str(error)) from error
