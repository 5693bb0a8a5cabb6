"""Which batch a trigger belongs to, and opening it when it is the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from database.batches import (
    create_batch,
    create_tasks,
    disabled_roots,
    find_batch,
    next_number,
    today,
)
from database.keys import BatchKey, TaskKey
from database.sessions import Transaction
from database.workflows import CurrentVersion
from run.engine.dependency_checker import check_with_descendants
from run.errors import Rejected
from run.workflows.batch_identity import BatchTemplate
from run.workflows.templates import TemplateError, Value

#: What stands for the number while the rest of a batch id is made; `next_number` counts the ids that share the rest.
NO_NUMBER = "000"


@dataclass(frozen=True)
class Joined:
    """The batch that a trigger belongs to, and the tasks that may start because it has just been opened."""

    key: BatchKey
    created: bool
    released: tuple[int, ...] = ()


def join_batch_of_values(
    tx: Transaction, current: CurrentVersion, values: Mapping[str, Value], trigger_key: str, day: date | None = None
) -> Joined:
    """Open or join the batch that these values name; a fresh one is opened once for each `trigger_key`.

    `day` is the UTC day of the trigger, the database's unless given. Raises Rejected when the values cannot name a
    batch of this workflow.
    """
    template = BatchTemplate(current.batch_template)
    named = {"today": day or today(tx), **values}
    if template.is_fresh:
        return _join_fresh(tx, current, template, named, trigger_key)
    return _join(tx, current, _rendered(template, named), current.params, None)


def _join_fresh(
    tx: Transaction, current: CurrentVersion, template: BatchTemplate, named: Mapping[str, Value], trigger_key: str
) -> Joined:
    stem = _rendered(template, {**named, "number": NO_NUMBER})
    while True:
        number = next_number(tx, current.workflow_id, stem, trigger_key)
        if isinstance(number, str):
            return Joined(BatchKey(current.workflow_id, number), created=False)
        batch_id = _rendered(template, {**named, "number": f"{number:03d}"})
        joined = _join(tx, current, batch_id, current.params, trigger_key)
        # Somebody may have opened a batch of this very id by name: then this trigger's own is the next one.
        if joined.created:
            return joined


def join_batch_by_id(tx: Transaction, current: CurrentVersion, batch_id: str, params: Mapping[str, Any]) -> Joined:
    """Open or join the batch of this id.

    Raises Rejected when the id is not one of this workflow's, or the batch was opened with other params.
    """
    key = BatchKey(current.workflow_id, batch_id)
    if find_batch(tx, key) is None:
        if BatchTemplate(current.batch_template).values_of(batch_id) is None:
            raise Rejected(
                f"{batch_id!r} is no batch id of workflow {current.workflow}: its ids are made from "
                f"{current.batch_template!r}"
            )
        joined = _join(tx, current, batch_id, _params(current, params), None)
        if joined.created:
            return joined
    _refuse_other_params(tx, current, key, params)
    return Joined(key, created=False)


def start_fresh_batch(
    tx: Transaction, current: CurrentVersion, params: Mapping[str, Any], trigger_key: str, day: date | None = None
) -> Joined:
    """Open a batch of its own for this trigger, or join the one that it has opened before.

    Raises Rejected when the workflow's batch ids say more than the day and a number.
    """
    template = BatchTemplate(current.batch_template)
    missing = set(template.names) - {"today", "number"}
    if missing or not template.is_fresh:
        raise Rejected(
            f"workflow {current.workflow} needs a batch_id: its ids are made from {current.batch_template!r}"
        )
    wanted = replace(current, params=_params(current, params))
    return join_batch_of_values(tx, wanted, {}, trigger_key, day)


def _join(
    tx: Transaction, current: CurrentVersion, batch_id: str, params: Mapping[str, Any], trigger_key: str | None
) -> Joined:
    key = BatchKey(current.workflow_id, batch_id)
    if not create_batch(tx, key, current.version_id, params, trigger_key):
        return Joined(key, created=False)
    released = create_tasks(tx, key, current.version_id)
    for task_id in disabled_roots(tx, current.version_id):
        released += check_with_descendants(tx, TaskKey(key.workflow_id, key.batch_id, task_id)).released
    return Joined(key, created=True, released=tuple(released))


def _params(current: CurrentVersion, given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(current.params))
    if unknown:
        known = ", ".join(sorted(current.params)) or "none"
        raise Rejected(f"workflow {current.workflow} has no param {unknown[0]!r}; its params are: {known}")
    return {**current.params, **given}


def _refuse_other_params(tx: Transaction, current: CurrentVersion, key: BatchKey, given: Mapping[str, Any]) -> None:
    batch = find_batch(tx, key)
    stored = {} if batch is None else batch.params
    # Only what is asked for is compared: a default that has changed since does not make a known batch another one.
    other = sorted(name for name, value in given.items() if name not in stored or stored[name] != value)
    if other:
        raise Rejected(
            f"batch {key.batch_id} of workflow {current.workflow} has other params: "
            f"{other[0]} is {stored.get(other[0])!r}, not {given[other[0]]!r}"
        )


def _rendered(template: BatchTemplate, values: Mapping[str, Value]) -> str:
    try:
        return template.render(values)
    except TemplateError as error:
        raise Rejected(str(error)) from None
