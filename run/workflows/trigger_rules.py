"""Trigger rules: when a task may start, as one pure function of how its parents have ended."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol, assert_never

from run.workflows.definition import TriggerRule


class Verdict(Enum):
    """What a trigger rule says now."""

    #: It can still become true.
    WAIT = auto()
    #: It is true.
    START = auto()
    #: It can never become true any more.
    NEVER = auto()


class Counts(Protocol):
    """How many parents there are, and how many of them have ended in which way; `failed` and `skipped` are disjoint."""

    all: int
    succeeded: int
    failed: int
    skipped: int
    finished: int


#: The rules that the success of a parent can make impossible.
SUCCESS_MAY_SKIP = frozenset({TriggerRule.one_failed, TriggerRule.all_failed})

#: The rules that the success of one parent cannot decide as long as another one is open.
UNDECIDED_BY_SUCCESS = frozenset(TriggerRule) - {TriggerRule.one_success, TriggerRule.all_failed}

#: The rules that can let a task start while some of its parents are open.
STARTS_EARLY = frozenset({TriggerRule.one_success, TriggerRule.one_failed})


def judge(rule: TriggerRule, parents: Counts) -> Verdict:  # noqa: C901, PLR0911 - one line a rule
    """Say what the rule means for a task whose parents stand like this; a task without parents starts."""
    if parents.all == 0:
        return Verdict.START
    done = parents.finished == parents.all
    match rule:
        case TriggerRule.all_success:
            # A skipped parent alone decides nothing until all have ended: who is to blame must not depend on the order.
            never = parents.failed > 0 or (done and parents.skipped > 0)
            return _decide(start=parents.succeeded == parents.all, never=never)
        case TriggerRule.all_done:
            return _decide(start=done, never=False)
        case TriggerRule.one_success:
            return _decide(start=parents.succeeded > 0, never=done)
        case TriggerRule.one_failed:
            return _decide(start=parents.failed > 0, never=done)
        case TriggerRule.none_failed:
            return _decide(start=done and parents.failed == 0, never=parents.failed > 0)
        case TriggerRule.none_failed_min_one_success:
            one_success = parents.failed == 0 and parents.succeeded > 0
            return _decide(start=done and one_success, never=parents.failed > 0 or (done and not one_success))
        case TriggerRule.all_failed:
            return _decide(start=parents.failed == parents.all, never=parents.succeeded + parents.skipped > 0)
        case _:
            assert_never(rule)


def is_failure_to_blame(rule: TriggerRule, parents: Counts) -> bool:
    """Whether a task that its rule never lets start is skipped because of a failure, and not because of the rule."""
    # A failure is not to blame where the rule asks for failures.
    return parents.failed > 0 and rule is not TriggerRule.all_failed


def _decide(*, start: bool, never: bool) -> Verdict:
    if start:
        return Verdict.START
    return Verdict.NEVER if never else Verdict.WAIT
