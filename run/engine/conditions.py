"""Whether an attempt has anything to do: the condition of its task, asked before its work begins."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from database.attempts import Claimed
from database.statuses import SkipCause
from run.engine.outcomes import Outcome, skipped
from run.engine.work import batch_values
from run.workflows.conditions import Condition


def skip_unless_needed(claimed: Claimed, results: Mapping[str, Any]) -> Outcome | None:
    """The outcome of an attempt whose condition is false; None when its work is to be done, or has been begun.

    Of a mapped task it is asked once, before its list is read, and not of every element.

    Raises ConditionError, which is an error of the task and never false, when the condition cannot be evaluated.
    """
    if claimed.condition is None or claimed.handle is not None or claimed.key.is_element:
        return None
    condition = _condition(claimed.condition)
    names = {"batch_id": claimed.key.batch_id, **batch_values(claimed)}
    if condition.holds(claimed.params, results, names):
        return None
    return skipped(SkipCause.BRANCH, condition.not_met)


@lru_cache(maxsize=1000)
def _condition(text: str) -> Condition:
    return Condition(text)
