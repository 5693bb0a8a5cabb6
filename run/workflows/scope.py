"""What a task's templates may refer to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from run.workflows.definition import FileTrigger
from run.workflows.templates import NameType


@dataclass(frozen=True)
class Scope:
    """The names that one task may use, its own file, and the tasks above it that take one."""

    names: Mapping[str, NameType]
    own_file: FileTrigger | None
    file_tasks_above: frozenset[str]


def text_of_params(params: Mapping[str, Any]) -> dict[str, str]:
    """The params that a template may use, as text: all but lists and mappings; true, false and null as in YAML."""
    words = {True: "true", False: "false", None: "null"}
    return {
        name: words[value] if value is None or isinstance(value, bool) else str(value)
        for name, value in params.items()
        if not isinstance(value, list | dict)
    }
