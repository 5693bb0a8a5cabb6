"""What would happen to an object if it landed now. Nothing is changed by asking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from database.batches import find_batch, today
from database.collecting import Collection, look_at_collection
from database.files import AwaitingBatch, LoggedFile, awaiting_batch, newest_taken, taken_files
from database.keys import TaskKey
from database.listings.files import files_at
from database.listings.schema import forbid_writing
from database.sessions import Database, Transaction
from database.statuses import BatchStatus
from run.engine.arrivals import Wanted
from run.handlers.file import FileHandler
from run.workflows.batch_identity import BatchTemplate
from run.workflows.definition import FileTrigger, Until
from run.workflows.templates import TemplateError, Value

MOST_MOVED = 20


class Effect(StrEnum):
    """What a file does to a batch."""

    OPENS = "opens"
    JOINS = "joins"
    RERUNS = "reruns"
    IGNORED = "ignored"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Explanation:
    """What would happen to the object for one task; `batch` is None where only its arrival can tell."""

    workflow: str
    task: str
    effect: Effect
    words: str
    batch: str | None = None
    groups: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Explained:
    """An object's address, why it would be ignored as a whole (None: it would not), and what each task would do."""

    file: str
    ignored: str | None
    explanations: tuple[Explanation, ...] = ()


def explain(database: Database, files: FileHandler, bucket: str, name: str) -> Explained:
    """What would happen to `gs://bucket/name`, as things stand now."""
    uri = f"gs://{bucket}/{name}"
    if name.endswith("/"):
        return Explained(uri, "it is the placeholder of a folder")
    found = files.find_wanted(uri)
    wanted, mismatches = found.wanted, found.mismatches
    if found.unreadable and not wanted and not mismatches:
        return Explained(uri, f"this revision cannot read the triggers of {', '.join(found.unreadable)}; it would wait")
    if not wanted and not mismatches:
        return Explained(uri, "no pattern of any workflow fits it")

    def look(tx: Transaction) -> Explained:
        forbid_writing(tx)
        moved = next((file for file in files_at(tx, bucket, name, most=MOST_MOVED) if file.place == uri), None)
        if moved is not None:
            return Explained(uri, f"it is where the batch {moved.workflow} {moved.batch} has put {moved.file}")
        unfit = (
            Explanation(file_task.current.workflow, file_task.task, Effect.REJECTED, str(mismatch))
            for file_task, mismatch in mismatches
        )
        return Explained(uri, None, (*_explained(tx, uri, wanted), *unfit))

    return database.transact(look)


def _explained(tx: Transaction, uri: str, wanted: list[Wanted]) -> Iterator[Explanation]:
    for one in wanted:
        batch, effect, words = _effect(tx, uri, one)
        current = one.file_task.current
        yield Explanation(current.workflow, one.file_task.task, effect, words, batch, one.groups)


def _effect_of_fresh(tx: Transaction, uri: str, wanted: Wanted) -> tuple[Effect, str]:
    taken = newest_taken(tx, *_bucket_and_name(uri), wanted.file_task.task_id)
    trigger = FileTrigger.model_validate(wanted.file_task.file)
    if taken is not None and trigger.on_new_generation == "ignore":
        return Effect.IGNORED, f"generation {taken} was taken before, and on_new_generation is ignore"
    return Effect.OPENS, f"opens a fresh batch, named {wanted.file_task.current.batch_template}"


def _effect(tx: Transaction, uri: str, wanted: Wanted) -> tuple[str | None, Effect, str]:
    current = wanted.file_task.current
    template = BatchTemplate(current.batch_template)
    if template.is_fresh:
        return None, *_effect_of_fresh(tx, uri, wanted)
    try:
        batch = template.render({"today": today(tx), **wanted.groups})
    except TemplateError as error:
        return None, Effect.REJECTED, str(error)
    return batch, *_effect_on(tx, uri, wanted, TaskKey(current.workflow_id, batch, wanted.file_task.task_id))


def _effect_on(tx: Transaction, uri: str, wanted: Wanted, key: TaskKey) -> tuple[Effect, str]:
    task = wanted.file_task.task
    if find_batch(tx, key.batch) is None:
        return Effect.OPENS, f"opens the batch {key.batch_id}{_of_first(wanted)}"
    awaiting = awaiting_batch(tx, key)
    if awaiting.status is BatchStatus.CANCELLED:
        return Effect.IGNORED, f"the batch {key.batch_id} is cancelled"
    if awaiting.file is None:
        return Effect.REJECTED, (
            f"the batch {key.batch_id} has version {awaiting.version}, in which no task {task} takes a file"
        )
    return _effect_on_task(tx, uri, wanted, key, FileTrigger.model_validate(awaiting.file), awaiting)


def _effect_on_task(
    tx: Transaction, uri: str, wanted: Wanted, key: TaskKey, trigger: FileTrigger, awaiting: AwaitingBatch
) -> tuple[Effect, str]:
    if trigger.until is not None:
        found = look_at_collection(tx, key, *_bucket_and_name(uri))
        collecting = _Collecting(key.batch_id, trigger, trigger.until, found, is_open=awaiting.awaits_file)
        return collecting.effect_of_marker() if wanted.is_marker else collecting.effect_of_file()
    if wanted.is_marker:
        return Effect.IGNORED, f"in the version of the batch {key.batch_id}, its task takes one file and no marker"
    now = taken_files(tx, key.batch).get(wanted.file_task.task)
    if now is None:
        return Effect.JOINS, f"joins the batch {key.batch_id}, which waits for it"
    return _effect_beside(uri, trigger, now, key.batch_id)


def _of_first(wanted: Wanted) -> str:
    until = FileTrigger.model_validate(wanted.file_task.file).until
    if until is None:
        return ""
    return ", whose files are still to come" if wanted.is_marker else f", which collects its files until {until.words}"


@dataclass(frozen=True)
class _Collecting:
    """A task that takes many files, and what it has apart from the object in question."""

    batch: str
    trigger: FileTrigger
    until: Until
    found: Collection
    is_open: bool

    def effect_of_file(self) -> tuple[Effect, str]:
        files = self.found.files + 1
        if not self.is_open and self.trigger.on_new_generation == "ignore":
            return Effect.IGNORED, f"the batch {self.batch} had all of its files; on_new_generation is ignore"
        is_whole = self.until.is_met(files, has_marker=self.found.has_marker)
        if self.is_open and is_whole:
            return Effect.JOINS, f"joins the batch {self.batch}, which then has all of its files ({files:,})"
        if self.is_open:
            return Effect.JOINS, f"joins the batch {self.batch}, which collects its files until {self.until.words}"
        when = "at once" if is_whole else f"when {self.until.words}"
        return Effect.RERUNS, (
            f"the batch {self.batch} had all of its files; with this one the task and what follows run again {when}"
        )

    def effect_of_marker(self) -> tuple[Effect, str]:
        if self.until.marker is None:
            return Effect.IGNORED, f"in the version of the batch {self.batch}, no marker is waited for"
        if not self.is_open:
            return Effect.JOINS, f"changes nothing: the batch {self.batch} had all of its files"
        so_far = f"which then has all of its files ({self.found.files:,})" if self.found.files else "which has no file"
        return Effect.JOINS, f"is the marker of the batch {self.batch}, {so_far}"


def _bucket_and_name(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


def _effect_beside(uri: str, trigger: FileTrigger, now: LoggedFile, batch: str) -> tuple[Effect, str]:
    if now.uri != uri:
        return Effect.REJECTED, f"the batch {batch} has {now.uri} for this task, and this is a second object"
    if trigger.on_new_generation == "ignore":
        return Effect.IGNORED, f"the batch {batch} keeps generation {now.generation}: on_new_generation is ignore"
    return Effect.RERUNS, (
        f"the batch {batch} has generation {now.generation}; a newer one runs the task and what follows again"
    )
