"""What docs/python.md applies to the service runs there, and gives what it gave in one process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from database.sessions import Database
from run.cli import main
from tests.function_room import FunctionRoom
from tests.unit.workflows.test_python_document import blocks


@pytest.fixture
def functions(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FunctionRoom]:
    """The code of the page that belongs into people.py stands where one stands, as the page says."""
    code = blocks("python")
    parts = [code[0], *(part for part in code if part.startswith(("from run.workflows import Workflow", "def all_at")))]
    assert len(parts) == 3
    (tmp_path / "people.py").write_text("\n".join(parts))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield FunctionRoom(database, allowed="people,builtins")
    sys.modules.pop("people", None)


def apply(database_url: str, file: str) -> str:
    environment = {"DATABASE_URL": database_url, "FUNCTION_MODULES": "people builtins"}
    done = CliRunner().invoke(main, ["workflow", "apply", file], env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_workflow_is_applied_and_run_and_its_results_are_those_of_the_process(
    functions: FunctionRoom, database_url: str
) -> None:
    assert apply(database_url, "people.py") == "people: version 1\n"
    (Path.cwd() / "people.yaml").write_text(blocks("yaml")[0])
    assert apply(database_url, "people.yaml") == "people: unchanged, version 1\n"
    key = functions.engine.start(workflow="people")
    functions.engine.deliver_all()
    results = functions.results(key)
    assert f"{results['generate_report']}\n" == "".join(blocks("text")[0].splitlines(keepends=True)[:1])
    assert results["calculate_stats"] == {"count": 2, "avg_age": 40.0}
    assert functions.attempt("generate_report")[2]["output"] == "People: Ann, Bob\n"


def test_a_process_is_one_task_and_its_report_is_the_result(functions: FunctionRoom, database_url: str) -> None:
    (Path.cwd() / "at_once.yaml").write_text(blocks("yaml")[1])
    apply(database_url, "at_once.yaml")
    functions.engine.start(workflow="people_at_once")
    functions.engine.deliver_all()
    assert functions.attempt("tell")[2]["output"] == "People, average age 40.0\n"
    report = functions.attempt("all_at_once")[3]
    assert (report["ok"], set(report["successes"])) == (
        True,
        {"fetch_data", "validate", "calculate_stats", "generate_report"},
    )
