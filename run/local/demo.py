"""`python -m run demo`: a year of real files through the whole service on this machine."""

from __future__ import annotations

import random
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from database.errors import DatabaseError
from database.listings.rejected import list_rejected_messages
from database.migrating import migrate
from database.sessions import Database
from database.statuses import OPEN, BatchStatus, Status
from database.workflows import store_version
from run.app import template_names
from run.clients import Clients
from run.engine.definitions import new_version
from run.errors import AcceleratorError
from run.kinds import build_kinds
from run.local.demo_buckets import Buckets
from run.local.demo_figures import SourceFigures, figures_of_sources
from run.local.demo_files import MONTHS, DemoFile, monthly_files
from run.local.demo_progress import Batches, LatestBatches, has_ended, watch
from run.local.demo_report import REPORT, BigQueryReader, disagreements, drawn
from run.local.processes import PROJECT_ROOT
from run.local.stack import ARCHIVE_BUCKET, DATABASE, LANDING_BUCKET, PROJECT, DeliveryChoice, LocalStack
from run.settings import Settings
from run.workflows.definition import WorkflowDefinition
from run.workflows.reader import read_workflow
from run.workflows.templates import NameType

EXAMPLE = Path("examples/flights/flights.yaml")
#: The order of the files is shuffled, and the same every time.
SEED = 2013
LONGEST_SECONDS = 240
MOST_REASONS = 3

DONE, FAILED = 0, 1
#: What a shell reports of a program that Ctrl-C ended.
INTERRUPTED = 130

Say = Callable[[str], None]


class DemoFailed(AcceleratorError):
    """Something in the demo is not as it should be; the message says what and where."""


def run_demo(
    exit_when_done: bool,
    say: Say = print,
    *,
    months: Sequence[str] = MONTHS,
    delivery: DeliveryChoice = "auto",
    seconds: float = LONGEST_SECONDS,
) -> int:
    """Run the demo on a temporary folder and return its exit status, 0 only when every check has passed.

    `months` (`2013-MM`) says how much of the year, `seconds` how long the batches may take. Without `exit_when_done`
    the stack stays up until Ctrl-C. When something fails the folder with the logs is kept, and its name is said.
    """
    folder = Path(tempfile.mkdtemp(prefix="cloud-accelerator-"))
    try:
        _Demo(folder, say, tuple(sorted(months)), delivery, seconds).run(stays=not exit_when_done)
    except KeyboardInterrupt:
        say("Ended by Ctrl-C before it was done.")
        status = INTERRUPTED
    except (AcceleratorError, DatabaseError) as error:
        say(f"The demo failed: {error}")
        say(f"The logs are in {folder / 'logs'}.")
        return FAILED
    else:
        status = DONE
    shutil.rmtree(folder, ignore_errors=True)
    return status


@dataclass(frozen=True)
class _Demo:
    folder: Path
    say: Say
    months: Sequence[str]
    delivery: DeliveryChoice
    seconds: float

    def run(self, *, stays: bool) -> None:
        """Tell the whole story: start, apply, drop, watch, check."""
        started = time.monotonic()
        self.say("Starting Postgres, Pub/Sub, Cloud Storage, BigQuery and the service.")
        with ThreadPoolExecutor(1) as pool:
            # The files are cut while the servers start.
            files = pool.submit(monthly_files, self.months)
            figures = pool.submit(figures_of_sources, self.months)
            with LocalStack(self.folder, delivery=self.delivery, say=self.say) as stack:
                self._work(stack, files, figures, started)
                if stays:
                    self._stay(stack)
        self.say("Ended.")

    def _work(
        self, stack: LocalStack, files: Future[list[DemoFile]], figures: Future[SourceFigures], started: float
    ) -> None:
        migrate(stack.environment["DATABASE_URL"])
        with closing(Database(stack.postgres.url(DATABASE))) as database:
            definition = _apply(database, stack)
            stack.start_service()
            self.say(f"All is up after {_since(started)}, and {EXAMPLE} is applied.")
            dropped = self._drop(stack, files.result())
            latest = LatestBatches(database, definition.name, most=len(self.months))
            tasks = [task.name for task in definition.tasks]
            working = time.monotonic()
            batches = watch(latest, self.months, tasks, say=self.say, seconds=self.seconds)
            _raise_for(list(_troubles(database, batches, self.months)))
            self.say(f"{len(batches)} batches with {len(batches) * len(tasks)} tasks took {_since(working)}.")
        self._check(stack, figures.result(), dropped)
        self.say(f"Everything together took {_since(started)}.")

    def _drop(self, stack: LocalStack, files: list[DemoFile]) -> list[str]:
        random.Random(SEED).shuffle(files)  # noqa: S311  # Nothing secret about an order.
        buckets = Buckets(stack.storage.url)
        self.say(f"Dropping {len(files)} files into gs://{LANDING_BUCKET}, shuffled with seed {SEED}.")
        for file in files:
            buckets.drop(LANDING_BUCKET, file)
        return [file.name for file in files]

    def _check(self, stack: LocalStack, figures: SourceFigures, dropped: Sequence[str]) -> None:
        bigquery = BigQueryReader(stack.bigquery.url, PROJECT)
        report = bigquery.report()
        self.say(f"\n{REPORT} in BigQuery (minutes, miles per hour, miles)\n\n{drawn(report)}\n")
        _raise_for([*disagreements(report, figures), *_wrong_counts(bigquery, figures)])
        self.say(
            f"Checked: {len(report)} months, {figures.flights:,} flights and {figures.weather_rows:,} weather rows "
            "agree with\n  sums made from the source tables by Python alone."
        )
        _raise_for(list(_misplaced(Buckets(stack.storage.url), dropped)))
        self.say(f"Checked: gs://{LANDING_BUCKET} is empty, and gs://{ARCHIVE_BUCKET} holds the {len(dropped)} files.")

    def _stay(self, stack: LocalStack) -> None:
        environment = self.folder / "environment"
        environment.write_text(
            "".join(f"export {name}={shlex.quote(value)}\n" for name, value in stack.environment.items())
        )
        self.say(
            f"\nThe service is at {stack.url} until Ctrl-C. In another terminal:\n\n"
            f"  cd {shlex.quote(str(PROJECT_ROOT))}\n"
            f"  . .venv/bin/activate\n"
            f"  . {shlex.quote(str(environment))}\n"
            f"  python -m run batch list\n"
            f"  python -m run batch show flights {self.months[0]}\n"
            f"  python -m run file list\n\n"
            f"docs/demo.md says what else to try. Logs: {stack.logs}"
        )
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


def _apply(database: Database, stack: LocalStack) -> WorkflowDefinition:
    settings = Settings.from_environment(stack.environment, serves=False)
    names = dict.fromkeys(template_names(settings), NameType.TEXT)
    definition = read_workflow(PROJECT_ROOT / EXAMPLE, build_kinds(Clients(settings)), names)
    database.transact(lambda tx: store_version(tx, new_version(definition)))
    return definition


def _troubles(database: Database, batches: Batches, months: Sequence[str]) -> Iterator[str]:
    for month in months:
        batch = batches.get(month)
        if batch is None:
            yield f"batch {month} was never opened"
        elif not has_ended(batch):
            waiting = ", ".join(f"{task.task} is {task.status}" for task in batch.tasks if task.status in OPEN)
            yield f"batch {month} is not done: {waiting}"
        elif batch.batch.status != BatchStatus.SUCCESS:
            failed = (f"task {task.task}: {task.error}" for task in batch.tasks if task.status == Status.ERROR)
            yield f"batch {month} is {batch.batch.status}; {'; '.join(failed)}"
    rejected = database.transact(lambda tx: list_rejected_messages(tx, replayed_too=True, most=MOST_REASONS))
    yield from (f"a message was rejected: {message.reason}" for message in rejected)


def _wrong_counts(bigquery: BigQueryReader, figures: SourceFigures) -> Iterator[str]:
    for table, wanted in (("flights.departures", figures.flights), ("flights.weather", figures.weather_rows)):
        found = bigquery.count(table)
        if found != wanted:
            yield f"{table} has {found:,} rows, and its source has {wanted:,}"


def _misplaced(buckets: Buckets, dropped: Sequence[str]) -> Iterator[str]:
    left, archived = buckets.names(LANDING_BUCKET), buckets.names(ARCHIVE_BUCKET)
    if left:
        yield f"gs://{LANDING_BUCKET} still holds {', '.join(sorted(left))}"
    if len(archived) != len(dropped):
        yield f"gs://{ARCHIVE_BUCKET} holds {len(archived)} objects, not {len(dropped)}"


def _raise_for(troubles: Sequence[str]) -> None:
    if troubles:
        raise DemoFailed("\n  ".join(("", *troubles)))


def _since(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"
