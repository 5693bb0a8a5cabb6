"""`archive_file`: the files that other tasks took move to where they are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from run.clients.storage import Changed, StoredObject
from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.kinds.kind import Finished, GoesOn, Kind, KindConfig, Moved, ObjectVersion, Progress, TakenFile, Work
from run.kinds.object_places import FILE_NAMES, OF_EACH_FILE, place_of, problems_of_place
from run.workflows.scope import Scope
from run.workflows.templates import Value, all_names_in

#: Custom metadata of an archived object: its own address, so that a copy of it elsewhere is a new file again.
ARCHIVE_MARKER = "cloud-accelerator-archived-to"
SOURCE = "cloud-accelerator-source"
SOURCE_GENERATION = "cloud-accelerator-source-generation"

_LOOKS = 3
#: As many files as move before the attempt is let go of; the sweep goes on with the next ones.
PAGE = 100
_THREADS = 8
#: As many files as the task log spells out.
_MOST_TOLD = 100


def is_archived(uri: str, metadata: Mapping[str, str] | None) -> bool:
    """Whether the object at this `gs://` address was put there by an `archive_file` task."""
    return (metadata or {}).get(ARCHIVE_MARKER) == uri


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class ArchiveFileConfig(KindConfig):
    """The keys of an `archive_file` task; `to` may use file_task, file_name and others of each file."""

    files_of: Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
    to: str = "gs://{archive_bucket}/{workflow}/{batch_id}/{file_task}/{file_name}"


class ArchiveFile(Kind[ArchiveFileConfig]):
    """Copies each file under preconditions, verifies the copy, then deletes the generation that it copied."""

    name = "archive_file"
    config = ArchiveFileConfig

    def problems(self, config: ArchiveFileConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        for task in config.files_of:
            if task not in scope.file_tasks_above:
                known = ", ".join(sorted(scope.file_tasks_above)) or "none"
                yield "files_of", f"'{task}' is no task with a file above this one; there are: {known}"
        for task, count in Counter(config.files_of).items():
            if count > 1:
                yield "files_of", f"'{task}' is named {count} times"
        for reason in problems_of_place(config.to, scope, "gs://{archive_bucket}/{workflow}/{batch_id}/{file_name}"):
            yield "to", reason
        used = {use.name for use in all_names_in(config.to)}
        if len(config.files_of) > 1 and not used & FILE_NAMES.keys():
            yield "to", "gives the files of several tasks one place; use file_task, file_name or generation in it"
        many = [task for task in config.files_of if (file := scope.file_tasks_above.get(task)) and file.until]
        if many and not used & OF_EACH_FILE:
            yield "to", f"gives all files of '{many[0]}' one place; use file_name, file_path or file_stem in it"

    def start(self, config: ArchiveFileConfig, work: Work) -> Progress:
        """Move every file; what another worker has moved already is left as it is."""
        return self._move_some(config, work, moved_before=0)

    def poll(self, config: ArchiveFileConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        """Go on with the files that have not moved yet."""
        return self._move_some(config, work, moved_before=handle["moved"])

    def _move_some(self, config: ArchiveFileConfig, work: Work, moved_before: int) -> Progress:
        files = [(task, file) for task in config.files_of for file in _taken(work, task)]
        waiting = [(task, file) for task, file in files if file.place == file.landed]
        for _, file in waiting:
            if file.read_by:
                raise Unavailable(f"{file.place.uri} is still being read by {' and '.join(file.read_by)}")
        places = _places(config.to, work, waiting)
        kept = self._move_all(list(places.items())[:PAGE])
        moved = tuple(Moved(file.file_log_id, kept[file.place]) for _, file in waiting if file.place in kept)
        if len(kept) < len(places):
            return GoesOn({"moved": moved_before + len(moved)}, poll_after=0, moved=moved)
        return Finished(_details([file for _, file in files], moved, moved_before), moved)

    def _move_all(self, places: Sequence[tuple[ObjectVersion, tuple[str, str]]]) -> dict[ObjectVersion, ObjectVersion]:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="archive") as threads:
            kept = threads.map(lambda one: self._move(one[0], *one[1]), places)
            return dict(zip((source for source, _ in places), kept, strict=True))

    def _move(self, source: ObjectVersion, bucket: str, name: str) -> ObjectVersion:
        for _ in range(_LOOKS):
            try:
                kept = self._kept(source, bucket, name)
            except Changed:
                continue  # Somebody moved or replaced one of the two meanwhile: look again.
            self.clients.storage.delete(source.bucket, source.name, source.generation)
            return ObjectVersion(kept.bucket, kept.name, kept.generation)
        raise PassingFailure(f"{source.uri} and gs://{bucket}/{name} change faster than they can be looked at")

    def _kept(self, source: ObjectVersion, bucket: str, name: str) -> StoredObject:
        """The archived copy, made now or found. Raises Changed when what was found does not hold any more."""
        found = self.clients.storage.find(source.bucket, source.name)
        original = found if found and found.generation == source.generation else None
        held = self.clients.storage.find(bucket, name)
        kept_generation = _generation_kept(source, held) if held else None
        if held and kept_generation == source.generation:
            return _verified(held, original)
        if original is None:
            raise _lost(source, found, f"gs://{bucket}/{name}")
        marks = {
            ARCHIVE_MARKER: f"gs://{bucket}/{name}",
            SOURCE: source.uri,
            SOURCE_GENERATION: str(source.generation),
        }
        replaces = held.generation if held else 0
        return _verified(self.clients.storage.copy(original, bucket, name, marks, replaces), original)


def _taken(work: Work, task: str) -> tuple[TakenFile, ...]:
    files = work.files_of(task)
    if not files:
        raise PermanentFailure(f"task '{task}' took no file in batch '{work.batch_id}', so there is none to archive")
    return files


def _places(to: str, work: Work, files: Sequence[tuple[str, TakenFile]]) -> dict[ObjectVersion, tuple[str, str]]:
    """Where each object goes; one that several tasks took goes once, to the place that the first of them says."""
    places: dict[ObjectVersion, tuple[str, str]] = {}
    for task, file in files:
        places.setdefault(file.place, _place(to, work.values, task, file))
    for (bucket, name), count in Counter(places.values()).items():
        if count > 1:
            both = " and ".join(source.uri for source, place in places.items() if place == (bucket, name))
            raise PermanentFailure(f"{both} would both become gs://{bucket}/{name}; make `to` tell them apart")
    return places


def _place(to: str, values: Mapping[str, Value], task: str, file: TakenFile) -> tuple[str, str]:
    bucket, name = place_of(to, values, task, file.landed)
    if f"gs://{bucket}/{name}" == file.place.uri:
        raise PermanentFailure(f"'{file.place.uri}' is where the file lies already; archive it to another place")
    return bucket, name


def _generation_kept(source: ObjectVersion, held: StoredObject) -> int:
    """Which generation of the source the destination holds; raises PermanentFailure when that must stay there."""
    if not is_archived(held.uri, held.metadata) or held.metadata.get(SOURCE) != source.uri:
        owner = held.metadata.get(SOURCE, "something that no task archived")
        raise PermanentFailure(f"{held.uri} (generation {held.generation}) is taken by {owner}; {source.uri} stays")
    kept = int(held.metadata[SOURCE_GENERATION])
    if kept > source.generation:
        raise PermanentFailure(f"{held.uri} keeps generation {kept} of {source.uri}, newer than {source.generation}")
    return kept


def _lost(source: ObjectVersion, found: StoredObject | None, destination: str) -> PermanentFailure:
    if found is None:
        return PermanentFailure(f"{source.uri} is gone and {destination} does not hold it; nothing can be archived")
    return PermanentFailure(
        f"{source.uri} has changed: its generation is {found.generation}, and {source.generation} was to be archived"
    )


def _verified(kept: StoredObject, original: StoredObject | None) -> StoredObject:
    if original and (kept.size, kept.crc32c) != (original.size, original.crc32c):
        raise PermanentFailure(
            f"{kept.uri} (size {kept.size}, crc32c {kept.crc32c}) differs from {original.uri} "
            f"(size {original.size}, crc32c {original.crc32c}); the original stays"
        )
    return kept


def _details(files: Sequence[TakenFile], moved: Sequence[Moved], moved_before: int) -> dict[str, object]:
    new = {one.file_log_id: one.place for one in moved}
    told = [
        {
            "from": file.landed.uri,
            "generation": file.landed.generation,
            "to": new.get(file.file_log_id, file.place).uri,
            "moved": file.file_log_id in new,
        }
        for file in files[:_MOST_TOLD]
    ]
    if not moved_before:
        return {"files": told}
    # Which of them moved in an earlier part of the attempt is not known any more; how many is.
    for one in told:
        del one["moved"]
    return {"moved": moved_before + len(moved), "files": told}
