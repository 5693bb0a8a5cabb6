"""The dependency check: what may start, and what never will, now that something has changed.

It runs inside the transaction that writes the change, in separate statements: the caller has moved the task's own row;
the rows below it are locked, in ascending position and whatever their status; how their parents have ended is counted
in the next statement, which therefore sees everything that the lock has waited for; one guarded statement settles what
follows; the batch is locked last. Locking and counting in one statement, or locking only the rows that wait, loses
children: docs/reliability.md has the figures.

Where a task has many parents, they are not counted each time one of them succeeds: the task remembers one that is open,
and only the end of that one makes anybody look again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from database.dependencies import (
    Locked,
    ParentCounts,
    children_of,
    count_parents,
    lock_children,
    lock_descendants,
    lock_descendants_with_elements,
    lock_tasks,
    lock_with_descendants,
    watch_open_parent,
)
from database.elements import drop_elements, watch_open_element
from database.endings import Ended, finish_mapped
from database.keys import BatchKey, TaskKey
from database.sessions import Transaction
from database.statuses import TERMINAL, SkipCause, Status
from database.transitions import Decisions, end_batch_if_done, forget_watched, reopen_batch, reset, settle
from run.workflows.definition import TriggerRule
from run.workflows.trigger_rules import UNDECIDED_BY_SUCCESS, Verdict, is_failure_to_blame, judge

#: A task of more parents than this remembers an open one; counting so few is cheaper than remembering.
FEW_PARENTS = 16

#: How the attempt of a mapped task ends whose list is read anew.
READ_ANEW = Ended(
    Status.CANCELLED, details={"reason": "its list is read anew, because what it is built on has changed"}
)


@dataclass(frozen=True)
class Elements:
    """Elements of one mapped task, by their numbers."""

    task_id: int
    numbers: Sequence[int]


@dataclass(frozen=True)
class Checked:
    """What a check has decided: the tasks to publish once it is committed, and the batch's outcome if it has ended."""

    released: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    #: Children that were looked at and still wait.
    still_waiting: tuple[int, ...] = ()
    batch_outcome: str | None = None
    #: Elements to publish, beside the tasks.
    elements: tuple[Elements, ...] = ()


def together(*checked: Checked) -> Checked:
    """What several checks of one transaction have decided, of which the last knows how the batch stands."""
    return Checked(
        released=tuple(task_id for one in checked for task_id in one.released),
        skipped=tuple(task_id for one in checked for task_id in one.skipped),
        still_waiting=checked[-1].still_waiting,
        batch_outcome=checked[-1].batch_outcome,
        elements=tuple(elements for one in checked for elements in one.elements),
    )


def check_and_trigger_children(tx: Transaction, key: TaskKey, *, succeeded: bool, may_skip: bool) -> Checked:
    """Judge the children of a task that has just ended in this transaction.

    `may_skip` says that the outcome can make a child SKIPPED, and then its children too, so that all that is below
    the task must be locked, in one statement.
    """
    if may_skip or not succeeded:
        return judge_and_settle(tx, key.batch, lock_descendants(tx, key)[1:])
    children = lock_children(tx, key)
    undecided = _still_watching(tx, key, children)
    return _judge_some(tx, key.batch, children, undecided, only_parent=key.task_id)


def check_task(tx: Transaction, key: TaskKey) -> Checked:
    """Judge a task which no longer lacks something: its file, its retry's moment, the end of its last attempt."""
    return _judge_some(tx, key.batch, lock_tasks(tx, key.batch, [key.task_id]))


def check_with_descendants(tx: Transaction, key: TaskKey) -> Checked:
    """Judge a task that waits anew, and all that is below it, which may be skipped with it."""
    return judge_and_settle(tx, key.batch, lock_descendants(tx, key))


def reset_with_descendants(tx: Transaction, key: TaskKey) -> Checked:
    """Let a task and all that is below it have a new attempt, because what the task reads has changed.

    A task that waits, or has not been claimed yet, is left alone; one that is PROCESSING waits again when its attempt
    ends. An ended batch is open again.
    """
    own, *below = lock_descendants_with_elements(tx, key)
    reset_tasks(tx, key.batch, below if own.status is Status.NEW else [own, *below])
    # The tasks are locked; so the batch may be now, and the check may end it again at once.
    reopen_batch(tx, key.batch)
    return check_with_descendants(tx, key)


def reset_tasks(tx: Transaction, batch: BatchKey, locked: Sequence[Locked]) -> None:
    """Let these tasks, locked with their elements, wait again, or as soon as their attempts end.

    Elements that nobody has begun are dropped. Without one that works, the end of their task's attempt is now.
    """
    reset(tx, batch, [task.task_id for task in locked])
    awaiting = [task for task in locked if task.awaits_elements]
    if not awaiting:
        return
    drop_elements(tx, batch, [task.task_id for task in awaiting])
    for task in awaiting:
        key = TaskKey(batch.workflow_id, batch.batch_id, task.task_id)
        if not watch_open_element(tx, key):
            finish_mapped(tx, key, task.attempt, READ_ANEW)


def _still_watching(tx: Transaction, key: TaskKey, children: Sequence[Locked]) -> set[int]:
    """The children that a success of this task cannot decide, because another of their many parents is open."""
    crowded = [
        child
        for child in children
        if child.status is Status.WAITING and child.parents > FEW_PARENTS and child.rule in UNDECIDED_BY_SUCCESS
    ]
    undecided = {child.task_id for child in crowded if child.waits_on not in (None, key.task_id)}
    to_look_at = [child.task_id for child in crowded if child.task_id not in undecided]
    if not to_look_at:
        return undecided
    return undecided | watch_open_parent(tx, key.batch, crowded[0].version_id, to_look_at)


def _judge_some(
    tx: Transaction,
    batch: BatchKey,
    locked: Sequence[Locked],
    undecided: frozenset[int] | set[int] = frozenset(),
    only_parent: int | None = None,
) -> Checked:
    """Judge locked tasks whose own children are not locked, apart from the `undecided`.

    `only_parent` has just succeeded: for a task that has no other parent, there is nothing to count.
    """
    to_judge = [task for task in _waiting(locked) if task.task_id not in undecided]
    decisions = _decide(tx, batch, to_judge, only_parent)
    if not decisions.skipped:
        return _settle(tx, batch, locked, to_judge, decisions)
    # What nobody could foresee: a person's mark, or another version, lets a success skip a task. What is below it must
    # be judged too. These locks may come out of order; whoever loses a deadlock for that is run again.
    below = lock_with_descendants(tx, batch, list(decisions.skipped))
    known = {task.task_id for task in below}
    everything = sorted([*below, *(task for task in locked if task.task_id not in known)], key=lambda one: one.position)
    return judge_and_settle(tx, batch, everything)


def judge_and_settle(tx: Transaction, batch: BatchKey, locked: Sequence[Locked]) -> Checked:
    """Judge those of the locked tasks that wait, below which everything is locked too; end the batch if it is over."""
    waiting = _waiting(locked)
    return _settle(tx, batch, locked, waiting, _decide(tx, batch, waiting))


def _waiting(locked: Sequence[Locked]) -> list[Locked]:
    return [task for task in locked if task.status is Status.WAITING]


def _settle(
    tx: Transaction, batch: BatchKey, locked: Sequence[Locked], judged: Sequence[Locked], decisions: Decisions
) -> Checked:
    settle(tx, batch, decisions)
    settled = {*decisions.released, *decisions.skipped}
    # The parent that such a task remembers may be the one that has just ended.
    if stale := [task.task_id for task in judged if task.waits_on is not None and task.task_id not in settled]:
        forget_watched(tx, batch, stale)
    still_open = [task for task in locked if task.status not in TERMINAL and task.task_id not in decisions.skipped]
    outcome = None if still_open else end_batch_if_done(tx, batch)
    still_waiting = tuple(task.task_id for task in _waiting(locked) if task.task_id not in settled)
    return Checked(tuple(decisions.released), tuple(decisions.skipped), still_waiting, outcome)


def _decide(tx: Transaction, batch: BatchKey, waiting: Sequence[Locked], only_parent: int | None = None) -> Decisions:
    if not waiting:
        return Decisions()
    version_id = waiting[0].version_id
    counts = _count(tx, batch, waiting, only_parent)
    decisions = Decisions()
    children: dict[int, list[int]] | None = None
    # In ascending position a task is judged after everything that this check may skip above it.
    for task in waiting:
        skipped = _judge(task, counts[task.task_id], decisions)
        if skipped is not None:
            task_ids = [one.task_id for one in waiting]
            children = children_of(tx, version_id, task_ids) if children is None else children
            for child in children.get(task.task_id, ()):
                _count_skipped(counts.get(child), *skipped)
    return decisions


def _count(
    tx: Transaction, batch: BatchKey, waiting: Sequence[Locked], only_parent: int | None
) -> dict[int, ParentCounts]:
    known: dict[int, ParentCounts] = {}
    if only_parent is not None:
        known = {task.task_id: ParentCounts(all=1, succeeded=1, finished=1) for task in waiting if task.parents == 1}
    unknown = [task.task_id for task in waiting if task.task_id not in known]
    if unknown:
        known |= count_parents(tx, batch, waiting[0].version_id, unknown)
    return known


def _judge(task: Locked, parents: ParentCounts, decisions: Decisions) -> tuple[SkipCause, int | None] | None:
    verdict = judge(TriggerRule(task.rule), parents)
    if verdict is Verdict.WAIT:
        return None
    if verdict is Verdict.START and not task.disabled:
        if task.lacks_nothing:
            decisions.released.append(task.task_id)
        return None
    cause = _cause(task, verdict, parents)
    skipped = (cause, parents.culprit if cause is SkipCause.UPSTREAM_FAILED else None)
    decisions.skipped[task.task_id] = skipped
    return skipped


def _cause(task: Locked, verdict: Verdict, parents: ParentCounts) -> SkipCause:
    if verdict is Verdict.START:
        return SkipCause.DISABLED
    return SkipCause.UPSTREAM_FAILED if is_failure_to_blame(TriggerRule(task.rule), parents) else SkipCause.RULE


def _count_skipped(parents: ParentCounts | None, cause: SkipCause, culprit: int | None) -> None:
    if parents is None:
        return
    parents.finished += 1
    if cause is SkipCause.UPSTREAM_FAILED:
        parents.failed += 1
        parents.culprit = culprit if parents.culprit is None else min(parents.culprit, culprit or parents.culprit)
    else:
        parents.skipped += 1
