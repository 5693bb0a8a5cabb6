"""Workflow files as this revision of the service reads them: with its kinds and the names of its settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from run.app import template_names
from run.clients import Clients
from run.kinds import build_kinds
from run.settings import Settings, read_alone
from run.workflows.definition import WorkflowDefinition
from run.workflows.reader import read_files
from run.workflows.templates import NameType

#: A file is read with the names of the settings and never with their values, so that it means the same everywhere.
_ANY_VALUES = {
    "DATABASE_URL": "postgresql://localhost/any",
    "GOOGLE_CLOUD_PROJECT": "any-project",
    "LANDING_BUCKET": "any-bucket",
    "BIGQUERY_LOCATION": "EU",
}


def read_definitions(files: Iterable[Path]) -> list[WorkflowDefinition]:
    """The workflows of these files, in their order; raises InvalidWorkflow with the problems of all of them."""
    return [definition for _, definition in read_definition_files(files)]


def read_definition_files(files: Iterable[Path]) -> list[tuple[Path, WorkflowDefinition]]:
    """The same, each with its file."""
    # Except these: what a workflow may call here is for whoever runs this service to say.
    allowed = {"FUNCTION_MODULES": read_alone("FUNCTION_MODULES") or ""}
    settings = Settings.from_environment({**_ANY_VALUES, **allowed}, serves=False)
    names = dict.fromkeys(template_names(settings), NameType.TEXT)
    return read_files(files, build_kinds(Clients(settings)), names)
