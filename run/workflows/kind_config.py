"""The part of a task that belongs to its kind."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from run.workflows.keys import FILE_KEYS, TaskKeys
from run.workflows.problems import Place
from run.workflows.result_names import ELEMENT, ITEM, item_names_in, parents_of, problems_of_results, result_names_in
from run.workflows.scope import Scope
from run.workflows.sentences import Finding, findings_of, keys_of


class ConfigurableKind(Protocol):
    """What a definition asks of a kind of task."""

    @property
    def config(self) -> type[BaseModel]:
        """The model of the kind's own keys."""

    @property
    def takes_file(self) -> bool:
        """Whether a task of this kind waits for a file."""

    @property
    def takes_many_files(self) -> bool:
        """Whether a task of this kind may wait for many files (`files: many`)."""

    @property
    def source_key(self) -> str | None:
        """The key that may name a task above instead of `file`."""

    @property
    def makes_file(self) -> bool:
        """Whether such a key may name a task of this kind although it takes no file."""

    @property
    def timeout_seconds(self) -> int | None:
        """How long an attempt may last when the task does not say; None is without end."""

    def problems(self, config: Any, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with a configuration in its workflow."""

    def awaits_completion(self, config: Any) -> bool:
        """Whether a completion message from outside ends the attempts of a task with this configuration."""

    def reads_results(self, config: Any) -> Collection[str]:
        """The parents whose results the work needs, beside those that its templates name."""


@dataclass(frozen=True)
class CheckedConfig:
    """The keys of a task's kind as JSON values, defaults filled in; empty when they are wrong."""

    values: dict[str, Any] = field(default_factory=dict)
    awaits_completion: bool = False
    #: The parents whose results its work needs.
    reads_results: frozenset[str] = frozenset()


def check_config(
    kind: ConfigurableKind, raw: Mapping[str, Any], scope: Scope | None, folder: Path | None
) -> tuple[CheckedConfig, list[Finding]]:
    """The kind's configuration, and what is wrong with it.

    Validators find `folder`, where companion files lie, in the validation context. Without a scope, because the
    workflow around the task is broken, only the configuration by itself is checked.
    """
    try:
        config = kind.config.model_validate(dict(raw), context={"folder": folder})
    except ValidationError as error:
        return CheckedConfig(), findings_of(error, _known_keys(kind))
    values = config.model_dump(mode="json", by_alias=True)
    names = result_names_in(values)
    found: list[tuple[str, str]] = []
    if scope is not None:
        known = scope.with_names([*names, *_names_of_element(values, scope)])
        found = [*_problems_of_results(values, scope), *kind.problems(config, known)]
    findings = [(_place(key), f"'{key}': {reason}") for key, reason in found]
    reads = parents_of(names).union(kind.reads_results(config))
    return CheckedConfig(values, kind.awaits_completion(config), reads), findings


def _names_of_element(values: Mapping[str, Any], scope: Scope) -> Collection[str]:
    return {ITEM, ELEMENT, *item_names_in(values)} if scope.is_mapped else ()


def _problems_of_results(values: Mapping[str, Any], scope: Scope) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        for reason in problems_of_results(result_names_in(value), scope.needs, scope.rule):
            yield key, reason


def _known_keys(kind: ConfigurableKind) -> list[str]:
    task_keys = [key for key in TaskKeys.model_fields if kind.takes_file or key not in FILE_KEYS]
    return [*keys_of(kind.config), *task_keys]


def _place(key: str) -> Place:
    return tuple(int(part) if part.isdigit() else part for part in key.split("."))
