"""Random workflows, and what each of their tasks must come to, whatever happens on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

from run.workflows.definition import TriggerRule
from run.workflows.trigger_rules import STARTS_EARLY
from tests.faults.chaos.plan import Plan
from tests.faults.chaos.shapes import chain, diamonds, fan, join, layers


class Outcome(StrEnum):
    """What a task comes to."""

    SUCCESS = "SUCCESS"
    #: It fails, as ordered, and may.
    ERROR = "ERROR"
    #: Its rule can never be met, and a failure is to blame: what is below sees a failure.
    SKIPPED_BY_FAILURE = "SKIPPED:upstream_failed"
    #: Its rule can never be met, and nobody is to blame.
    SKIPPED_BY_RULE = "SKIPPED:rule"


#: For each kind, how long its work lasts at most, and after how many seconds a job is asked for again: the short jobs
#: end while their message is under way, the long ones are let go of, at once or after having been asked for.
LASTING = {
    # One in thirty outlasts its lease, which must be renewed.
    "chaos_plain": [*[(0.3, 0.0)] * 29, (8.0, 0.0)],
    "chaos_file": [(0.3, 0.0)],
    "chaos_job": [(0.3, 0.1), (0.3, 0.1), (6.0, 5.0), (6.0, 5.0), (3.0, 2.0)],
    "chaos_outside": [(2.0, 0.0)],
}

#: A workflow whose tasks do nothing for a while, so that whoever is killed meanwhile has some in its hands.
SLEEPERS = "sleepers"
NUMBER_OF_SLEEPERS = 2
SLEEP_SECONDS = 4.0

FAILED = (Outcome.ERROR, Outcome.SKIPPED_BY_FAILURE)
RUNS = (Outcome.SUCCESS, Outcome.ERROR)

#: The kinds whose tasks may be mapped, and how many elements those have.
MAPPED_KINDS = ("chaos_plain", "chaos_job", "chaos_outside")
LENGTHS = (0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 12)


@dataclass(frozen=True)
class DrawnTask:
    """One task, or one element of a mapped task: what it is ordered to do, and what it must come to."""

    name: str
    kind: str
    needs: tuple[str, ...]
    rule: TriggerRule
    seconds: float
    #: How many of its attempts fail before one succeeds.
    failures: int
    outcome: Outcome
    poll_after: float
    #: For work that is handed over: whether the first message comes before that, and how many there are of each.
    is_told_early: bool = False
    told_times: int = 1
    #: Whether the outside world has no time for it at first.
    is_refused: bool = False
    #: Whether an attempt that is to fail never ends instead, so that it must be timed out and cancelled.
    hangs: bool = False
    #: For a mapped task: the parent that returns its list, its elements, whose orders are the items, and how many of
    #: those may fail. Its own orders do not count.
    over: str | None = None
    elements: tuple[DrawnTask, ...] = ()
    max_failures: int = 0

    @property
    def attempts(self) -> int:
        """How many attempts it must have had in the end, at least: one that may time out may do so again."""
        if self.outcome is Outcome.SUCCESS:
            return self.failures + 1
        return 1 if self.outcome is Outcome.ERROR else 0

    @property
    def retries(self) -> int:
        """How many retries it needs, and each of its elements."""
        return max((element.failures for element in self.elements), default=self.failures)

    @property
    def orders(self) -> dict[str, Any]:
        """What its kind is told to do."""
        return {
            "seconds": self.seconds,
            "failures": self.failures,
            "broken": self.outcome is Outcome.ERROR,
            "poll_after": self.poll_after,
            "busy": self.is_refused,
            "hangs": self.hangs,
        }


@dataclass(frozen=True)
class DrawnWorkflow:
    """A workflow; its tasks are in topological order."""

    name: str
    tasks: tuple[DrawnTask, ...]

    def task(self, name: str) -> DrawnTask:
        """The task of this name."""
        return next(task for task in self.tasks if task.name == name)

    def lists_of(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """What the task of this name returns for those that are mapped over it: the orders of their elements."""
        return {task.name: [one.orders for one in task.elements] for task in self.tasks if task.over == name}

    @property
    def file_tasks(self) -> list[str]:
        """The names of the tasks that wait for a file."""
        return [task.name for task in self.tasks if task.kind == "chaos_file"]


def draw_workflow(random: Random, name: str, plan: Plan) -> DrawnWorkflow:
    """Draw a workflow whose tasks are of the kinds that the plan weighs."""
    needs = random.choice((chain, diamonds, fan, join, layers, layers))(random)
    tasks: dict[str, DrawnTask] = {}
    for task, parents in needs.items():
        tasks[task] = _draw_task(random, task, [tasks[parent] for parent in parents], plan)
    return DrawnWorkflow(name, tuple(tasks.values()))


def make_sleepers() -> DrawnWorkflow:
    """The workflow SLEEPERS."""
    rule = TriggerRule.all_success
    tasks = [
        DrawnTask(f"s{number}", "chaos_plain", (), rule, SLEEP_SECONDS, 0, Outcome.SUCCESS, poll_after=0.0)
        for number in range(NUMBER_OF_SLEEPERS)
    ]
    return DrawnWorkflow(SLEEPERS, tuple(tasks))


def _draw_task(random: Random, name: str, parents: list[DrawnTask], plan: Plan) -> DrawnTask:
    task = _draw_single_task(random, name, parents, plan)
    lists = [parent.name for parent in parents if parent.outcome is Outcome.SUCCESS and parent.over is None]
    # Without waiting for all its parents, a task may not be mapped: its list might not be there yet.
    can_be_mapped = task.kind in MAPPED_KINDS and task.outcome in RUNS and task.rule not in STARTS_EARLY
    if can_be_mapped and lists and random.random() < plan.mapped:
        return _mapped(random, task, random.choice(lists), plan)
    return task


def _draw_single_task(random: Random, name: str, parents: list[DrawnTask], plan: Plan) -> DrawnTask:
    rule, outcome = _draw_rule(random, parents)
    possible = {kind: weight for kind, weight in plan.kinds.items() if not (parents and kind == "chaos_file")}
    kind = random.choices(list(possible), list(possible.values()))[0]
    if outcome is Outcome.SUCCESS and kind == "chaos_plain" and random.random() < 0.06:
        outcome = Outcome.ERROR
    fails = outcome is Outcome.SUCCESS and random.random() < 0.15
    hangs = outcome is Outcome.SUCCESS and kind == "chaos_job" and random.random() < 0.08
    longest, poll_after = (0.0, random.choice((0.5, 5.0))) if hangs else random.choice(LASTING[kind])
    return DrawnTask(
        name=name,
        kind=kind,
        needs=tuple(parent.name for parent in parents),
        rule=rule,
        seconds=round(random.random() ** 2 * longest, 3),
        failures=1 if hangs else random.randint(1, 2) if fails else 0,
        outcome=outcome,
        poll_after=poll_after,
        is_told_early=kind == "chaos_outside" and outcome is Outcome.SUCCESS and random.random() < 0.3,
        told_times=random.choice((1, 1, 2)),
        is_refused=random.random() < plan.refusals,
        hangs=hangs,
    )


def _mapped(random: Random, task: DrawnTask, over: str, plan: Plan) -> DrawnTask:
    """The same task, mapped over a list that this parent returns."""
    retries = 1 if task.hangs else random.choice((0, 1, 2))
    elements = tuple(_draw_element(random, task, retries, plan) for _ in range(random.choice(LENGTHS)))
    max_failures = random.choice((0, 0, 1, 2))
    failed = sum(element.outcome is Outcome.ERROR for element in elements)
    return replace(
        task,
        failures=0,
        outcome=Outcome.SUCCESS if failed <= max_failures else Outcome.ERROR,
        is_told_early=False,
        over=over,
        elements=elements,
        max_failures=max_failures,
    )


def _draw_element(random: Random, task: DrawnTask, retries: int, plan: Plan) -> DrawnTask:
    # Whatever may hang has a short timeout, and its elements with it.
    longest, poll_after = (0.0, task.poll_after) if task.hangs else random.choice(LASTING[task.kind])
    outcome = Outcome.ERROR if random.random() < 0.08 else Outcome.SUCCESS
    failures = random.choice((0, 0, retries))
    if outcome is Outcome.ERROR:
        # An outside system cannot say that another attempt is in vain: each of them fails.
        failures = retries if task.kind == "chaos_outside" else 0
    return replace(
        task,
        seconds=round(random.random() ** 2 * longest, 3),
        failures=failures,
        outcome=outcome,
        poll_after=poll_after,
        is_told_early=task.kind == "chaos_outside" and random.random() < 0.3,
        told_times=random.choice((1, 1, 2)),
        is_refused=random.random() < plan.refusals,
    )


def _draw_rule(random: Random, parents: list[DrawnTask]) -> tuple[TriggerRule, Outcome]:
    """A rule, and what it means: seldom that the task is skipped, so that most of a graph does something."""
    outcomes = [parent.outcome for parent in parents]
    rule = TriggerRule.all_success if random.random() < 0.4 else random.choice(list(TriggerRule))
    if _outcome_of(rule, outcomes) is not Outcome.SUCCESS and random.random() < 0.8:
        fitting = [rule for rule in TriggerRule if _outcome_of(rule, outcomes) is Outcome.SUCCESS]
        rule = random.choice(fitting)
    return rule, _outcome_of(rule, outcomes)


def _outcome_of(rule: TriggerRule, parents: list[Outcome]) -> Outcome:
    """What a rule says once all parents have ended, written apart from the engine's own."""
    count = Counter("failed" if outcome in FAILED else outcome.partition(":")[0] for outcome in parents)
    succeeded, failed, everybody = count["SUCCESS"], count["failed"], len(parents)
    starts = (
        not parents
        or {
            TriggerRule.all_success: succeeded == everybody,
            TriggerRule.all_done: True,
            TriggerRule.one_success: succeeded > 0,
            TriggerRule.one_failed: failed > 0,
            TriggerRule.none_failed: failed == 0,
            TriggerRule.none_failed_min_one_success: failed == 0 and succeeded > 0,
            TriggerRule.all_failed: failed == everybody,
        }[rule]
    )
    if starts:
        return Outcome.SUCCESS
    blamed = failed > 0 and rule is not TriggerRule.all_failed
    return Outcome.SKIPPED_BY_FAILURE if blamed else Outcome.SKIPPED_BY_RULE
