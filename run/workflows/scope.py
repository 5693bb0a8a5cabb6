"""What a task's templates may refer to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from run.workflows.definition import FileTrigger, TriggerRule
from run.workflows.templates import NameType


@dataclass(frozen=True)
class Scope:
    """The names that one task may use, its own file, and what it must know of the workflow around it."""

    names: Mapping[str, NameType]
    own_file: FileTrigger | None
    #: The tasks with a file above this one, at any distance.
    file_tasks_above: Mapping[str, FileTrigger] = field(default_factory=dict)
    #: The tasks above this one, at any distance, that make a file.
    makers_above: Collection[str] = ()
    #: The parts of the batch id.
    batch_names: Collection[str] = ()
    param_names: Collection[str] = ()
    task: str = ""
    #: The parents, and the rule that says how they must end.
    needs: tuple[str, ...] = ()
    rule: TriggerRule = TriggerRule.all_success
    #: The tasks of this one's kind, itself among them, each with the keys of its kind as written.
    same_kind: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: How many retries this task has.
    retries: int = 0
    #: How long it says that an attempt may last, in seconds, if it says so.
    timeout: int | None = None
    #: Whether it is mapped, and so has an item.
    is_mapped: bool = False

    @property
    def parameter_names(self) -> frozenset[str]:
        """What has a value beside the text templates, as query parameters have: the batch's names and the params."""
        return frozenset({"batch_id", *self.batch_names, *self.param_names})

    def with_names(self, names: Iterable[str]) -> Scope:
        """The same scope, in which these names are known as texts too."""
        return replace(self, names={**self.names, **dict.fromkeys(names, NameType.TEXT)})

    @property
    def rerun_by(self) -> tuple[str, ...]:
        """The tasks above whose file, when a newer generation of it arrives, makes this task start again."""
        return tuple(task for task, file in self.file_tasks_above.items() if file.on_new_generation == "rerun")


def text_of_params(params: Mapping[str, Any]) -> dict[str, str]:
    """The params that a template may use, as text: all but lists and mappings; true, false and null as in YAML."""
    return {name: text_of(value) for name, value in params.items() if not isinstance(value, list | dict)}


def text_of(value: Any) -> str:
    """A JSON value that is no list and no mapping as a template writes it."""
    words = {True: "true", False: "false", None: "null"}
    return words[value] if value is None or isinstance(value, bool) else str(value)
