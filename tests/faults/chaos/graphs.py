"""Random workflows, and what each of their tasks must come to, whatever happens on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from run.workflows.definition import TriggerRule

Needs = dict[str, tuple[str, ...]]


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


@dataclass(frozen=True)
class DrawnTask:
    """One task: what it is ordered to do, and what it must come to."""

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

    @property
    def attempts(self) -> int:
        """How many attempts it must have had in the end, at least: one that may time out may do so again."""
        if self.outcome is Outcome.SUCCESS:
            return self.failures + 1
        return 1 if self.outcome is Outcome.ERROR else 0


@dataclass(frozen=True)
class DrawnWorkflow:
    """A workflow; its tasks are in topological order."""

    name: str
    tasks: tuple[DrawnTask, ...]

    def task(self, name: str) -> DrawnTask:
        """The task of this name."""
        return next(task for task in self.tasks if task.name == name)

    @property
    def file_tasks(self) -> list[str]:
        """The names of the tasks that wait for a file."""
        return [task.name for task in self.tasks if task.kind == "chaos_file"]


def draw_workflow(random: Random, name: str, kinds: Mapping[str, int], refusals: float) -> DrawnWorkflow:
    """Draw a workflow of tasks of these kinds, which are weighted; this share of them is refused at first."""
    needs = random.choice((_chain, _diamonds, _fan, _join, _layers, _layers))(random)
    tasks: dict[str, DrawnTask] = {}
    for task, parents in needs.items():
        tasks[task] = _draw_task(random, task, [tasks[parent] for parent in parents], kinds, refusals)
    return DrawnWorkflow(name, tuple(tasks.values()))


def make_sleepers() -> DrawnWorkflow:
    """The workflow SLEEPERS."""
    rule = TriggerRule.all_success
    tasks = [
        DrawnTask(f"s{number}", "chaos_plain", (), rule, SLEEP_SECONDS, 0, Outcome.SUCCESS, poll_after=0.0)
        for number in range(NUMBER_OF_SLEEPERS)
    ]
    return DrawnWorkflow(SLEEPERS, tuple(tasks))


def _draw_task(
    random: Random, name: str, parents: list[DrawnTask], kinds: Mapping[str, int], refusals: float
) -> DrawnTask:
    rule, outcome = _draw_rule(random, parents)
    possible = {kind: weight for kind, weight in kinds.items() if not (parents and kind == "chaos_file")}
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
        is_refused=random.random() < refusals,
        hangs=hangs,
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


def _chain(random: Random) -> Needs:
    return {f"t{number}": (f"t{number - 1}",) if number else () for number in range(random.randint(2, 8))}


def _diamonds(random: Random) -> Needs:
    """Diamonds on top of each other."""
    needs: Needs = {"top": ()}
    last = "top"
    for number in range(random.randint(1, 3)):
        sides = [f"d{number}_{side}" for side in range(random.randint(2, 4))]
        needs |= dict.fromkeys(sides, (last,))
        last = f"d{number}_end"
        needs[last] = tuple(sides)
    return needs


def _fan(random: Random) -> Needs:
    """One, many, one."""
    middle = [f"m{number}" for number in range(random.randint(5, 25))]
    return {"first": (), **dict.fromkeys(middle, ("first",)), "last": tuple(middle)}


def _join(random: Random) -> Needs:
    """Many roots and one child, which they may all finish for at the same moment."""
    roots = [f"r{number}" for number in range(random.randint(2, 8))]
    return {**dict.fromkeys(roots, ()), "joined": tuple(roots), "after": ("joined",)}


def _layers(random: Random) -> Needs:
    """Layers, each task of which needs some tasks of those before."""
    needs: Needs = {}
    for layer in range(random.randint(2, 5)):
        above = list(needs)
        for number in range(random.randint(1, 5)):
            parents = random.sample(above, random.randint(1, min(4, len(above)))) if above else []
            needs[f"l{layer}_{number}"] = tuple(sorted(parents, key=above.index))
    return needs
