"""The kind that docs/kinds.md shows is a whole kind: one module of under 40 lines, and one line in the table."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from database.workflows import store_version
from run.clients import Clients
from run.engine.definitions import new_version
from run.engine.life import TaskLife
from run.errors import InvalidWorkflow
from run.kinds import build_kinds
from run.kinds.kind import Kind
from run.settings import Settings
from run.workflows.reader import read_workflows
from tests.engine_room import EngineRoom

ROOT = Path(__file__).parents[3]
MOST_LINES = 40
PAGE = (ROOT / "docs" / "kinds.md").read_text().partition("\n## Add a kind\n")[2]


def shown(language: str) -> str:
    """The one example in this language."""
    [example] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(example)


def the_line() -> str:
    """What the page adds to the table of kinds."""
    [line] = re.findall(r"The line is `(\w+),`", PAGE)
    return str(line)


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Kind[Any]]:
    """The service's kinds and the one that the page shows."""
    (tmp_path / "announce.py").write_text(shown("python"))
    spec = spec_from_file_location("announce", tmp_path / "announce.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # pydantic looks up the names of a class in its module.
    monkeypatch.setitem(sys.modules, "announce", module)
    spec.loader.exec_module(module)
    settings = Settings(database_url="postgresql://nobody@localhost/none", project="local", landing_bucket="landing")
    clients = Clients(settings)
    added: Kind[Any] = getattr(module, the_line())(clients)
    return {**build_kinds(clients), added.name: added}


def run(room: EngineRoom, kinds: Mapping[str, Kind[Any]], file: Path, text: str) -> None:
    """Check and store the workflow, and run its batch of March."""
    file.write_text(text)
    [definition] = read_workflows([file], kinds, {})
    room.life = TaskLife(room.database, kinds, room.publisher, {})
    room.database.transact(lambda tx: store_version(tx, new_version(definition)))
    room.start(workflow=definition.name)
    room.deliver_all()


def test_the_kind_of_the_page_runs(room: EngineRoom, kinds: Mapping[str, Kind[Any]], tmp_path: Path) -> None:
    run(room, kinds, tmp_path / "w.yaml", shown("yaml"))
    assert room.statuses(workflow="announcements") == {"announce": "SUCCESS"}
    assert room.batch_status() == "SUCCESS"
    assert room.rows("SELECT details ->> 'text' FROM task_log") == [("The sales of 2024-03 are here.",)]


def test_its_failure_is_the_attempt_s(room: EngineRoom, kinds: Mapping[str, Kind[Any]], tmp_path: Path) -> None:
    run(room, kinds, tmp_path / "w.yaml", shown("yaml") + "    most_characters: 10\n")
    assert room.batch_status() == "ERROR"
    assert room.log("announce") == [(1, "ERROR", "'The sales of 2024-03 are here.' is longer than 10 characters")]


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("{what}", "{wha}", r"w\.yaml:7: .*'text': .*wha"),
        ("text:", "texts:", r"w\.yaml:\d: .*texts"),
    ],
)
def test_its_keys_are_checked(
    kinds: Mapping[str, Kind[Any]], tmp_path: Path, before: str, after: str, problem: str
) -> None:
    (tmp_path / "w.yaml").write_text(shown("yaml").replace(before, after))
    with pytest.raises(InvalidWorkflow, match=problem):
        read_workflows([tmp_path / "w.yaml"], kinds, {})


def test_it_is_shown_in_under_forty_lines() -> None:
    assert len(shown("python").splitlines()) < MOST_LINES


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The service as it is, in a folder of its own, and a workflow file with a task of the new kind."""
    for package in ("run", "database"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "w.yaml").write_text(shown("yaml"))
    return tmp_path


def check(copy: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "run", "workflow", "check", "w.yaml"]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=60, check=False)


def test_one_module_and_one_line_in_the_table_are_all_that_the_service_needs(copy: Path) -> None:
    (copy / "run" / "kinds" / "announce.py").write_text(shown("python"))
    unknown = check(copy)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "announce" in unknown.stderr

    table = copy / "run" / "kinds" / "__init__.py"
    [the_import] = re.findall(r"`(from run\.kinds\.announce import \w+)`", PAGE)
    text = table.read_text().replace("from run.kinds.kind ", f"{the_import}\nfrom run.kinds.kind ", 1)
    text, added = re.subn(r"^\)$", f"    {the_line()},\n)", text, count=1, flags=re.MULTILINE)
    assert added == 1
    table.write_text(text)

    known = check(copy)
    assert (known.returncode, known.stderr) == (0, "")
    assert known.stdout == "w.yaml: fine, workflow announcements with 1 task\n"
