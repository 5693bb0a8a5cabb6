"""Tasks as they are written in Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from run.errors import InvalidWorkflow
from run.notifications.email import HTMLSMTPHandler
from run.workflows.arguments import Passing, problem_of_keyword
from run.workflows.conditions import Condition
from run.workflows.definition import TriggerRule
from run.workflows.graph import faults_of, topological_order


@dataclass(frozen=True)
class TaskDependency:
    """A task that must end first, and whether its result is passed: appended to the arguments, by keyword, or both."""

    task_name: str
    use_result_as_additional_args: bool = False
    use_result_as_additional_kwargs: bool = False
    additional_kwarg_name: str = ""

    def __post_init__(self) -> None:
        if self.use_result_as_additional_kwargs and not self.additional_kwarg_name:
            raise TypeError(
                f"the result of '{self.task_name}' is to be passed by keyword: additional_kwarg_name is missing"
            )
        if self.additional_kwarg_name and not self.use_result_as_additional_kwargs:
            raise TypeError(
                f"the result of '{self.task_name}' is passed as '{self.additional_kwarg_name}' only "
                "with use_result_as_additional_kwargs=True"
            )
        if self.additional_kwarg_name and (reason := problem_of_keyword(self.additional_kwarg_name)):
            raise InvalidWorkflow(f"the result of '{self.task_name}': {reason}")


@dataclass(frozen=True, eq=False)
class Task:
    """A function with its arguments, what it depends on, and where a Process writes its log.

    `options` are the other keys of a task as in YAML, such as {"retries": 3, "timeout": "5m"}; they and the name of the
    log mean something in one of the two ways only: a Process tries once, and the service keeps logs itself.
    """

    name: str
    log_file: str | Path
    function: Callable[..., Any]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    dependencies: Sequence[TaskDependency] = ()
    #: Whom a Process tells when the task fails.
    html_mail_handler: HTMLSMTPHandler | None = None
    rule: str = TriggerRule.all_success
    options: Mapping[str, Any] = field(default_factory=dict)
    #: A condition in CEL; when it is false the task is skipped.
    when: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or any(sign.isspace() for sign in self.name):
            raise InvalidWorkflow(f"{self.name!r} is no name of a task: write a text without spaces")
        if not callable(self.function):
            raise TypeError(f"task '{self.name}': {self.function!r} is no function; write its name without ()")
        if problems := list(self._problems()):
            raise InvalidWorkflow("\n".join(f"task '{self.name}': {problem}" for problem in problems))

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the tasks that must end first."""
        # One parent may be named twice, to pass its result by two keywords.
        return tuple(dict.fromkeys(dependency.task_name for dependency in self.dependencies))

    @cached_property
    def condition(self) -> Condition | None:
        """The condition of `when`."""
        return None if self.when is None else Condition(self.when)

    @property
    def passing(self) -> Passing:
        """Whose results go where."""
        return Passing(
            as_args=[one.task_name for one in self.dependencies if one.use_result_as_additional_args],
            as_kwargs={
                one.additional_kwarg_name: one.task_name
                for one in self.dependencies
                if one.use_result_as_additional_kwargs
            },
        )

    def _problems(self) -> Iterator[str]:
        strange = [one for one in self.dependencies if not isinstance(one, TaskDependency)]
        if strange:
            raise TypeError(f"task '{self.name}': {strange[0]!r} is no dependency; write TaskDependency(...)")
        if isinstance(self.args, str) or not isinstance(self.args, Sequence):
            raise TypeError(f"task '{self.name}': args is a tuple or a list of arguments, such as (1, 2)")
        if self.rule not in set(TriggerRule):
            yield f"'{self.rule}' is no rule; the rules are {', '.join(TriggerRule)}"
            return
        passed = [one.additional_kwarg_name for one in self.dependencies if one.additional_kwarg_name]
        yield from (f"{count} results are passed as '{one}'" for one, count in Counter(passed).items() if count > 1)
        for _, reason in self.passing.problems(self.needs, TriggerRule(self.rule)):
            yield reason
        yield from self._problems_of_condition()

    def _problems_of_condition(self) -> Iterator[str]:
        if "when" in self.options:
            yield "'when' is no option, because a Process asks it too; write Task(..., when='...')"
        if self.when is not None and not isinstance(self.when, str):
            raise TypeError(f"task '{self.name}': when is a condition as a text, such as 'results.load.rows > 0'")
        if self.condition is not None:
            yield from (f"'when': {reason}" for reason in self.condition.problems(None))


@dataclass(frozen=True, eq=False)
class KindTask:
    """A task of any other kind, for the service only; `keys` are those of its kind and of every task, as in YAML."""

    name: str
    kind: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    needs: Sequence[str] = ()


def in_order(tasks: Iterable[Task]) -> dict[str, Task]:
    """The tasks by name, parents first; raises InvalidWorkflow with every reason why they make no sound graph."""
    found = list(tasks)
    for task in found:
        if isinstance(task, KindTask):
            raise TypeError(f"task '{task.name}' is of the kind '{task.kind}', which only the service runs")
        if not isinstance(task, Task):
            raise TypeError(f"{task!r:.80} is no Task")
    problems = problems_of_names(task.name for task in found)
    by_name = {task.name: task for task in found}
    needs = {name: task.needs for name, task in by_name.items()}
    problems += [
        f"task '{task.name}' is mapped over a list, which only the service does; loop over the list in its function"
        for task in found
        if "map" in task.options
    ]
    problems += [fault.reason for fault in faults_of(needs)]
    if problems:
        raise InvalidWorkflow("\n".join(problems))
    return {name: by_name[name] for name in topological_order(needs)}


def problems_of_names(names: Iterable[str]) -> list[str]:
    """A reason for every name that several tasks have."""
    return [f"{count} tasks are called '{name}'" for name, count in Counter(names).items() if count > 1]
