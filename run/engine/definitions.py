"""From a checked definition to the rows of a version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from database.workflows import NewTask, NewVersion
from run.engine.dependency_checker import FEW_PARENTS
from run.workflows.channels import Channel
from run.workflows.definition import TaskDefinition, WorkflowDefinition
from run.workflows.trigger_rules import SUCCESS_MAY_SKIP, UNDECIDED_BY_SUCCESS


def new_version(definition: WorkflowDefinition) -> NewVersion:
    """The version that `store_version` stores for this definition."""
    skips_on_success = _tasks_that_success_may_skip(definition.tasks)
    skippable = {parent for task in definition.tasks if task.name in skips_on_success for parent in task.needs}
    return NewVersion(
        workflow=definition.name,
        batch_template=definition.batch,
        params=definition.params,
        definition=definition.model_dump(mode="json"),
        digest=definition.digest,
        tasks=with_unwatched_ends(
            _new_task(task, success_may_skip=task.name in skippable) for task in definition.tasks
        ),
        deadline_seconds=definition.deadline_seconds,
        on_missed_deadline=definition.on_missed_deadline,
        notify=_channels(definition.notify),
    )


def _tasks_that_success_may_skip(tasks: Sequence[TaskDefinition]) -> set[str]:
    # A task can be skipped without any failure when it is disabled, when its rule asks for failures, or when a task
    # above it can be; whichever of its parents ends last then skips it, and that may be a success.
    found: set[str] = set()
    for task in tasks:
        if task.disabled or task.rule in SUCCESS_MAY_SKIP or found.intersection(task.needs):
            found.add(task.name)
    return found


def with_unwatched_ends(tasks: Iterable[NewTask]) -> list[NewTask]:
    """These tasks, each with whether its success decides nothing as long as its children wait for other parents."""
    found = list(tasks)
    crowded = {task.name for task in found if len(task.needs) > FEW_PARENTS and task.rule in UNDECIDED_BY_SUCCESS}
    above_crowds = {parent for task in found if task.name in crowded for parent in task.needs}
    above_others = {parent for task in found if task.name not in crowded for parent in task.needs}
    return [
        replace(task, may_end_unwatched=task.name in above_crowds - above_others and not task.success_may_skip)
        for task in found
    ]


def _new_task(task: TaskDefinition, *, success_may_skip: bool) -> NewTask:
    return NewTask(
        name=task.name,
        kind=task.kind,
        needs=task.needs,
        rule=task.rule,
        allow_failure=task.allow_failure,
        disabled=task.disabled,
        success_may_skip=success_may_skip,
        lease_seconds=task.lease_seconds,
        file=None if task.file is None else task.file.meaning(),
        config=task.config,
        max_takeovers=task.max_takeovers,
        retries=task.retries,
        retry_delay_seconds=task.retry_delay_seconds,
        retry_max_delay_seconds=task.retry_max_delay_seconds,
        timeout_seconds=task.timeout_seconds,
        awaits_completion=task.awaits_completion,
        condition=task.when,
        reads_results=task.reads_results,
        notify=_channels(task.notify),
        map=None if task.map is None else task.map.model_dump(mode="json"),
    )


def _channels(notify: Sequence[Channel]) -> list[dict[str, Any]]:
    return [channel.model_dump(mode="json") for channel in notify]
