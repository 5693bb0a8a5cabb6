"""The list of a mapped task, which is part of what a parent has returned, becomes its elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from database.attempts import Claimed
from database.cancellations import return_lost
from database.elements import expand
from database.sessions import Transaction
from run.engine.conditions import skip_unless_needed
from run.engine.dependency_checker import Checked, Elements
from run.engine.elements import end_if_all_have
from run.engine.outcomes import Outcome
from run.engine.results import Results
from run.errors import PermanentFailure
from run.workflows.result_names import described, value_at
from run.workflows.templates import TemplateError

#: The longest list. Each item is a row of its own, and each a message.
MOST_ELEMENTS = 100_000


@dataclass(frozen=True)
class Expands:
    """The list of a mapped task has been read; its elements do the work."""

    items: list[Any]


def is_mapped(claimed: Claimed) -> bool:
    """Whether this is the attempt of a whole mapped task, which only reads its list; nothing is begun outside."""
    return claimed.map is not None and not claimed.key.is_element


def read_list(claimed: Claimed, results: Results) -> Expands | Outcome:
    """The list of a mapped task, or its outcome when its condition is false.

    Raises PermanentFailure when there is no list, and ConditionError.
    """
    over = str((claimed.map or {})["over"])
    reads = {over.split(".", maxsplit=1)[0], *(claimed.reads_results if claimed.condition is not None else ())}
    found = results.of(claimed, reads)
    return skip_unless_needed(claimed, found) or Expands(items_of(over, found))


def items_of(over: str, results: Mapping[str, Any]) -> list[Any]:
    """The list at `PARENT` or `PARENT.key.key` in these results; raises PermanentFailure when there is none."""
    label = f"map over {over}"
    try:
        value, place = value_at(over, results, label)
    except TemplateError as error:
        raise PermanentFailure(str(error)) from error
    if not isinstance(value, list):
        raise PermanentFailure(f"{label}: {place} is no list; it is {described(value)}")
    if len(value) > MOST_ELEMENTS:
        raise PermanentFailure(
            f"{label}: {place} has {len(value):,} items, and {MOST_ELEMENTS:,} are the most; "
            "let each item stand for several"
        )
    return value


def write_elements(tx: Transaction, claimed: Claimed, expands: Expands) -> Checked | None:
    """Give the task its elements, and let it await them; None when the attempt is in other hands."""
    key = claimed.key
    elements = expand(tx, key, claimed.token, expands.items)
    if elements is None:
        return_lost(tx, key, claimed.attempt, claimed.version_id, None)
        return None
    if not elements:
        return end_if_all_have(tx, key)
    return Checked(elements=(Elements(key.task_id, range(elements)),))
