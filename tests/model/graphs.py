"""Random workflows, small ones first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from run.workflows.definition import TriggerRule
from tests.model.model import Plan, Plans

MOST_TASKS = 30
#: So many parents that a task remembers an open one instead of counting them.
CROWD = 18

RARELY = st.sampled_from([False] * 7 + [True])
OFTEN = st.sampled_from([True] * 3 + [False])
#: Most tasks have nothing special about them, so that something else happens than skips.
RULES = st.just(TriggerRule.all_success) | st.sampled_from(TriggerRule)
SPECIAL: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}] * 8
    + [{"is_external": True}] * 4
    + [{"wants_file": True}] * 2
    + [{"disabled": True}, {"wants_file": True, "is_external": True}, {"is_unknown": True}]
)


@st.composite
def task_plans(draw: st.DrawFn, name: str, above: tuple[str, ...]) -> Plan:
    """A task below some of these, most likely below the last ones."""
    parents: list[str] = []
    has_parents = draw(OFTEN)
    if above and has_parents:
        near = st.sampled_from(above[-3:]) | st.sampled_from(above)
        parents = draw(st.lists(near, min_size=1, max_size=3, unique=True))
    plan = Plan(
        name=name,
        parents=tuple(sorted(parents, key=above.index)),
        rule=draw(RULES),
        allow_failure=draw(RARELY),
        retries=draw(st.sampled_from([0, 0, 1, 2])),
        max_takeovers=draw(st.sampled_from([3, 3, 1, 2])),
        timeout=draw(st.sampled_from([None, None, 900, 5000, 30 * 24 * 3600])),
    )
    return replace(plan, **draw(SPECIAL))


@st.composite
def workflows(draw: st.DrawFn) -> Plans:
    """Up to thirty tasks; sometimes one of the last waits for a crowd."""
    crowd = CROWD if draw(RARELY) else 0
    small = st.integers(2, 6)
    size = draw(small | small | st.integers(1, MOST_TASKS - (crowd + 2 if crowd else 0)))
    plans = [Plan(f"c{number:02d}") for number in range(crowd)]
    for number in range(size):
        above = tuple(plan.name for plan in plans[crowd:])
        plans.append(draw(task_plans(f"t{number:02d}", above)))
    if crowd:
        plans.append(Plan("crowded", tuple(plan.name for plan in plans), draw(RULES)))
        plans.append(Plan("last", ("crowded",)))
    return tuple(plans)


@st.composite
def newer_versions(draw: st.DrawFn, before: Plans) -> Plans:
    """The same workflow with a task changed, without one, and with one more."""
    plans = list(before)
    if draw(st.booleans()) and len(plans) > 1:
        gone = draw(st.sampled_from([plan.name for plan in plans]))
        plans = [
            replace(plan, parents=tuple(name for name in plan.parents if name != gone))
            for plan in plans
            if plan.name != gone
        ]
    if draw(st.booleans()):
        index = draw(st.integers(0, len(plans) - 1))
        above = tuple(plan.name for plan in plans[:index])
        other_work = st.just(replace(plans[index], note=plans[index].note + "changed"))
        plans[index] = draw(other_work | task_plans(plans[index].name, above))
    if draw(st.booleans()):
        number = draw(st.integers(0, 99))
        if not any(plan.name == f"n{number:02d}" for plan in plans):
            index = draw(st.integers(0, len(plans)))
            plans.insert(index, draw(task_plans(f"n{number:02d}", tuple(plan.name for plan in plans[:index]))))
    return tuple(plans)
