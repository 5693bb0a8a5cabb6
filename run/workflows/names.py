"""What each name in a workflow means: clashes, what a file must bind, and the names of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from run.workflows.batch_identity import BUILT_IN, BatchTemplate
from run.workflows.dates import ISO, problem_of_format
from run.workflows.definition import FileTrigger
from run.workflows.keys import problem_of_name
from run.workflows.patterns import FilePattern, InvalidPattern
from run.workflows.problems import Problem, did_you_mean
from run.workflows.scope import text_of_params
from run.workflows.templates import NameType, all_names_in, template_problems

#: The names that every task knows, and what they mean.
WORDS = {"workflow": "the workflow's name", "task": "the task's name", "batch_id": "the batch's id"}


@dataclass(frozen=True)
class FileTask:
    """A task's file and the groups of its pattern, those of `parse` as dates."""

    task: str
    trigger: FileTrigger
    groups: Mapping[str, NameType]
    #: Whether it is the marker of many files.
    is_marker: bool = False

    def problem(self, reason: str, *below: str) -> Problem:
        """A problem of this file, at the pattern unless another key is named."""
        place = below or (("until", "marker") if self.is_marker else ("file",))
        return Problem(("tasks", self.task, *place), f"task '{self.task}': {reason}")

    @property
    def values(self) -> Mapping[str, NameType]:
        """The groups that have one value; of many files each has its own, and only those of the batch id are alike."""
        return self.groups if self.trigger.until is None else {}


@dataclass(frozen=True)
class Names:
    """Every name of a workflow that is not of one task alone."""

    settings: Mapping[str, NameType]
    batch: BatchTemplate
    params: Mapping[str, Any]

    def of_task(self, file: FileTask | None) -> dict[str, NameType]:
        """The names of one task; a part of the batch id means the same in every task."""
        texts = dict.fromkeys([*WORDS, *text_of_params(self.params)], NameType.TEXT)
        return {**self.settings, **texts, **(file.values if file else {}), **self.batch.names}

    def problems(self, files: list[FileTask]) -> Iterator[Problem]:
        """Yield what is wrong with the batch id, the params and the groups of files, taken together."""
        for reason in self.batch.problems():
            yield Problem(("batch",), reason)
        yield from self._clashes()
        for file in files:
            yield from self._problems_of_groups(file)
        for name in sorted(self._names_of_files()) if files else ():
            yield from self._unbound(name, files)

    def _clashes(self) -> Iterator[Problem]:
        for name in self._names_of_files():
            if meaning := self._fixed_meaning(name):
                yield Problem(("batch",), f"'{name}' is {meaning} and cannot be a part of the batch id")
        for name in self.params:
            meaning = self._fixed_meaning(name) or ("a part of the batch id" if name in self.batch.names else None)
            if meaning:
                yield Problem(("params", name), f"the param '{name}' needs another name: '{name}' is {meaning}")

    def _problems_of_groups(self, file: FileTask) -> Iterator[Problem]:
        for name, kind in file.groups.items():
            is_param = name in self.params and name not in self.batch.names
            meaning = self._fixed_meaning(name) or ("a param" if is_param else None)
            if reason := problem_of_name(name):
                yield file.problem(reason)
            elif meaning:
                yield file.problem(f"the group '{name}' needs another name: '{name}' is {meaning}")
            elif kind is NameType.TEXT and self.batch.names.get(name) is NameType.DATE:
                yield file.problem(f"'{name}' is a date in the batch id; say its format: parse: {{{name}: '%Y-%m'}}")

    def _unbound(self, name: str, files: list[FileTask]) -> Iterator[Problem]:
        lacking = [file for file in files if name not in file.groups]
        if lacking == files:
            hint = did_you_mean(name, {group for file in files for group in file.groups}) or f"; write (?P<{name}>...)"
            yield Problem(("batch",), f"the batch id needs '{name}', but no file pattern has such a group{hint}")
            return
        for file in lacking:
            hint = did_you_mean(name, file.groups) or f"; write (?P<{name}>...)"
            yield file.problem(f"the batch id needs '{name}', but the pattern has no such group{hint}")

    def _names_of_files(self) -> set[str]:
        return set(self.batch.names) - set(BUILT_IN)

    def _fixed_meaning(self, name: str) -> str | None:
        if name in BUILT_IN:
            return "a built-in name"
        return "a setting" if name in self.settings else WORDS.get(name)


def read_file(task: str, trigger: FileTrigger, names: Names) -> tuple[FileTask, list[Problem]]:
    """The groups of a task's file, and what is wrong with its pattern and dates."""
    return _read_pattern(FileTask(task, trigger, {}), trigger.pattern, names)


def read_marker(task: str, trigger: FileTrigger, names: Names) -> Iterator[tuple[FileTask, list[Problem]]]:
    """The same of the marker of many files, if the task waits for one."""
    if trigger.until is not None and trigger.until.marker is not None:
        yield _read_pattern(FileTask(task, trigger, {}, is_marker=True), trigger.until.marker, names)


def _read_pattern(file: FileTask, text: str, names: Names) -> tuple[FileTask, list[Problem]]:
    problems = [file.problem(reason) for reason in _problems_of_braces(text, names)]
    if problems:
        return file, problems
    try:
        pattern = FilePattern(text, {}, dict.fromkeys(names.settings, "x"))
    except InvalidPattern as error:
        return file, [file.problem(f"the file pattern is no regular expression that RE2 takes: {error}")]
    parse = file.trigger.parse
    groups = {name: NameType.DATE if name in parse else NameType.TEXT for name in pattern.group_names}
    file = replace(file, groups=groups)
    # What is a date is said once, of the files.
    return file, [*_problems_of_address(file, pattern), *(() if file.is_marker else _problems_of_parse(file))]


def _problems_of_braces(pattern: str, names: Names) -> Iterator[str]:
    unescaped = pattern.replace(r"\{", "")
    yield from template_problems(unescaped, names.settings)
    later = {*WORDS, *BUILT_IN, *names.batch.names, *names.params} - set(names.settings)
    for use in all_names_in(unescaped):
        if use.name in later:
            yield f"'{{{use.name}}}' is not known before the file arrives; a pattern may use settings only"


def _problems_of_address(file: FileTask, pattern: FilePattern) -> Iterator[Problem]:
    bucket, slash, name = pattern.pattern.removeprefix("gs://").partition("/")
    if not pattern.pattern.startswith("gs://") or not (bucket and slash and name):
        yield file.problem("a file pattern is a whole address such as 'gs://{landing_bucket}/sales/.*'")


def _problems_of_parse(file: FileTask) -> Iterator[Problem]:
    for name, pattern in file.trigger.parse.items():
        if name not in file.groups:
            hint = did_you_mean(name, file.groups)
            yield file.problem(f"parse: the file pattern has no group '{name}'{hint}", "parse", name)
        elif reason := problem_of_format(pattern):
            yield file.problem(f"parse: {reason}", "parse", name)


def with_date_formats(text: str, files: list[FileTask]) -> tuple[str, list[Problem]]:
    """The batch template with ISO written where files make a plain name a date, and files that disagree on that."""
    problems: list[Problem] = []
    for use in reversed(all_names_in(text)):
        plain = [file for file in files if file.groups.get(use.name) is NameType.TEXT]
        dates = [file.task for file in files if file.groups.get(use.name) is NameType.DATE]
        if use.format is None and dates and not plain:
            text = f"{text[: use.start]}{{{use.name}:{ISO}}}{text[use.end :]}"
        elif use.format is None and dates:
            reason = f"'{use.name}' is text here and a date in '{dates[0]}', so they never meet; use parse in both"
            problems += [file.problem(reason) for file in plain]
    return text, problems
