"""`convert_file`: a raw file that keeps its contract becomes Parquet, for other tasks to load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from run.clients.storage import Changed, StoredObject
from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.files.outcome import PARQUET
from run.kinds.checked_file import CheckedFile, FileCheck, answering, refuse_lost
from run.kinds.child_process import TIMEOUT_SECONDS
from run.kinds.contract import ContractConfig, contract_problems
from run.kinds.kind import Finished, Kind, ObjectVersion, Work
from run.kinds.object_places import place_of, problems_of_place
from run.kinds.sources import SOURCE_KEY
from run.workflows.scope import Scope

#: Custom metadata of what was converted: the task and the attempt that made it, and what it comes from.
MAKER = "cloud-accelerator-made-by"
KEY = "cloud-accelerator-key"
ROWS = "cloud-accelerator-rows"
_SOURCE = "cloud-accelerator-source"
_SOURCE_GENERATION = "cloud-accelerator-source-generation"
_LOOKS = 3
_TYPE = "application/vnd.apache.parquet"


class ConvertFileConfig(ContractConfig):
    """The keys of a `convert_file` task; `to` may use file_task, file_name, file_stem and generation of the file."""

    to: str = "gs://{landing_bucket}/processed/{workflow}/{batch_id}/{task}/{file_stem}.parquet"


class ConvertFile(Kind[ConvertFileConfig]):
    """Writes the checked rows as one Parquet object under preconditions; a second worker of the attempt adopts it."""

    name = "convert_file"
    config = ConvertFileConfig
    takes_file = True
    source_key = SOURCE_KEY
    makes_file = True
    timeout_seconds = TIMEOUT_SECONDS

    def problems(self, config: ConvertFileConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        yield from contract_problems(config, scope)
        example = "gs://{landing_bucket}/processed/{workflow}/{batch_id}/{file_stem}.parquet"
        for reason in problems_of_place(config.to, scope, example):
            yield "to", reason

    def start(self, config: ConvertFileConfig, work: Work) -> Finished:
        """Check and convert the file; what another worker of the attempt has written already is left as it is."""
        file = work.source(config.source)
        to = place_of(config.to, work.values, config.source or work.task, file.landed)
        if f"gs://{to[0]}/{to[1]}" == file.place.uri:
            raise PermanentFailure(f"'{file.place.uri}' is where the file itself lies; convert it to another place")
        with answering():
            held = self.clients.storage.find(*to)
        if held is not None and held.metadata.get(KEY) == work.key:
            return _finished(held, {"source": file.place.uri, "generation": file.place.generation})
        _replaceable(held, work)
        with TemporaryDirectory() as folder:
            checked = FileCheck(self.clients.storage, config, work, Path(folder)).run(writes=True)
            written = self._written(Path(folder) / PARQUET, checked, to, work)
        return _finished(written, checked.details)

    def _written(self, parquet: Path, checked: CheckedFile, to: tuple[str, str], work: Work) -> StoredObject:
        marks = {
            MAKER: _maker(work),
            KEY: work.key,
            ROWS: str(checked.details["rows"]),
            _SOURCE: checked.stored.uri,
            _SOURCE_GENERATION: str(checked.stored.generation),
        }
        for _ in range(_LOOKS):
            with answering():
                held = self.clients.storage.find(*to)
            if held is not None and held.metadata.get(KEY) == work.key:
                return held
            refuse_lost(work)
            try:
                return self.clients.storage.write(parquet, *to, _TYPE, marks, _replaceable(held, work))
            except Changed:
                continue  # Another worker, or this one whose answer was lost: look again.
            except PassingFailure as failure:
                raise Unavailable(str(failure)) from failure
        raise Unavailable(f"gs://{'/'.join(to)} changes faster than it can be looked at")


def _maker(work: Work) -> str:
    return f"{work.workflow}/{work.batch_id}/{work.task}"


def _replaceable(held: StoredObject | None, work: Work) -> int:
    """The generation to replace, 0 for none; raises PermanentFailure when what is there must stay."""
    if held is None:
        return 0
    maker, key = held.metadata.get(MAKER), held.metadata.get(KEY, "")
    if maker != _maker(work):
        owner = f"the task {maker}" if maker else "something that no task converted"
        raise PermanentFailure(f"{held.uri} (generation {held.generation}) is taken by {owner}")
    # This worker may have slept while another attempt did its work.
    same_task, _, attempt = key.rpartition("/")
    if same_task == work.key.rpartition("/")[0] and int(attempt) > work.attempt:
        raise PermanentFailure(f"{held.uri} was made by attempt {attempt}, which is later than this one")
    return held.generation


def _finished(made: StoredObject, details: Mapping[str, Any]) -> Finished:
    found = {"destination": made.uri, "rows": int(made.metadata[ROWS]), "bytes": made.size}
    return Finished({**details, **found}, made=ObjectVersion(made.bucket, made.name, made.generation))
