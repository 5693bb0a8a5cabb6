"""Has a child process check the file of a task, and reports what is wrong with it beside the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run.clients.storage import Changed, Storage, StoredObject
from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.files.outcome import ERRORS
from run.kinds.child_process import MIB, Limits, run_child
from run.kinds.contract import ContractConfig
from run.kinds.kind import TakenFile, Work
from run.kinds.own_objects import REPORT_MARKER, is_ours
from run.kinds.taken_object import current_object

#: A push lasts at most 600 seconds (https://docs.cloud.google.com/pubsub/docs/push#receive_push), some of which the
#: rest of the attempt needs: it waits for its turn, and writes what it has made. How long the attempt lasts is another
#: question: of many files that come at once, most wait for their turn.
_MOST_SECONDS = 540
_CHECK = "run.files.checking:check"
_LOOKS = 3
_OUTCOMES = {
    "broken": "breaks its contract",
    "drifted": "has drifted from its contract",
    "unreadable": "cannot be read",
}


@contextmanager
def answering() -> Iterator[None]:
    """Let an attempt go on later when Cloud Storage does not answer, or what was looked at changes meanwhile."""
    try:
        yield
    except (PassingFailure, Changed) as error:
        raise Unavailable(str(error)) from error


@dataclass(frozen=True)
class CheckedFile:
    """A file that keeps its contract, and what the check has found out."""

    file: TakenFile
    stored: StoredObject
    details: Mapping[str, Any]


@dataclass(frozen=True)
class FileCheck:
    """The check of the file of one attempt, in a folder of its own."""

    storage: Storage
    config: ContractConfig
    work: Work
    folder: Path

    def run(self, *, writes: bool) -> CheckedFile:
        """Check the file and, if asked for, leave it as Parquet in the folder.

        Raises PermanentFailure, with the first errors in its details and all of them in a file beside the file, when
        it breaks its contract.
        """
        file = self.work.source(self.config.source)
        stored = current_object(self.storage, file.place, "checked")
        memory = self.config.memory_mib * MIB
        ended = run_child(
            _CHECK,
            {
                "contract": self.config.contract_of(file.landed).model_dump(mode="json"),
                "memory": memory,
                "writes": writes,
            },
            self.folder,
            Limits(memory, _MOST_SECONDS),
            feed=self._pieces(stored),
            is_lost=self.work.is_lost,
        )
        found = dict(ended.result)
        details = {"source": stored.uri, "generation": stored.generation, **found, "peak_mib": ended.peak // MIB}
        if found["outcome"] == "sound":
            self._take_away_report(stored)
            return CheckedFile(file, stored, details)
        details |= self._report(stored)
        raise PermanentFailure(_message(stored, details), details)

    def _pieces(self, stored: StoredObject) -> Iterator[bytes]:
        with answering():
            yield from self.storage.read(stored)

    def _report(self, stored: StoredObject) -> dict[str, str]:
        """Write all errors beside the file; that this is not possible must not hide the errors."""
        errors = self.folder / ERRORS
        if not errors.exists():
            return {}
        try:
            return {"errors_file": self._written_report(errors, stored).uri}
        except PermanentFailure as failure:
            return {"errors_file_problem": str(failure)}

    def _written_report(self, errors: Path, stored: StoredObject) -> StoredObject:
        name = f"{stored.name}.{ERRORS}"
        uri = f"gs://{stored.bucket}/{name}"
        for _ in range(_LOOKS):
            with answering():
                held = self.storage.find(stored.bucket, name)
            if held is not None and not is_ours(held.uri, held.metadata):
                raise PermanentFailure(f"{uri} is there already and none of our reports; it stays")
            replaces = held.generation if held else 0
            refuse_lost(self.work)
            try:
                return self.storage.write(errors, stored.bucket, name, "text/csv", {REPORT_MARKER: uri}, replaces)
            except Changed:
                continue  # Somebody else has written it meanwhile: look again.
            except PassingFailure as failure:
                raise Unavailable(str(failure)) from failure
        raise Unavailable(f"{uri} changes faster than it can be looked at")

    def _take_away_report(self, stored: StoredObject) -> None:
        # It tells of a generation that was there before.
        with answering():
            held = self.storage.find(stored.bucket, f"{stored.name}.{ERRORS}")
            refuse_lost(self.work)
            if held is not None and is_ours(held.uri, held.metadata):
                self.storage.delete(held.bucket, held.name, held.generation)


def refuse_lost(work: Work) -> None:
    """Raise Unavailable when nobody wants what this worker is about to write."""
    if work.is_lost():
        raise Unavailable("the attempt was taken away")


def _message(stored: StoredObject, details: Mapping[str, Any]) -> str:
    reasons = list(details["reasons"])
    first = next(iter(details.get("first_errors", ())), None)
    if first is not None:
        count = details["errors"]
        reasons.append(f"{count} {'error' if count == 1 else 'errors'}, the first {_words(first)}")
    text = f"{stored.uri} {_OUTCOMES[details['outcome']]}: {'; '.join(reasons)}"
    return f"{text}; all of them are in {details['errors_file']}" if "errors_file" in details else text


def _words(error: Mapping[str, Any]) -> str:
    if error["line"] is None:
        return str(error["reason"])
    place = f"on line {error['line']}"
    if error["column"] is None:
        return f"{place}: the row {error['reason']}"
    value = "" if error["value"] is None else f"{error['value']!r} "
    return f"{place} in column '{error['column']}': {value}{error['reason']}"
