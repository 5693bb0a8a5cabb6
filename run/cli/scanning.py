"""How a look through the buckets is asked for and shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.status import Status
from rich.text import Text

from run.cli.escaping import in_one_line
from run.cli.printing import MARKS, console
from run.workflows.prefixes import Prefix, read_prefix

if TYPE_CHECKING:
    from run.handlers.scan import NewFile, OnPage, ScanReport


class PrefixType(click.ParamType[Prefix]):
    """`gs://bucket` or the beginning of addresses in it."""

    name = "prefix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Prefix:
        if isinstance(value, Prefix):
            return value
        written = str(value)
        prefix = read_prefix(written) or read_prefix(f"{written}/")
        if prefix is None:
            self.fail(f"{value!r} is no beginning of addresses such as gs://bucket/folder/", param, ctx)
        return prefix


@contextmanager
def scan_view(*, dry_run: bool, as_json: bool) -> Iterator[OnPage | None]:
    """What is told of each page: a line for each new file and, at a terminal, how far it has come."""
    if as_json:
        yield None
        return
    out = console()
    if not out.is_terminal:
        yield lambda _place, new, _report: _print_new(new, dry_run=dry_run)
        return
    with out.status("looking") as status:
        yield lambda place, new, report: _update(out, status, place, new, report, dry_run=dry_run)


def summary(report: ScanReport, *, dry_run: bool) -> str:
    """All of it in one sentence."""
    handed_over = sum(new.handed_over for new in report.files)
    what = f"{len(report.files):,} would be handed over" if dry_run else f"{handed_over:,} handed over"
    failed = 0 if dry_run else len(report.files) - handed_over
    others = report.looked_at - report.known - len(report.files)
    parts = [what, f"{report.known:,} known", f"{others:,} that no task wants"]
    if failed:
        parts.insert(1, f"{failed:,} that could not be, the log says why")
    return f"looked at {report.looked_at:,} objects: {', '.join(parts)}"


def _print_new(new: Sequence[NewFile], *, dry_run: bool) -> None:
    for one in new:
        click.echo(_line(one, dry_run=dry_run))


def _update(
    out: Console, status: Status, place: Prefix, new: Sequence[NewFile], report: ScanReport, *, dry_run: bool
) -> None:
    for one in new:
        out.print(_line(one, dry_run=dry_run), markup=False)
    status.update(Text(f"{in_one_line(place.uri)}: looked at {report.looked_at:,} objects, {len(report.files):,} new"))


def _line(one: NewFile, *, dry_run: bool) -> str:
    sign = MARKS["SUCCESS"] if one.handed_over or dry_run else MARKS["ERROR"]
    return in_one_line(f"{sign} {one.file} for {', '.join(one.wanted_by)}")
