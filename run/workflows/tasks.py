"""One task of a definition, its own keys apart from those of its kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from run.workflows.channels import deadline_findings
from run.workflows.definition import FileTrigger, TaskDefinition, Until
from run.workflows.durations import written
from run.workflows.keys import FILE_KEYS, UNTIL_IS, TaskKeys, problem_of_name
from run.workflows.kind_config import CheckedConfig, ConfigurableKind
from run.workflows.problems import Problem, did_you_mean
from run.workflows.sentences import Finding, read_keys


@dataclass(frozen=True)
class RawTask:
    """A task as written; `kind` is None when it is missing or unknown."""

    name: str
    keys: TaskKeys
    kind: ConfigurableKind | None
    raw_config: Mapping[str, Any]

    @property
    def trigger(self) -> FileTrigger | None:
        """The file that this task waits for, or the files."""
        if self.kind is None or not self.kind.takes_file or self.keys.file is None:
            return None
        keys, said = self.keys, self.keys.until
        until = None if said is None else Until(marker=said.marker, count=said.count, quiet_seconds=said.quiet)
        return FileTrigger(
            pattern=self.keys.file, parse=keys.parse, on_new_generation=keys.on_new_generation, until=until
        )

    @property
    def lacks_file(self) -> bool:
        """Whether a file should be there and is not."""
        if self.kind is None or not self.kind.takes_file or self.keys.file is not None:
            return False
        return self.kind.source_key is None or self.raw_config.get(self.kind.source_key) is None

    def problems(self, findings: Iterable[Finding]) -> list[Problem]:
        """Findings in this task as problems of the workflow."""
        return [Problem(("tasks", self.name, *place), f"task '{self.name}': {reason}") for place, reason in findings]

    def define(self, checked: CheckedConfig) -> TaskDefinition:
        """This task with the checked configuration of its kind."""
        keys = self.keys
        by_kind = None if self.kind is None else self.kind.timeout_seconds
        return TaskDefinition(
            **keys.model_dump(include=set(TaskDefinition.model_fields) - {"file"}),
            name=self.name,
            retry_delay_seconds=keys.retry_delay,
            retry_max_delay_seconds=keys.retry_max_delay,
            timeout_seconds=by_kind if keys.timeout is None else keys.timeout,
            awaits_completion=checked.awaits_completion,
            reads_results=tuple(sorted(checked.reads_results)),
            file=self.trigger,
            config=checked.values,
        )


def read_task(name: str, raw: Any, kinds: Mapping[str, ConfigurableKind]) -> tuple[RawTask, list[Problem]]:
    """Read one task and what is wrong with its own keys; its kind's keys are left as they are."""
    findings: list[Finding] = [((), reason) for reason in [problem_of_name(name)] if reason]
    if not isinstance(raw, dict):
        task = RawTask(name, TaskKeys(), None, {})
        return task, task.problems([*findings, ((), "a task is a mapping with 'kind' and the keys of that kind")])
    own_keys = {key: value for key, value in raw.items() if key in TaskKeys.model_fields}
    keys, wrong = read_keys(TaskKeys, own_keys)
    config = {key: value for key, value in raw.items() if key not in own_keys}
    task = RawTask(name, keys, kinds.get(keys.kind), config)
    findings += [*wrong, *_findings_of_kind(task, own_keys, kinds), *_findings_of_file(task, own_keys)]
    findings += deadline_findings(keys.notify, "is said of whole batches; write it under the notify of the workflow")
    if not {"retry_delay", "retry_max_delay"}.intersection(place[0] for place, _ in wrong):
        findings += _findings_of_retries(keys, own_keys)
    return task, task.problems(findings)


def _findings_of_kind(task: RawTask, raw: Mapping[str, Any], kinds: Iterable[str]) -> list[Finding]:
    known = f"; known are {', '.join(kinds)}"
    if "kind" not in raw:
        return [((), f"'kind' is missing{known}")]
    if isinstance(raw["kind"], str) and task.kind is None:
        return [(("kind",), f"unknown kind '{task.keys.kind}'{did_you_mean(task.keys.kind, kinds) or known}")]
    return []


def _findings_of_file(task: RawTask, raw: Mapping[str, Any]) -> list[Finding]:
    if task.kind is None:
        return []
    kind = task.keys.kind
    if not task.kind.takes_file:
        return [((key,), f"'{key}': a task of the kind '{kind}' takes no file") for key in FILE_KEYS if key in raw]
    source_key = task.kind.source_key
    if task.lacks_file:
        other = f", or {source_key}: the task above whose file it takes" if source_key else ""
        return [((), f"'file' is missing: the pattern of the files that a task of the kind '{kind}' takes{other}")]
    if source_key and raw.get("file") is not None and task.raw_config.get(source_key) is not None:
        return [((source_key,), f"'{source_key}' is there instead of 'file'; leave one of them out")]
    return _findings_of_many(task, raw)


def _findings_of_many(task: RawTask, raw: Mapping[str, Any]) -> list[Finding]:
    if task.keys.files == "many" and task.kind is not None and not task.kind.takes_many_files:
        return [(("files",), f"'files': a task of the kind '{task.keys.kind}' takes one file")]
    if task.keys.files == "many" and raw.get("until") is None:
        return [((), f"'until' is missing, which tells when all of many files are there; {UNTIL_IS}")]
    if task.keys.files == "one" and raw.get("until") is not None and raw.get("files") in (None, "one"):
        return [(("until",), "'until' is for tasks that take many files; write files: many")]
    return []


def _findings_of_retries(keys: TaskKeys, raw: Mapping[str, Any]) -> list[Finding]:
    if keys.retry_delay <= keys.retry_max_delay:
        return []
    first, longest = written(keys.retry_delay), written(keys.retry_max_delay)
    key = "retry_max_delay" if "retry_max_delay" in raw else "retry_delay"
    reason = f"'retry_delay' ({first}) is longer than 'retry_max_delay' ({longest}); write retry_max_delay: {first}"
    return [((key,), f"{reason} or more")]
