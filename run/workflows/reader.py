"""Workflow files, from YAML to checked definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from run.errors import InvalidWorkflow
from run.workflows.builder import build_workflow
from run.workflows.definition import WorkflowDefinition
from run.workflows.document import Document, read_document
from run.workflows.kind_config import ConfigurableKind
from run.workflows.problems import Problem
from run.workflows.templates import NameType

__all__ = ["ConfigurableKind", "read_workflow", "read_workflows"]


def read_workflow(
    path: Path, kinds: Mapping[str, ConfigurableKind], setting_names: Mapping[str, NameType]
) -> WorkflowDefinition:
    """The workflow of one file; raises InvalidWorkflow with every problem as `file:line: reason`, sorted by line."""
    return read_workflows([path], kinds, setting_names)[0]


def read_workflows(
    paths: Iterable[Path], kinds: Mapping[str, ConfigurableKind], setting_names: Mapping[str, NameType]
) -> list[WorkflowDefinition]:
    """The workflows of several files, one each; raises InvalidWorkflow with the problems of all of them."""
    definitions: dict[str, tuple[Path, WorkflowDefinition]] = {}
    complaints: list[str] = []
    for path in paths:
        document = _read(path)
        definition = _build(document, path, kinds, setting_names)
        if definition is not None and definition.name in definitions:
            first = definitions[definition.name][0]
            reason = f"the workflow '{definition.name}' is also in {first}; each has a file of its own"
            document.problems.append(Problem(("workflow",), reason))
        elif definition is not None:
            definitions[definition.name] = (path, definition)
        complaints += _complaints(document, path)
    if complaints:
        raise InvalidWorkflow("\n".join(complaints))
    return [definition for _, definition in definitions.values()]


def _read(path: Path) -> Document:
    try:
        content = path.read_bytes()
        return read_document(content.decode("utf-8-sig"))
    except OSError as error:
        return Document(problems=[Problem((), f"cannot be read: {error.strerror or error}", 1)])
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Document(problems=[Problem((), f"not UTF-8 text: {error.reason}", line)])


def _build(
    document: Document,
    path: Path,
    kinds: Mapping[str, ConfigurableKind],
    setting_names: Mapping[str, NameType],
) -> WorkflowDefinition | None:
    # A file that YAML itself refuses has no lines either, and nothing to say about workflows.
    if not document.lines:
        return None
    definition, problems = build_workflow(document.data, kinds, setting_names, path.parent)
    document.problems += problems
    return definition


def _complaints(document: Document, path: Path) -> list[str]:
    located = sorted({(document.line_of(problem), problem.reason) for problem in document.problems})
    return [f"{path}:{line}: {' '.join(reason.split())}" for line, reason in located]
