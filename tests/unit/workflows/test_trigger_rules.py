"""Trigger rules against brute force: every way in which up to four parents can stand and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import pytest

from run.workflows.definition import TriggerRule
from run.workflows.trigger_rules import STARTS_EARLY, SUCCESS_MAY_SKIP, UNDECIDED_BY_SUCCESS, Verdict, judge

SUCCEEDED, FAILED, SKIPPED, OPEN = "succeeded", "failed", "skipped", "open"
ENDS = (SUCCEEDED, FAILED, SKIPPED)
#: Every way in which up to four parents can stand.
STANDS = [stand for size in (1, 2, 3, 4) for stand in product((*ENDS, OPEN), repeat=size)]

#: What each rule says of parents that have all ended, in its own words.
MET: dict[TriggerRule, Callable[[Sequence[str]], bool]] = {
    TriggerRule.all_success: lambda parents: all(parent == SUCCEEDED for parent in parents),
    TriggerRule.all_done: lambda parents: True,
    TriggerRule.one_success: lambda parents: SUCCEEDED in parents,
    TriggerRule.one_failed: lambda parents: FAILED in parents,
    TriggerRule.none_failed: lambda parents: FAILED not in parents,
    TriggerRule.none_failed_min_one_success: lambda parents: FAILED not in parents and SUCCEEDED in parents,
    TriggerRule.all_failed: lambda parents: all(parent == FAILED for parent in parents),
}
#: The rules that do not wait for the last parent once they are met.
AT_ONCE = (TriggerRule.one_success, TriggerRule.one_failed)
#: What is skipped above alone makes these give up only when all parents have ended: until then it is not known whether
#: a failure is to blame, and the answer must not depend on who ends first.
PATIENT = (TriggerRule.all_success,)


@dataclass
class Counted:
    all: int
    succeeded: int
    failed: int
    skipped: int
    finished: int


def counted(parents: Sequence[str]) -> Counted:
    return Counted(
        len(parents),
        parents.count(SUCCEEDED),
        parents.count(FAILED),
        parents.count(SKIPPED),
        len(parents) - parents.count(OPEN),
    )


def endings(parents: Sequence[str]) -> list[tuple[str, ...]]:
    """Every way in which the open ones among the parents may still end."""
    return list(product(*[ENDS if parent == OPEN else (parent,) for parent in parents]))


def successes() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """How parents stand before and after one of them has succeeded."""
    for before in STANDS:
        for index, parent in enumerate(before):
            if parent == OPEN:
                yield before, (*before[:index], SUCCEEDED, *before[index + 1 :])


@pytest.mark.parametrize("rule", TriggerRule)
def test_a_rule_starts_waits_or_gives_up_exactly_when_brute_force_says_so(rule: TriggerRule) -> None:
    for parents in STANDS:
        possible = [MET[rule](end) for end in endings(parents)]
        if not any(possible) and not (rule in PATIENT and OPEN in parents and FAILED not in parents):
            expected = Verdict.NEVER
        elif OPEN not in parents or (rule in AT_ONCE and MET[rule](parents)):
            expected = Verdict.START
        else:
            expected = Verdict.WAIT
        assert judge(rule, counted(parents)) is expected, (rule, parents)


@pytest.mark.parametrize("rule", TriggerRule)
def test_what_is_decided_stays_so_however_the_open_parents_end(rule: TriggerRule) -> None:
    for parents in STANDS:
        verdict = judge(rule, counted(parents))
        if verdict is not Verdict.WAIT:
            assert {judge(rule, counted(end)) for end in endings(parents)} == {verdict}, (rule, parents)


@pytest.mark.parametrize("rule", TriggerRule)
def test_when_all_parents_have_ended_nothing_waits(rule: TriggerRule) -> None:
    verdicts = {judge(rule, counted(parents)) for parents in STANDS if OPEN not in parents}
    assert Verdict.WAIT not in verdicts


def test_the_rules_that_a_success_can_make_impossible_are_known() -> None:
    # Nobody is skipped here: what a skip above may do is another question.
    found = {
        rule
        for rule in TriggerRule
        for before, after in successes()
        if SKIPPED not in before
        and judge(rule, counted(before)) is Verdict.WAIT
        and judge(rule, counted(after)) is Verdict.NEVER
    }
    assert found == SUCCESS_MAY_SKIP


def test_the_rules_that_a_success_decides_while_another_parent_is_open_are_known() -> None:
    found = {
        rule
        for rule in TriggerRule
        for before, after in successes()
        if OPEN in after
        and judge(rule, counted(before)) is Verdict.WAIT
        and judge(rule, counted(after)) is not Verdict.WAIT
    }
    assert found == set(TriggerRule) - UNDECIDED_BY_SUCCESS


def test_the_rules_that_start_a_task_while_a_parent_is_open_are_known() -> None:
    starts = {rule for rule in TriggerRule for parents in STANDS if judge(rule, counted(parents)) is Verdict.START}
    assert starts == set(TriggerRule)
    early = [parents for parents in STANDS if OPEN in parents]
    assert {rule for rule in TriggerRule for one in early if judge(rule, counted(one)) is Verdict.START} == STARTS_EARLY


@pytest.mark.parametrize("rule", TriggerRule)
def test_a_task_without_parents_starts(rule: TriggerRule) -> None:
    assert judge(rule, counted(())) is Verdict.START
