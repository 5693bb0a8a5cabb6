"""Workflow files, from YAML or Python to checked definitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from run.errors import InvalidWorkflow
from run.workflows.builder import build_workflow
from run.workflows.definition import WorkflowDefinition
from run.workflows.document import Document, read_document
from run.workflows.kind_config import ConfigurableKind
from run.workflows.problems import Problem
from run.workflows.python_file import lines_in, workflows_in
from run.workflows.templates import NameType

__all__ = ["ConfigurableKind", "read_files", "read_workflow", "read_workflows"]


def read_workflow(
    path: Path, kinds: Mapping[str, ConfigurableKind], setting_names: Mapping[str, NameType]
) -> WorkflowDefinition:
    """The workflow of one YAML file; raises InvalidWorkflow with every problem as `file:line: reason`, by line."""
    return read_workflows([path], kinds, setting_names)[0]


def read_workflows(
    paths: Iterable[Path], kinds: Mapping[str, ConfigurableKind], setting_names: Mapping[str, NameType]
) -> list[WorkflowDefinition]:
    """The workflows of several files, in their order; raises InvalidWorkflow with the problems of all of them.

    A YAML file has one workflow. A Python file, `.py`, has as many as it defines; reading it executes it.
    """
    return [definition for _, definition in read_files(paths, kinds, setting_names)]


def read_files(
    paths: Iterable[Path], kinds: Mapping[str, ConfigurableKind], setting_names: Mapping[str, NameType]
) -> list[tuple[Path, WorkflowDefinition]]:
    """As `read_workflows`, each with its file."""
    definitions: dict[str, tuple[Path, WorkflowDefinition]] = {}
    complaints: list[str] = []
    for path in paths:
        read = _read_python if path.suffix == ".py" else _read_yaml
        for document, definition in read(path, kinds, setting_names):
            if definition is not None and definition.name in definitions:
                first = definitions[definition.name][0]
                reason = f"the workflow '{definition.name}' is also in {first}; each has a file of its own"
                document.problems.append(Problem(("workflow",), reason))
            elif definition is not None:
                definitions[definition.name] = (path, definition)
            complaints += _complaints(document, path)
    if complaints:
        raise InvalidWorkflow("\n".join(complaints))
    return list(definitions.values())


def _read_yaml(
    path: Path, kinds: Mapping[str, ConfigurableKind], setting_names: Mapping[str, NameType]
) -> Iterator[tuple[Document, WorkflowDefinition | None]]:
    document = _read(path)
    definition = None
    # A file that YAML itself refuses has no lines either, and nothing to say about workflows.
    if document.lines:
        definition, problems = build_workflow(document.data, kinds, setting_names, path.parent)
        document.problems += problems
    yield document, definition


def _read_python(
    path: Path, kinds: Mapping[str, ConfigurableKind], setting_names: Mapping[str, NameType]
) -> Iterator[tuple[Document, WorkflowDefinition | None]]:
    workflows, problems = workflows_in(path)
    if problems:
        yield Document(problems=problems), None
    for workflow in workflows:
        definition, problems = workflow.check(kinds, setting_names, path.parent)
        yield Document(lines=lines_in(path), problems=problems), definition


def _read(path: Path) -> Document:
    try:
        content = path.read_bytes()
        return read_document(content.decode("utf-8-sig"))
    except OSError as error:
        return Document(problems=[Problem((), f"cannot be read: {error.strerror or error}", 1)])
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Document(problems=[Problem((), f"not UTF-8 text: {error.reason}", line)])


def _complaints(document: Document, path: Path) -> list[str]:
    located = sorted({(document.line_of(problem), problem.reason) for problem in document.problems})
    return [f"{path}:{line}: {' '.join(reason.split())}" for line, reason in located]
