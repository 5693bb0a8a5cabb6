"""`workflow check|apply|list|show`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from database.audit import write_audit
from database.errors import DatabaseError
from database.listings.workflows import list_workflows, show_version
from database.sessions import Transaction
from database.workflows import StoredVersion, store_version
from run.cli.connections import open_database, open_service
from run.cli.escaping import in_lines
from run.cli.options import actor_option, json_option, limit_option
from run.cli.printing import moment, print_json, print_table, say_if_cut
from run.engine.definitions import new_version
from run.errors import AcceleratorError
from run.settings import names_mail_server
from run.workflows.definition import WorkflowDefinition
from run.workflows.drawing import as_mermaid, as_text

_files = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")


@click.group()
def workflow() -> None:
    """Check, store and show workflows."""


@workflow.command()
@_files
def check(files: tuple[Path, ...]) -> None:
    """Say everything that is wrong with workflow files; store nothing."""
    for path, definition in _read(files):
        click.echo(f"{path}: fine, workflow {definition.name} with {_count(len(definition.tasks), 'task')}")


@workflow.command("apply")
@_files
@actor_option
def apply_files(files: tuple[Path, ...], actor: str) -> None:
    """Store workflow files: all of them, or none when one has a problem."""
    # One order for everybody, so that two people who apply the same files wait for each other and never in a ring.
    definitions = [definition for _, definition in _read(files)]
    versions = sorted((new_version(definition) for definition in definitions), key=lambda new: new.workflow)

    def store(tx: Transaction) -> list[StoredVersion]:
        stored = [store_version(tx, new) for new in versions]
        for one, new in zip(stored, versions, strict=True):
            if one.created:
                details = {"version": one.version, "digest": new.digest}
                write_audit(tx, actor, "apply", f"workflow {one.workflow}", details=details)
        return stored

    with open_database() as database:
        stored = database.transact(store)
    for one in stored:
        said = f"version {one.version}" if one.created else f"unchanged, version {one.version}"
        click.echo(f"{one.workflow}: {said}")
    new = {one.workflow for one in stored if one.created}
    with_files = {version.workflow for version in versions if any(task.file is not None for task in version.tasks)}
    if new & with_files:
        _say_what_waits(new & with_files)
    if not names_mail_server():
        _warn_of_mail(definitions)


@workflow.command("list")
@json_option
@limit_option
def list_(as_json: bool, limit: int) -> None:
    """List the workflows by name."""
    with open_database() as database:
        rows = database.transact(lambda tx: list_workflows(tx, most=limit))
    if as_json:
        print_json(rows)
        return
    cells = [
        (row.workflow, str(row.version), str(row.tasks), row.batch_template, moment(row.applied_at)) for row in rows
    ]
    headings = ("WORKFLOW", ">VERSION", ">TASKS", "BATCH", "APPLIED (UTC)")
    print_table(headings, cells, if_none="No workflow has been applied yet.")
    say_if_cut(len(rows), limit, which="first")


@workflow.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(min=1), help="A version other than the newest.")
@click.option("--mermaid", is_flag=True, help="The graph as a mermaid flowchart, for a page.")
@json_option
def show(name: str, version: int | None, mermaid: bool, as_json: bool) -> None:
    """Draw the graph of a workflow."""
    if mermaid and as_json:
        raise click.UsageError("--mermaid and --json are two answers; ask for one")
    with open_database() as database:
        shown = database.transact(lambda tx: show_version(tx, name, version))
    definition = WorkflowDefinition.model_validate(shown.definition)
    if as_json:
        print_json(shown)
    elif mermaid:
        click.echo(as_mermaid(definition))
    else:
        click.echo(as_text(definition))
        click.echo(f"\nversion {shown.version} of {shown.newest}, applied {moment(shown.applied_at)} UTC")


def _say_what_waits(workflows: set[str]) -> None:
    """Say how many files have come before their workflow; not knowing that does not undo what was stored."""
    try:
        with open_service() as service:
            count, more = service.scanner.count_waiting(workflows)
    except (AcceleratorError, DatabaseError) as error:
        click.echo(f"how many files wait already is not known: {in_lines(str(error))}", err=True)
        return
    if count:
        how_many = f"at least {count:,} objects" if more else _count(count, "object")
        click.echo(f"{how_many} that came before will be handed over within a day; 'file scan' does it now")
    elif more:
        click.echo("more objects lie there than were looked at; 'file scan' says which of them wait")


def _warn_of_mail(definitions: Iterable[WorkflowDefinition]) -> None:
    """Say which workflows want mail; the service may have a server although nobody here names one."""
    for definition in definitions:
        notify = [*definition.notify, *(channel for task in definition.tasks for channel in task.notify)]
        if any(channel.email for channel in notify):
            said = "tells people by mail, and SMTP_HOST is not set here; where the service has none, no mail is sent"
            click.echo(f"warning: {definition.name} {said}", err=True)


def _read(files: tuple[Path, ...]) -> list[tuple[Path, WorkflowDefinition]]:
    from run.cli.definitions import read_definition_files  # noqa: PLC0415  # The kinds import Google's clients.

    return read_definition_files(files)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
