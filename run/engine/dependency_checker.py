"""The dependency check: what may start, and what never will, now that something has changed.

It runs inside the transaction that writes the change, in separate statements: the caller has moved the task's own row;
the rows below it are locked, in ascending position and whatever their status; how their parents have ended is counted
in the next statement, which therefore sees everything that the lock has waited for; one guarded statement settles what
follows; the batch is locked last. Locking and counting in one statement, or locking only the rows that wait, loses
children: docs/reliability.md has the figures.
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
    lock_tasks,
)
from database.keys import BatchKey, TaskKey
from database.sessions import Transaction
from database.statuses import TERMINAL, SkipCause, Status
from database.transitions import Decisions, end_batch_if_done, reopen_batch, reset, settle
from run.engine.trigger_rules import Verdict, judge
from run.workflows.definition import TriggerRule


@dataclass(frozen=True)
class Checked:
    """What a check has decided: the tasks to publish once it is committed, and the batch's outcome if it has ended."""

    released: tuple[int, ...] = ()
    #: Children that were looked at and still wait.
    still_waiting: tuple[int, ...] = ()
    batch_outcome: str | None = None


def check_and_trigger_children(tx: Transaction, key: TaskKey, *, may_skip: bool) -> Checked:
    """Judge the children of a task that has just ended in this transaction.

    `may_skip` says that the outcome can make a child SKIPPED, and then its children too, so that all that is below
    the task must be locked, in one statement.
    """
    below = lock_descendants(tx, key)[1:] if may_skip else lock_children(tx, key)
    return _judge_and_settle(tx, key.batch, below)


def check_task(tx: Transaction, key: TaskKey) -> Checked:
    """Judge a task whose file has arrived."""
    return _judge_and_settle(tx, key.batch, lock_tasks(tx, key.batch, [key.task_id]))


def check_with_descendants(tx: Transaction, key: TaskKey) -> Checked:
    """Judge a task that waits anew, and all that is below it, which may be skipped with it."""
    return _judge_and_settle(tx, key.batch, lock_descendants(tx, key))


def reset_with_descendants(tx: Transaction, key: TaskKey) -> Checked:
    """Let a task and all that is below it have a new attempt, because what the task reads has changed.

    A task that waits, or has not been claimed yet, is left alone; one that is PROCESSING waits again when its attempt
    ends. An ended batch is open again.
    """
    own, *below = lock_descendants(tx, key)
    stale = [task.task_id for task in below]
    if own.status is not Status.NEW:
        stale.append(own.task_id)
    reset(tx, key.batch, stale)
    # The tasks are locked; so the batch may be now, and the check may end it again at once.
    reopen_batch(tx, key.batch)
    return check_with_descendants(tx, key)


def _judge_and_settle(tx: Transaction, batch: BatchKey, locked: Sequence[Locked]) -> Checked:
    waiting = [task for task in locked if task.status is Status.WAITING]
    decisions = _decide(tx, batch, waiting) if waiting else Decisions()
    settle(tx, batch, decisions)
    still_open = [task for task in locked if task.status not in TERMINAL and task.task_id not in decisions.skipped]
    outcome = None if still_open else end_batch_if_done(tx, batch)
    settled = {*decisions.released, *decisions.skipped}
    still_waiting = tuple(task.task_id for task in waiting if task.task_id not in settled)
    return Checked(tuple(decisions.released), still_waiting, outcome)


def _decide(tx: Transaction, batch: BatchKey, waiting: Sequence[Locked]) -> Decisions:
    version_id = waiting[0].version_id
    task_ids = [task.task_id for task in waiting]
    counts = count_parents(tx, batch, version_id, task_ids)
    decisions = Decisions()
    children: dict[int, list[int]] | None = None
    # In ascending position a task is judged after everything that this check may skip above it.
    for task in waiting:
        skipped = _judge(task, counts[task.task_id], decisions)
        if skipped is not None:
            children = children_of(tx, version_id, task_ids) if children is None else children
            for child in children.get(task.task_id, ()):
                _count_skipped(counts.get(child), *skipped)
    return decisions


def _judge(task: Locked, parents: ParentCounts, decisions: Decisions) -> tuple[SkipCause, int | None] | None:
    verdict = judge(TriggerRule(task.rule), parents)
    if verdict is Verdict.WAIT:
        return None
    if verdict is Verdict.START and not task.disabled:
        if not task.awaits_file:
            decisions.released.append(task.task_id)
        return None
    cause = _cause(task, verdict, parents)
    skipped = (cause, parents.culprit if cause is SkipCause.UPSTREAM_FAILED else None)
    decisions.skipped[task.task_id] = skipped
    return skipped


def _cause(task: Locked, verdict: Verdict, parents: ParentCounts) -> SkipCause:
    if verdict is Verdict.START:
        return SkipCause.DISABLED
    # A failure is not to blame where the rule asks for failures.
    blamed = parents.failed > 0 and task.rule != TriggerRule.all_failed
    return SkipCause.UPSTREAM_FAILED if blamed else SkipCause.RULE


def _count_skipped(parents: ParentCounts | None, cause: SkipCause, culprit: int | None) -> None:
    if parents is None:
        return
    parents.finished += 1
    if cause is SkipCause.UPSTREAM_FAILED:
        parents.failed += 1
        parents.culprit = culprit if parents.culprit is None else min(parents.culprit, culprit or parents.culprit)
    else:
        parents.skipped += 1
