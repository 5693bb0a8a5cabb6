"""The model's judgement: when a task may start, when it never will, and how a batch ends.

It looks at every task after every change, and is slow and plain for that.
"""

from __future__ import annotations

from collections.abc import Sequence

from database.statuses import BatchStatus, SkipCause, Status
from run.workflows.definition import TriggerRule
from tests.model.model import Batch, Model, Task, exactly

#: In seconds: how long a message may be on its way before the sweep sends it again; doubled each time.
FIRST_REPUBLISH = 60
LONGEST_REPUBLISH = 1800


def open_batch(model: Model, name: str) -> None:
    """Open a batch of the newest version; one that is there is joined."""
    if name in model.batches:
        return
    plans = model.versions[-1]
    tasks = {plan.name: Task(plan, lacks_file=plan.wants_file) for plan in plans}
    model.batches[name] = batch = Batch(name, len(model.versions), plans, tasks)
    settle(model, batch)


def settle(model: Model, batch: Batch) -> None:
    """Judge every task that waits, parents first, and end the batch when nothing in it is open."""
    for task in batch.in_order:
        if task.status is Status.WAITING:
            _judge(model, batch, task)
    if batch.status is BatchStatus.PROCESSING and not any(task.is_open for task in batch.tasks.values()):
        batch.status = _outcome(batch)


def reopen(model: Model, batch: Batch) -> None:
    """Something in the batch has changed: if it had ended, whether and how it ends is decided anew."""
    batch.status = BatchStatus.PROCESSING
    settle(model, batch)


def release(model: Model, batch: Batch, task: Task) -> None:
    """Let a task start: its row says so, and a message."""
    task.move(Status.NEW)
    task.publish_after = exactly(model.now + FIRST_REPUBLISH)
    publish(model, batch, task)


def publish(model: Model, batch: Batch, task: Task) -> None:
    if not model.pubsub_is_down:
        model.sent.add((batch.name, task.name))


def may_retry(model: Model, batch: Batch, task: Task) -> bool:
    """Whether a retry is due that lacks nothing else: the next sweep starts it, or whoever looks at it before."""
    due = task.waits_for_retry and task.due is not None and task.due.latest <= model.now
    return due and not task.lacks_file and not task.ending and verdict(task.plan.rule, batch.parents(task)) is True


def _judge(model: Model, batch: Batch, task: Task) -> None:
    says = verdict(task.plan.rule, batch.parents(task))
    if says is None:
        return
    if says and task.plan.disabled:
        task.move(Status.SKIPPED, SkipCause.DISABLED)
    elif says and not task.lacks_file and not task.ending and task.due is None:
        release(model, batch, task)
    elif not says:
        blamed = task.plan.rule is not TriggerRule.all_failed and any(parent.failed for parent in batch.parents(task))
        task.move(Status.SKIPPED, SkipCause.UPSTREAM_FAILED if blamed else SkipCause.RULE)


def verdict(rule: TriggerRule, parents: Sequence[Task]) -> bool | None:
    """Whether a task with these parents may start: yes, never any more, or None while that is open."""
    ended = [_end(parent) for parent in parents if not parent.is_open]
    still_open = len(parents) - len(ended)
    if still_open == 0:
        return not parents or is_met(rule, ended)
    if rule in (TriggerRule.one_success, TriggerRule.one_failed) and is_met(rule, ended):
        return True
    if rule is TriggerRule.all_success:
        # Who is to blame must not depend on who ends first: a skip alone decides nothing until all have ended.
        return False if FAILED in ended else None
    can_be_met = any(is_met(rule, [*ended, *[end] * still_open]) for end in (SUCCEEDED, FAILED, SKIPPED))
    return None if can_be_met else False


SUCCEEDED, FAILED, SKIPPED = "succeeded", "failed", "skipped"


def _end(task: Task) -> str:
    if task.status is Status.SUCCESS:
        return SUCCEEDED
    return FAILED if task.failed else SKIPPED


def is_met(rule: TriggerRule, ends: Sequence[str]) -> bool:
    """What a rule says of parents that have all ended, in its own words."""
    return {
        TriggerRule.all_success: set(ends) <= {SUCCEEDED},
        TriggerRule.all_done: True,
        TriggerRule.one_success: SUCCEEDED in ends,
        TriggerRule.one_failed: FAILED in ends,
        TriggerRule.none_failed: FAILED not in ends,
        TriggerRule.none_failed_min_one_success: FAILED not in ends and SUCCEEDED in ends,
        TriggerRule.all_failed: set(ends) <= {FAILED},
    }[rule]


def _outcome(batch: Batch) -> BatchStatus:
    tasks = batch.in_order
    if any(task.status is Status.CANCELLED for task in tasks):
        return BatchStatus.CANCELLED
    if any(task.status is Status.ERROR and not task.plan.allow_failure for task in tasks):
        return BatchStatus.ERROR
    return BatchStatus.SUCCESS
