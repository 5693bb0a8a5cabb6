"""`file list|show|explain|scan`: which files came, what was the problem, what one would do, and which were missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click
from rich.console import RenderableType
from rich.text import Text

from database.audit import write_audit
from database.errors import Missing
from database.listings.files import ListedFile, files_at, list_files
from database.statuses import FileDecision, Status
from run.cli.connections import open_database, open_service
from run.cli.escaping import in_lines, in_one_line
from run.cli.options import AddressType, ObjectAddress, actor_option, json_option, limit_option
from run.cli.printing import MARKS, below, mark, moment, print_json, say_if_cut, show_answer, styled
from run.cli.scanning import PrefixType, scan_view, summary
from run.workflows.prefixes import Prefix

_MARK_OF = {
    FileDecision.REJECTED: Status.ERROR,
    FileDecision.SET_ASIDE: Status.ERROR,
    FileDecision.MARKER: Status.SUCCESS,
    FileDecision.UNWANTED: Status.SKIPPED,
    FileDecision.IGNORED: Status.SKIPPED,
    FileDecision.SUPERSEDED: Status.SKIPPED,
}
#: Decisions by which a task has the file.
_HAS_IT = (FileDecision.TAKEN, FileDecision.COLLECTED)
_EFFECT_MARKS = {"rejected": MARKS["ERROR"], "ignored": MARKS["SKIPPED"]}

_address = click.argument("address", type=AddressType(), metavar="URI")


@click.group()
def file() -> None:
    """Say what became of files, or what would; hand over what was missed."""


@file.command("list")
@click.option(
    "--decision",
    type=click.Choice([decision.value for decision in FileDecision], case_sensitive=False),
    help="Only files of which this became.",
)
@click.option("--batch", nargs=2, metavar="WORKFLOW BATCH", help="Only the files of this batch.")
@json_option
@limit_option
def list_(decision: str | None, batch: tuple[str, str] | None, as_json: bool, limit: int) -> None:
    """List the files that came: which are processed, which failed, and why."""
    with open_database() as database:
        rows = database.transact(lambda tx: list_files(tx, decision=decision, batch=batch, most=limit))
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("No such file has come yet.", err=True)
        return
    show_answer(*_listed(rows))
    say_if_cut(len(rows), limit)


@file.command()
@_address
@json_option
@limit_option
def show(address: ObjectAddress, as_json: bool, limit: int) -> None:
    """Show every generation of one object, and what became of each."""
    with open_database() as database:
        rows = database.transact(lambda tx: files_at(tx, address.bucket, address.name, most=limit))
    if not rows:
        raise Missing(f"no message about {address.uri} has come; 'file explain' says what would happen to it")
    if as_json:
        print_json(rows)
        return
    show_answer(*_shown(rows))
    say_if_cut(len(rows), limit)


@file.command()
@_address
@json_option
def explain(address: ObjectAddress, as_json: bool) -> None:
    """Say what would happen to an object if it landed now; do nothing."""
    from run.handlers.explanation import explain as explain_object  # noqa: PLC0415  # It imports all of the service.

    with open_service() as service:
        explained = explain_object(service.database, service.files, address.bucket, address.name)
    if as_json:
        print_json(explained)
    elif explained.ignored is not None:
        click.echo(in_one_line(f"{address.uri} would be left alone: {explained.ignored}"))
    else:
        click.echo(in_one_line(address.uri))
        for one in explained.explanations:
            sign = _EFFECT_MARKS.get(one.effect, MARKS["SUCCESS"])
            caught = ", ".join(f"{name} {value}" for name, value in one.groups.items())
            click.echo(in_one_line(f"{sign} {one.workflow}, task {one.task}" + (f" ({caught})" if caught else "")))
            words = one.words if sign == MARKS["SUCCESS"] else f"{one.effect}: {one.words}"
            click.echo(f"    {in_one_line(words)}")


@file.command()
@click.argument("prefix", type=PrefixType(), required=False)
@click.option("--dry-run", is_flag=True, help="Only say what would be handed over.")
@json_option
@actor_option
def scan(prefix: Prefix | None, dry_run: bool, as_json: bool, actor: str) -> None:
    """Look for objects that were never announced to a task that wants them, and hand them over."""
    with open_service() as service, scan_view(dry_run=dry_run, as_json=as_json) as on_page:
        report = service.scanner.scan(prefix, dry_run=dry_run, on_page=on_page)
        if not dry_run:
            where = "all files" if prefix is None else f"files {prefix.uri}"
            counts = {"looked_at": report.looked_at, "handed_over": sum(new.handed_over for new in report.files)}
            service.database.transact(lambda tx: write_audit(tx, actor, "scan", where, details=counts))
    if as_json:
        print_json({"dry_run": dry_run, **vars(report)})
    else:
        click.echo(summary(report, dry_run=dry_run))
    for problem in report.problems:
        click.echo(in_lines(problem), err=True)
    if report.problems or not all(new.handed_over or dry_run for new in report.files):
        raise click.exceptions.Exit(1)


def _listed(rows: Iterable[ListedFile]) -> Iterator[RenderableType]:
    for row in rows:
        yield Text.assemble(_mark(row), " ", in_one_line(row.file))
        yield below(_fate(row))


def _shown(rows: Iterable[ListedFile]) -> Iterator[RenderableType]:
    for row in rows:
        yield Text.assemble(_mark(row), " ", in_one_line(row.file), f"  generation {row.generation}")
        yield below(_fate(row))
        size = "" if row.size is None else f", {row.size:,} bytes"
        message = "" if row.message_id is None else f", message {row.message_id}"
        yield below(Text(in_one_line(f"{row.event_type} at {moment(row.received_at)} UTC{size}{message}"), "dim"))


def _mark(row: ListedFile) -> Text:
    return mark(row.task_status or _MARK_OF.get(FileDecision(row.decision), Status.WAITING))


def _fate(row: ListedFile) -> Text:
    fate = styled(row.decision)
    if row.task is not None:
        fate.append(" by " if row.decision in _HAS_IT else " for ", "default")
        fate.append(in_one_line(" ".join(part for part in (row.workflow, row.batch, row.task) if part)), "default")
    if row.task_status is not None:
        fate.append(", task ", "default").append(styled(row.task_status))
    if row.reason:
        fate.append(f"\n{in_lines(row.reason)}", "default")
    if row.error:
        fate.append(f"\n{in_lines(row.error)}", "red")
    if row.place:
        fate.append(f"\nnow {in_one_line(row.place)}", "dim")
    return fate
