"""An engine with the real kind `python_function`, for tests: workflows in Python or YAML, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent
from typing import Any

import yaml
from pydantic import SecretStr

from database.keys import BatchKey
from database.sessions import Database
from database.workflows import NewVersion, store_version
from run.clients import Clients
from run.engine.definitions import new_version
from run.errors import InvalidWorkflow
from run.kinds.python_function import PythonFunction
from run.settings import Settings
from run.workflows import Workflow
from run.workflows.builder import build_workflow
from run.workflows.definition import WorkflowDefinition
from run.workflows.templates import NameType
from tests.engine_room import EngineRoom

NAMES = {"landing_bucket": NameType.TEXT}
#: Functions of tests, written in this folder or below it.
ALLOWED = "tests"


def settings(allowed: str = ALLOWED, secrets: Mapping[str, str] | None = None) -> Settings:
    """Settings under which these modules may be called."""
    return Settings(
        database_url="postgresql://nobody@localhost/none",
        project="local",
        landing_bucket="landing",
        function_modules=allowed,
        secrets={name: SecretStr(value) for name, value in (secrets or {}).items()},
    )


class FunctionRoom:
    """One engine, and the workflows of one test in it."""

    def __init__(self, database: Database, *, allowed: str = ALLOWED, secrets: Mapping[str, str] | None = None) -> None:
        self.engine = EngineRoom(database, more_kinds=[PythonFunction(Clients(settings(allowed, secrets)))])

    def definition(self, workflow: Workflow | str) -> WorkflowDefinition:
        """The checked definition of a workflow in Python, or of the text of a YAML file."""
        kinds = self.engine.life.kinds
        if isinstance(workflow, Workflow):
            return workflow.definition(kinds, NAMES)
        definition, problems = build_workflow(yaml.safe_load(dedent(workflow)), kinds, NAMES)
        if definition is None:
            raise InvalidWorkflow("\n".join(problem.reason for problem in problems))
        return definition

    def version(self, workflow: Workflow | str) -> NewVersion:
        return new_version(self.definition(workflow))

    def apply(self, workflow: Workflow | str) -> str:
        """Check and store it; its name."""
        return self.store(self.version(workflow))

    def store(self, version: NewVersion) -> str:
        """Store what was checked; its name."""
        self.engine.database.transact(lambda tx: store_version(tx, version))
        return version.workflow

    def run(self, workflow: Workflow | str, batch_id: str = "2024-03") -> BatchKey:
        """Apply it, start a batch, and deliver every message."""
        key = self.engine.start(batch_id, self.apply(workflow))
        self.engine.deliver_all()
        return key

    def one(self, function: str, **keys: Any) -> tuple[str, str | None, dict[str, Any], Any]:
        """Run one task that calls this function of `functions.py`: status, error, details and result of its attempt."""
        config = {"kind": "python_function", "function": f"tests.integration.functions.functions:{function}", **keys}
        self.run(yaml.safe_dump({"workflow": "alone", "batch": "{period}", "tasks": {"it": config}}))
        return self.attempt("it")

    def attempt(self, task: str) -> tuple[str, str | None, dict[str, Any], Any]:
        """The same of the last attempt of a task."""
        rows = self.engine.rows(
            "SELECT l.status, l.error, l.details, l.result FROM task_log l JOIN task t USING (task_id) "
            "WHERE t.name = :t ORDER BY l.attempt DESC LIMIT 1",
            t=task,
        )
        [(status, error, details, result)] = rows
        return status, error, details, result

    def results(self, key: BatchKey) -> dict[str, Any]:
        """The results of the tasks of a batch that succeeded."""
        return dict(
            map(
                tuple,
                self.engine.rows(
                    "SELECT t.name, l.result FROM task_log l JOIN task t USING (task_id) "
                    "WHERE l.workflow_id = :w AND l.batch_id = :b AND l.status = 'SUCCESS'",
                    w=key.workflow_id,
                    b=key.batch_id,
                ),
            )
        )
