"""Names in BigQuery: tables that are plain words, and job ids and labels that are ours."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from run.errors import PermanentFailure
from run.kinds.kind import Work
from run.workflows.templates import NameType, TemplateError, Value, all_names_in, render, template_problems

#: Two dashes would begin a comment in SQL, so a dash stands alone and between other characters.
_PART = re.compile(r"\w+(-\w+)*", re.ASCII)
_TABLE = re.compile(r"((?P<project>([a-z0-9.-]+:)?[a-z0-9-]+)\.)?(?P<dataset>\w{1,1024})\.(?P<table>[\w-]{1,1024})")


@dataclass(frozen=True)
class TableName:
    """A table of BigQuery, by its three parts; `partition` is what follows the `$`."""

    project: str
    dataset: str
    table: str
    partition: str | None = None

    def __str__(self) -> str:
        return f"{self.project}.{self.dataset}.{self.table}" + (f"${self.partition}" if self.partition else "")

    @property
    def quoted(self) -> str:
        """The name as SQL writes it, without a partition."""
        return f"`{self.project}.{self.dataset}.{self.table}`"

    @property
    def resource(self) -> dict[str, str]:
        """The REST TableReference; a partition is written behind the table, as load jobs take it."""
        table = f"{self.table}${self.partition}" if self.partition else self.table
        return {"projectId": self.project, "datasetId": self.dataset, "tableId": table}

    def beside(self, suffix: str) -> TableName:
        """A table of the same dataset whose name begins alike."""
        return replace(self, table=f"{self.table[:900]}_{suffix}", partition=None)


def table_name(template: str, values: Mapping[str, Value], project: str) -> TableName:
    """The table that the template names with these values; raises PermanentFailure when it is no table's name."""
    text = filled(template, values)
    found = _TABLE.fullmatch(text)
    if found is None:
        raise PermanentFailure(f"'{text}' is no table; write dataset.table or project.dataset.table")
    return TableName(found["project"] or project, found["dataset"], found["table"])


def filled(template: str, values: Mapping[str, Value]) -> str:
    """The template with values that must be plain parts of an identifier; raises PermanentFailure otherwise."""
    try:
        return render(template, values, _plain)
    except TemplateError as error:
        raise PermanentFailure(str(error)) from error


def _plain(value: str) -> str:
    if not _PART.fullmatch(value):
        raise PermanentFailure(
            f"{value!r} cannot be a part of an identifier; letters, digits and '_' can, and single '-' between them"
        )
    return value


def table_problems(template: str, names: Mapping[str, NameType]) -> Iterator[str]:
    """Yield what keeps the template from naming a table, whatever its values are."""
    problems = list(strict_template_problems(template, names))
    yield from problems
    if problems:
        return
    try:
        table_name(re.sub(r"\{[^{}]*\}", "x", template), {}, "project")
    except PermanentFailure:
        yield f"'{template}' is no table; write dataset.table or project.dataset.table"


def strict_template_problems(template: str, names: Mapping[str, NameType]) -> Iterator[str]:
    """Yield what is wrong with a template in which every name in braces must be a known one."""
    yield from template_problems(template, names)
    known = [use.name for use in all_names_in(template)]
    near = " ".join(template_problems(template, names))
    for name in known:
        if name not in names and f"'{{{name}}}'" not in near:
            yield f"'{{{name}}}' is not a known name; known are {', '.join(sorted(names))}"


def job_id(work: Work, step: str) -> str:
    """The id of one job of this attempt: readable in front, a digest behind; the same for every worker of the attempt.

    Letters, digits, `_` and `-`: https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/JobReference
    """
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{work.workflow}-{work.task}-{work.attempt}-{step}")[:120]
    return f"ca-{readable}-{digest(work.key, step)}"


def digest(*parts: object) -> str:
    """32 hex digits of SHA-256 over the parts."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]


def labels(work: Work, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Labels of a job, the values brought into shape: at most 63 characters, lower case letters, digits, `_`, `-`.

    https://docs.cloud.google.com/bigquery/docs/labels-intro
    """
    wanted = {**(more or {}), "workflow": work.workflow, "task": work.task}
    return {name: re.sub(r"[^a-z0-9_-]", "_", value.lower())[:63] for name, value in wanted.items()}


def literal(text: str) -> str:
    """The text as a string literal of BigQuery's SQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
