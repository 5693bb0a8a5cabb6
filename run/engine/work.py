"""What a kind is told about the attempt that it shall make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from database.attempts import Claimed
from database.files import LoggedFile
from run.engine.stored_values import from_json
from run.errors import PermanentFailure
from run.kinds.kind import ObjectVersion, TakenFile, Work
from run.workflows.batch_identity import BatchTemplate
from run.workflows.result_names import item_names_in, item_values, result_names_in, result_values
from run.workflows.scope import text_of_params
from run.workflows.templates import TemplateError, Value


def make_work(
    claimed: Claimed,
    files: Sequence[LoggedFile],
    names: Mapping[str, str],
    is_lost: Callable[[], bool] = lambda: False,
    results: Mapping[str, Any] | None = None,
) -> Work:
    """Everything that the templates and the work of this attempt may refer to.

    Raises PermanentFailure when its configuration names a part of a result, or of an item, that is not there.
    """
    taken = {file.task: _taken(file) for file in files if not file.is_one_of_many}
    found = results or {}
    return Work(
        workflow=claimed.workflow,
        batch_id=claimed.key.batch_id,
        task=claimed.task,
        attempt=claimed.attempt,
        element=claimed.key.element if claimed.key.is_element else None,
        item=claimed.item,
        batch_uid=claimed.batch_uid,
        values={**names, **_values(claimed, taken.get(claimed.task), found)},
        params=claimed.params,
        batch_values=batch_values(claimed),
        files=taken,
        collected=_collected(files),
        results=found,
        timeout_seconds=claimed.timeout_seconds,
        is_lost=is_lost,
    )


def _values(claimed: Claimed, own: TakenFile | None, results: Mapping[str, Any]) -> dict[str, Value]:
    return {
        "workflow": claimed.workflow,
        "task": claimed.task,
        "batch_id": claimed.key.batch_id,
        **text_of_params(claimed.params),
        **({} if own is None else own.groups),
        # Of a date that a file gives in full, the batch keeps what its template shows: all its tasks see the same.
        **batch_values(claimed),
        **_result_values(claimed, results),
        **_values_of_element(claimed),
    }


def batch_values(claimed: Claimed) -> Mapping[str, Value]:
    """The names of the batch id's template with their values."""
    return _batch_values(claimed.batch_template, claimed.key.batch_id)


def _result_values(claimed: Claimed, results: Mapping[str, Any]) -> dict[str, str]:
    if not claimed.reads_results:
        return {}
    try:
        return result_values(result_names_in(claimed.config), results)
    except TemplateError as error:
        raise PermanentFailure(str(error)) from error


def _values_of_element(claimed: Claimed) -> dict[str, Value]:
    if not claimed.key.is_element:
        return {}
    try:
        return {"element": str(claimed.key.element), **item_values(item_names_in(claimed.config), claimed.item)}
    except TemplateError as error:
        raise PermanentFailure(str(error)) from error


def _collected(files: Sequence[LoggedFile]) -> dict[str, tuple[TakenFile, ...]]:
    collected: defaultdict[str, list[TakenFile]] = defaultdict(list)
    for file in files:
        if file.is_one_of_many:
            collected[file.task].append(_taken(file))
    return {task: tuple(found) for task, found in collected.items()}


@lru_cache(maxsize=1000)
def _batch_values(template: str, batch_id: str) -> Mapping[str, Value]:
    return MappingProxyType(_template(template).values_of(batch_id) or {})


@lru_cache(maxsize=1000)
def _template(text: str) -> BatchTemplate:
    return BatchTemplate(text)


def _taken(file: LoggedFile) -> TakenFile:
    return TakenFile(
        file_log_id=file.file_log_id,
        landed=ObjectVersion(file.bucket, file.object, file.generation),
        place=ObjectVersion(file.place_bucket, file.place_object, file.place_generation),
        groups=from_json(file.groups),
        read_by=file.read_by,
    )
