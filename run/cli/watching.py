"""Looking at a batch until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import click
from rich.live import Live

from database.listings.batches import ShownBatch
from database.statuses import BatchStatus
from run.cli.batch_view import batch_view
from run.cli.escaping import in_lines, in_one_line
from run.cli.printing import console
from run.workflows.durations import duration

_SECONDS_BETWEEN = 0.5

Look = Callable[[], ShownBatch]


def watch_batch(look: Look, timeout: float | None) -> ShownBatch:
    """Show the batch as it changes, until it has ended or `timeout` seconds are over; returns its last look."""
    looks = _looks(look, timeout)
    return _watch_live(looks) if console().is_terminal else _watch_in_lines(looks)


def _looks(look: Look, timeout: float | None) -> Iterator[ShownBatch]:
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        shown = look()
        yield shown
        left = _SECONDS_BETWEEN if deadline is None else min(_SECONDS_BETWEEN, deadline - time.monotonic())
        if shown.batch.status != BatchStatus.PROCESSING or left <= 0:
            return
        time.sleep(left)


def _watch_live(looks: Iterator[ShownBatch]) -> ShownBatch:
    shown = next(looks)
    with Live(batch_view(shown), console=console(), auto_refresh=False) as live:
        live.refresh()
        for shown in looks:
            live.update(batch_view(shown), refresh=True)
    return shown


def _watch_in_lines(looks: Iterator[ShownBatch]) -> ShownBatch:
    said: dict[str, str] = {}
    shown = None
    for shown in looks:
        for task in shown.tasks:
            line = f"{task.task}: {task.status}" + (f": {task.error}" if task.error else "")
            if said.get(task.task) != line:
                click.echo(in_lines(line))
                said[task.task] = line
    assert shown is not None, "there is always a first look"  # noqa: S101
    batch = shown.batch
    took = duration((batch.ended_at or batch.read_at) - batch.created_at)
    how_long = f"{'took' if batch.ended_at else 'open for'} {took}"
    click.echo(in_one_line(f"{batch.workflow} {batch.batch}: {batch.status}, {how_long}"))
    return shown
