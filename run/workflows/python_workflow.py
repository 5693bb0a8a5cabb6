"""A workflow that is written in Python; it means what the same workflow in YAML means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from run.errors import InvalidWorkflow
from run.workflows.builder import build_workflow
from run.workflows.definition import WorkflowDefinition
from run.workflows.function_keys import FUNCTION_KIND, reference_of
from run.workflows.kind_config import ConfigurableKind
from run.workflows.problems import Problem
from run.workflows.python_tasks import KindTask, Task, problems_of_names
from run.workflows.results import NotJson, as_json
from run.workflows.templates import NameType


@dataclass(frozen=True, eq=False)
class Workflow:
    """Named tasks and what makes their batches; `options` are the other keys of a workflow, such as a deadline.

    Without `batch` every trigger opens a batch of its own, as in YAML.
    """

    name: str
    tasks: Sequence[Task | KindTask]
    batch: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def definition(
        self,
        kinds: Mapping[str, ConfigurableKind],
        setting_names: Mapping[str, NameType],
        folder: Path | None = None,
    ) -> WorkflowDefinition:
        """The checked definition, which the service stores; raises InvalidWorkflow with every problem in a line."""
        definition, problems = self.check(kinds, setting_names, folder)
        if definition is None:
            raise InvalidWorkflow("\n".join(problem.reason for problem in problems))
        return definition

    def check(
        self,
        kinds: Mapping[str, ConfigurableKind],
        setting_names: Mapping[str, NameType],
        folder: Path | None = None,
    ) -> tuple[WorkflowDefinition | None, list[Problem]]:
        """The definition, or None and every reason why there is none; files that tasks name lie in `folder`."""
        data, problems = self._data()
        definition, found = build_workflow(data, kinds, setting_names, folder)
        # A task that could not be written down lacks a key; that this key is missing would be said of it too.
        incomplete = {problem.place[:2] for problem in problems}
        problems += [problem for problem in found if problem.place not in incomplete]
        return (None, problems) if problems else (definition, [])

    def _data(self) -> tuple[dict[str, Any], list[Problem]]:
        """What the YAML file would say, and what cannot be said in one."""
        problems = [Problem(("tasks",), reason) for reason in problems_of_names(task.name for task in self.tasks)]
        tasks = {}
        for task in self.tasks:
            writer = _Writer(task.name)
            tasks[task.name] = dict(writer.keys_of(task))
            problems += writer.problems
        data = {**self.options, "workflow": self.name, "tasks": tasks}
        if self.batch is not None:
            data["batch"] = self.batch
        try:
            data["params"] = as_json(dict(self.params), "params")
        except NotJson as error:
            problems.append(Problem(("params",), str(error)))
        return data, problems


class _Writer:
    """Writes one task as YAML would have it, and notes what it cannot write."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.problems: list[Problem] = []

    def keys_of(self, task: Task | KindTask) -> Iterator[tuple[str, Any]]:
        if isinstance(task, KindTask):
            yield from {**task.keys, "kind": task.kind}.items()
        else:
            yield from task.options.items()
            yield "kind", FUNCTION_KIND
            yield "rule", str(task.rule)
            if task.when is not None:
                yield "when", task.when
            yield from self._call_of(task)
        if task.needs:
            yield "needs", list(task.needs)

    def _call_of(self, task: Task) -> Iterator[tuple[str, Any]]:
        try:
            yield "function", reference_of(task.function)
        except ValueError as error:
            self._add("function", str(error))
        for key, value in (("args", list(task.args)), ("kwargs", dict(task.kwargs or {}))):
            try:
                yield key, as_json(value, key)
            except NotJson as error:
                self._add(key, str(error))
        yield "results_as_args", list(task.passing.as_args)
        yield "results_as_kwargs", dict(task.passing.as_kwargs)

    def _add(self, key: str, reason: str) -> None:
        self.problems.append(Problem(("tasks", self._name, key), f"task '{self._name}': {reason}"))
