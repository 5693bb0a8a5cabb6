"""Batches while they run: a table that changes in a terminal, a line for each end elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from database.listings.batches import ShownBatch, list_batches, show_batch
from database.sessions import Database, Transaction
from database.statuses import BatchStatus, Status

STEP_SECONDS = 0.2
MARKS = {
    Status.WAITING: Text("·", "dim"),
    Status.NEW: Text("·", "dim"),
    Status.PROCESSING: Text("…", "cyan"),
    Status.SUCCESS: Text("✓", "green"),
    Status.ERROR: Text("✗", "red"),
    Status.SKIPPED: Text("-", "yellow"),
    Status.CANCELLED: Text("-", "yellow"),
}
NOT_OPENED = Text(" ")

Batches = Mapping[str, ShownBatch]


class LatestBatches:
    """The batches of a workflow as they are, of which only those that have changed are read again."""

    def __init__(self, database: Database, workflow: str, *, most: int) -> None:
        self._database = database
        self._workflow = workflow
        self._most = most
        self._known: dict[str, ShownBatch] = {}

    def look(self) -> Batches:
        """Return the batches by id; raises DatabaseUnavailable."""
        self._database.transact(self._read)
        return self._known

    def _read(self, tx: Transaction) -> None:
        for listed in list_batches(tx, self._workflow, most=self._most):
            known = self._known.get(listed.batch)
            # Every step of a task changes how many tasks have which status.
            if known is None or known.batch.tasks != listed.tasks or known.batch.status != listed.status:
                self._known[listed.batch] = show_batch(tx, self._workflow, listed.batch)


def watch(
    latest: LatestBatches, ids: Sequence[str], tasks: Sequence[str], *, say: Callable[[str], None], seconds: float
) -> Batches:
    """Show the progress of the batches `ids` until all have ended or `seconds` are over, and return them as they are.

    `tasks` are the columns. In a terminal a table changes in place, elsewhere `say` gets a line for each batch.
    """
    console = Console()
    display = _live_table(console, ids, tasks) if console.is_terminal else _lines(say, len(ids))
    started = time.monotonic()
    with display as show:
        while True:
            elapsed = time.monotonic() - started
            batches = latest.look()
            show(batches, elapsed)
            if all(has_ended(batches.get(one)) for one in ids) or elapsed > seconds:
                return batches
            time.sleep(STEP_SECONDS)


def has_ended(batch: ShownBatch | None) -> bool:
    """Whether this batch was opened and is done, well or not."""
    return batch is not None and batch.batch.status != BatchStatus.PROCESSING


Show = Callable[[Batches, float], None]


@contextmanager
def _live_table(console: Console, ids: Sequence[str], tasks: Sequence[str]) -> Iterator[Show]:
    with Live(console=console, auto_refresh=False) as live:
        yield lambda batches, elapsed: live.update(_table(batches, ids, tasks, elapsed), refresh=True)


def _table(batches: Batches, ids: Sequence[str], tasks: Sequence[str], elapsed: float) -> Table:
    caption = _counts(batches, ids, tasks, elapsed)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), caption=caption)
    table.add_column("batch")
    for task in tasks:
        table.add_column(task.replace("_", "\n"), justify="center")
    table.add_column("status")
    for one in ids:
        batch = batches.get(one)
        status = {} if batch is None else {task.task: MARKS[Status(task.status)] for task in batch.tasks}
        marks = (status.get(task, NOT_OPENED) for task in tasks)
        table.add_row(one, *marks, "no file yet" if batch is None else batch.batch.status)
    return table


def _counts(batches: Batches, ids: Sequence[str], tasks: Sequence[str], elapsed: float) -> str:
    done = sum(batch.batch.tasks.get(Status.SUCCESS, 0) for batch in batches.values())
    ended = sum(has_ended(batches.get(one)) for one in ids)
    return f"{ended} of {len(ids)} batches, {done} of {len(ids) * len(tasks)} tasks, {elapsed:.1f} s"


@contextmanager
def _lines(say: Callable[[str], None], wanted: int) -> Iterator[Show]:
    said: set[str] = set()

    def show(batches: Batches, elapsed: float) -> None:
        for name in sorted(batches.keys() - said):
            if has_ended(batches[name]):
                said.add(name)
                status = batches[name].batch.status
                say(f"  {elapsed:5.1f} s  batch {name} is {status} ({len(said)} of {wanted})")

    yield show
