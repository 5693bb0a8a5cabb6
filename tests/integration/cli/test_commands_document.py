from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from run.cli import main

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "commands.md").read_text()


def commands(
    command: click.Command = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, (*path, name))


EVERY = dict(commands())


def section(path: tuple[str, ...]) -> str:
    """What the document says under the heading of a command."""
    _, heading, rest = DOCUMENT.partition(f"\n### {' '.join(path)}\n")
    assert heading, f"docs/commands.md has no heading '### {' '.join(path)}'"
    return rest.partition("\n##")[0]


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_has_its_section_with_an_example_and_every_option(path: tuple[str, ...]) -> None:
    said = section(path)
    assert f"python -m run {' '.join(path)}" in said
    for parameter in EVERY[path].params:
        words = parameter.opts if isinstance(parameter, click.Option) else [parameter.make_metavar(click.Context(main))]
        assert any(word.strip("[].") in said for word in words), f"{path} does not say {words}"


def test_the_document_names_no_command_that_is_not_there() -> None:
    headings = {tuple(line.removeprefix("### ").split()) for line in DOCUMENT.splitlines() if line.startswith("### ")}
    assert headings == set(EVERY)


def test_the_first_help_says_every_command_as_its_own_help_does() -> None:
    context = click.Context(main)
    shown = main.get_help(context)
    assert all(f"\n  {name} " in shown for name in main.list_commands(context))
