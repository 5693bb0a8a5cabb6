"""`workflow check` and `apply` on files written in Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.conftest import CommandLine

NIGHTLY = """
from run.workflows import KindTask, Workflow

print("being read")
nightly = Workflow(
    "nightly",
    [
        KindTask("wait", "external"),
        KindTask("sum", "bigquery_query", {"sql": "SELECT 1", "retries": 2}, needs=["wait"]),
    ],
    batch="{day}",
)
weekly = Workflow("weekly", [KindTask("wait", "external")])
"""
SAME_IN_YAML = """
workflow: nightly
batch: "{day}"
tasks:
  wait: {kind: external}
  sum: {kind: bigquery_query, sql: SELECT 1, retries: 2, needs: [wait]}
"""


@pytest.fixture(autouse=True)
def own_modules() -> None:
    """Each test has a folder of its own, and a module is known by its name."""
    for name in ("nightly_flow", "broken_flow"):
        sys.modules.pop(name, None)


def test_check_finds_every_workflow_of_a_python_file_fine_and_stores_nothing(cli: CommandLine) -> None:
    before = cli.everything()
    path = cli.write("nightly_flow.py", NIGHTLY)
    assert cli.good("workflow", "check", path).splitlines() == [
        "being read",
        f"{path}: fine, workflow nightly with 2 tasks",
        f"{path}: fine, workflow weekly with 1 task",
    ]
    assert cli.everything() == before


def test_what_is_applied_from_python_is_what_yaml_says(cli: CommandLine) -> None:
    said = cli.good("workflow", "apply", cli.write("nightly_flow.py", NIGHTLY))
    assert said.splitlines()[1:] == ["nightly: version 1", "weekly: version 1"]
    assert cli.apply(SAME_IN_YAML) == "nightly: unchanged, version 1\n"
    shown = cli.json("workflow", "show", "nightly")["definition"]
    assert [(task["name"], task["kind"], task["needs"]) for task in shown["tasks"]] == [
        ("wait", "external", []),
        ("sum", "bigquery_query", ["wait"]),
    ]


def test_a_file_with_problems_is_refused_as_a_whole_with_its_lines(cli: CommandLine) -> None:
    broken = NIGHTLY.replace('needs=["wait"]', 'needs=["wat"]').replace('print("being read")', "")
    path = cli.write("broken_flow.py", broken)
    before = cli.everything()
    for command in ("check", "apply"):
        said = cli.bad("workflow", command, path)
        assert said == f"{path}:9: task 'sum': needs 'wat', which is no task of this workflow; did you mean 'wait'?\n"
    assert cli.everything() == before


def test_a_file_of_a_package_is_read_from_where_one_stands(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "shared.py").write_text('BATCH = "{day}"\n')
    (tmp_path / "flows" / "nightly_flow.py").write_text(
        NIGHTLY.replace('"{day}"', "BATCH").replace("from run", "from flows.shared import BATCH\nfrom run", 1)
    )
    command = [sys.executable, "-m", "run", "workflow", "check", "flows/nightly_flow.py"]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "flows/nightly_flow.py: fine, workflow nightly with 2 tasks" in done.stdout
