"""From plain data, read from YAML or built in Python, to a checked definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from run.workflows.batch_identity import BatchTemplate
from run.workflows.channels import deadline_findings
from run.workflows.conditions import Condition
from run.workflows.definition import FileTrigger, TaskDefinition, WorkflowDefinition
from run.workflows.graph import ancestors, faults_of, topological_order
from run.workflows.keys import WorkflowKeys, problem_of_name
from run.workflows.kind_config import CheckedConfig, ConfigurableKind, check_config
from run.workflows.mapping import findings_of_map
from run.workflows.names import FileTask, Names, read_file, read_marker, with_date_formats
from run.workflows.problems import Problem
from run.workflows.scope import Scope
from run.workflows.sentences import read_keys
from run.workflows.tasks import RawTask, read_task
from run.workflows.templates import NameType

#: The tasks with a file above each task.
FilesAbove = Mapping[str, Mapping[str, FileTrigger]]


def build_workflow(
    data: Any,
    kinds: Mapping[str, ConfigurableKind],
    setting_names: Mapping[str, NameType],
    folder: Path | None = None,
) -> tuple[WorkflowDefinition | None, list[Problem]]:
    """The definition that the data describes, or None and every reason why it is none."""
    if not isinstance(data, dict):
        return None, [Problem((), "a workflow is a mapping with the keys workflow, batch and tasks")]
    return _Builder(data, kinds, setting_names, folder).build()


class _Builder:
    def __init__(
        self,
        data: Mapping[str, Any],
        kinds: Mapping[str, ConfigurableKind],
        setting_names: Mapping[str, NameType],
        folder: Path | None,
    ) -> None:
        self._data = data
        self._kinds = kinds
        self._settings = setting_names
        self._folder = folder
        self._problems: list[Problem] = []
        #: Tasks whose own pattern is broken: what their kind says of missing names would mislead.
        self._broken_files: set[str] = set()
        #: Kind, task, and the keys of the kind.
        self._configs: dict[str, dict[str, Mapping[str, Any]]] = {}
        #: The tasks above each task that make a file.
        self._makers_above: Mapping[str, frozenset[str]] = {}

    def build(self) -> tuple[WorkflowDefinition | None, list[Problem]]:
        top = self._read_top()
        tasks = [self._noting(read_task(name, raw, self._kinds)) for name, raw in top.tasks.items()]
        needs = self._read_needs(tasks)
        names, files = self._read_names(top, tasks)
        above = None if needs is None else _files_above(needs, files)
        makers = [task.name for task in tasks if task.kind is not None and task.kind.makes_file]
        self._makers_above = {} if needs is None else ancestors(needs, makers)
        defined = {}
        for task in tasks:
            scope = self._scope(task, names, files.get(task.name), above)
            defined[task.name] = self._define(task, scope)
        if self._problems:
            return None, self._problems
        definition = WorkflowDefinition(
            name=top.workflow,
            description=top.description,
            batch=names.batch.text,
            params=top.params,
            deadline_seconds=top.deadline,
            on_missed_deadline=top.on_missed_deadline,
            notify=top.notify,
            tasks=tuple(defined[name] for name in topological_order(needs or {})),
        )
        return definition, []

    def _noting(self, read: tuple[RawTask, list[Problem]]) -> RawTask:
        task, problems = read
        self._problems += problems
        self._configs.setdefault(task.keys.kind, {})[task.name] = task.raw_config
        return task

    def _read_top(self) -> WorkflowKeys:
        top, findings = read_keys(WorkflowKeys, self._data)
        self._problems += [Problem(place, reason) for place, reason in findings]
        if "workflow" not in self._data:
            self._problems.append(Problem((), "'workflow' is missing: the workflow's name"))
        elif isinstance(self._data["workflow"], str) and (reason := problem_of_name(top.workflow)):
            self._problems.append(Problem(("workflow",), reason))
        if self._data.get("tasks", {}) in ({}, None):
            self._problems.append(Problem(("tasks",), "a workflow has at least one task, under 'tasks'"))
        for name in top.params:
            if reason := problem_of_name(name):
                self._problems.append(Problem(("params", name), reason))
        if "on_missed_deadline" in self._data and self._data.get("deadline") is None:
            reason = "'on_missed_deadline' says nothing without a deadline; write for example deadline: 2h"
            self._problems.append(Problem(("on_missed_deadline",), reason))
        if self._data.get("deadline") is None:
            found = deadline_findings(top.notify, "says nothing without a deadline; write for example deadline: 2h")
            self._problems += [Problem(place, reason) for place, reason in found]
        return top

    def _read_needs(self, tasks: list[RawTask]) -> dict[str, list[str]] | None:
        """What each task needs; None when that makes no sound graph."""
        needs = {task.name: list(task.keys.needs) for task in tasks}
        faults = list(faults_of(needs))
        self._problems += [Problem(("tasks", one.task, "needs", one.index), one.reason) for one in faults]
        return None if faults else needs

    def _read_names(self, top: WorkflowKeys, tasks: list[RawTask]) -> tuple[Names, dict[str, FileTask]]:
        names = Names(self._settings, BatchTemplate(top.batch), top.params)
        files: list[FileTask] = []
        markers: list[FileTask] = []
        for task in tasks:
            if task.trigger is not None:
                files.append(self._noting_file(*read_file(task.name, task.trigger, names)))
                markers += [self._noting_file(*read) for read in read_marker(task.name, task.trigger, names)]
        sound = [file for file in [*files, *markers] if file.task not in self._broken_files]
        batch, problems = with_date_formats(top.batch, sound)
        names = Names(self._settings, BatchTemplate(batch), top.params)
        self._problems += [*problems, *names.problems(sound)]
        if names.batch.is_fresh and (len(files) > 1 or any(file.trigger.until for file in files)):
            self._problems.append(_never_meeting(files, is_default="batch" not in self._data))
        return names, {file.task: file for file in files}

    def _noting_file(self, file: FileTask, problems: list[Problem]) -> FileTask:
        self._problems += problems
        self._broken_files.update([file.task] if problems else [])
        return file

    def _scope(self, task: RawTask, names: Names, file: FileTask | None, above: FilesAbove | None) -> Scope | None:
        """What the task may refer to; None when the workflow around it is too broken to say."""
        if above is None or task.name in self._broken_files or task.lacks_file:
            return None
        return Scope(
            names=names.of_task(file),
            own_file=task.trigger,
            file_tasks_above=above[task.name],
            makers_above=self._makers_above[task.name],
            batch_names=tuple(names.batch.names),
            param_names=tuple(names.params),
            task=task.name,
            needs=task.keys.needs,
            rule=task.keys.rule,
            same_kind=self._configs[task.keys.kind],
            retries=task.keys.retries,
            timeout=task.keys.timeout,
            is_mapped=task.keys.map is not None,
        )

    def _define(self, task: RawTask, scope: Scope | None) -> TaskDefinition:
        checked = CheckedConfig()
        if scope is not None:
            self._problems += task.problems(findings_of_map(task, scope))
        if task.kind is not None:
            checked, findings = check_config(task.kind, task.raw_config, scope, self._folder)
            self._problems += task.problems(findings)
        if task.keys.when is not None:
            condition = Condition(task.keys.when)
            self._problems += task.problems((("when",), f"'when': {reason}") for reason in condition.problems(scope))
            checked = replace(checked, reads_results=checked.reads_results | condition.results_read())
        return task.define(checked)


def _files_above(needs: Mapping[str, list[str]], files: Mapping[str, FileTask]) -> FilesAbove:
    above = ancestors(needs, files)
    # One mapping for all tasks below the same files, so that a workflow of thousands of tasks stays small.
    shared = {chosen: {name: files[name].trigger for name in sorted(chosen)} for chosen in set(above.values())}
    return {task: shared[chosen] for task, chosen in above.items()}


def _never_meeting(files: list[FileTask], *, is_default: bool) -> Problem:
    tasks = " and ".join(f"'{file.task}'" for file in files)
    last = files[-1] if len(files) == 1 else files[1]
    reason = f"the files of {tasks} can never meet, because each opens a fresh batch; name what they share"
    place = ("tasks", last.task, "file") if is_default else ("batch",)
    return Problem(place, f"{reason}, such as batch: '{{period}}'")
