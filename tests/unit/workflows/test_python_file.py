"""A Python file that defines workflows stands where a YAML file may."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest

from run.errors import InvalidWorkflow
from run.workflows.reader import read_files, read_workflows
from tests.unit.workflows.test_python_workflow import KINDS
from tests.unit.workflows.toy_kinds import SETTINGS

_numbers = count()

SOUND = """
from run.workflows import KindTask, Task, TaskDependency, Workflow

def fetch():
    return 1

def show(rows):
    print(rows)

tasks = [
    Task("fetch", "fetch.log", fetch),
    Task("show", "show.log", show, dependencies=[TaskDependency("fetch", use_result_as_additional_args=True)]),
]
first = Workflow("first", tasks)
again = first
second = Workflow(name="second", tasks=[KindTask("ask", "query", {"sql": "SELECT 1"})])
"""


@pytest.fixture(autouse=True)
def own_modules() -> Iterator[None]:
    """Whatever a test lets be imported is forgotten after it."""
    before, path = dict(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - set(before):
        del sys.modules[name]
    assert sys.path == path


def write(folder: Path, text: str, name: str = "") -> Path:
    path = folder / (name or f"flow_{next(_numbers)}.py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return path


def complaints(*paths: Path) -> list[str]:
    with pytest.raises(InvalidWorkflow) as caught:
        read_workflows(paths, KINDS, SETTINGS)
    return str(caught.value).splitlines()


def test_a_file_may_define_several_workflows(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND)
    read = read_files([path], KINDS, SETTINGS)
    assert [(file, definition.name) for file, definition in read] == [(path, "first"), (path, "second")]
    [_, show] = read[0][1].tasks
    assert show.config["function"] == f"{path.stem}:show"
    assert show.config["results_as_args"] == ["fetch"]


def test_yaml_and_python_files_are_read_together(tmp_path: Path) -> None:
    yaml = tmp_path / "w.yaml"
    yaml.write_text("workflow: in_yaml\ntasks: {a: {kind: query}}\n")
    names = [definition.name for definition in read_workflows([write(tmp_path, SOUND), yaml], KINDS, SETTINGS)]
    assert names == ["first", "second", "in_yaml"]
    yaml.write_text("workflow: second\ntasks: {a: {kind: query}}\n")
    python = write(tmp_path, SOUND)
    assert complaints(python, yaml) == [
        f"{yaml}:1: the workflow 'second' is also in {python}; each has a file of its own"
    ]


def test_files_beside_it_can_be_imported_and_named(tmp_path: Path) -> None:
    helper = f"helper_{next(_numbers)}"
    write(tmp_path, "def work():\n    return 1\n", f"{helper}.py")
    (tmp_path / "a.sql").write_text("SELECT 7")
    path = write(
        tmp_path,
        f"""
        from {helper} import work
        from run.workflows import KindTask, Task, Workflow
        w = Workflow("w", [Task("a", "a.log", work), KindTask("b", "query", {{"sql_file": "a.sql"}})])
        """,
    )
    [definition] = read_workflows([path], KINDS, SETTINGS)
    configs = {task.name: task.config for task in definition.tasks}
    assert (configs["a"]["function"], configs["b"]["sql"]) == (f"{helper}:work", "SELECT 7")


def test_a_file_below_a_folder_of_imports_is_the_module_that_others_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = f"flows_{next(_numbers)}"
    path = write(tmp_path, SOUND, f"{package}/daily/sales.py")
    read = read_workflows([path], KINDS, SETTINGS)
    assert read[0].tasks[0].config["function"] == f"{package}.daily.sales:fetch"


def test_a_file_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND)
    read_workflows([path], KINDS, SETTINGS)
    path.write_text(SOUND[: SOUND.index("second =")].replace('"first"', '"changed"'))
    assert [one.name for one in read_workflows([path], KINDS, SETTINGS)] == ["changed"]


def test_problems_are_told_with_the_line_of_their_task(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        from run.workflows import KindTask, Task, TaskDependency, Workflow
        names = ["made", "here"]
        w = Workflow("w", [
            Task("a", "a.log", lambda: 1),
            Task(name="b", log_file="b.log", function=print, dependencies=[
                TaskDependency("c"),
            ]),
            KindTask("d", "lod"),
            *[KindTask(name, "lod") for name in names],
        ])
        """,
    )
    told = [line.removeprefix(f"{path}:") for line in complaints(path)]
    assert [line.partition(":")[0] for line in told] == ["1", "1", "5", "6", "9"]
    assert told[2].startswith("5: task 'a': a lambda cannot be found")
    assert told[3].startswith("6: task 'b': needs 'c', which is no task of this workflow")
    assert told[4].startswith("9: task 'd': unknown kind 'lod'")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1\n", "1: defines no Workflow; give one a name at the top of the file"),
        ("x = 1\ny = (\n", "2: SyntaxError: '(' was never closed"),
        ("x = 1\ndef f():\n    return 1 / 0\n\nf()\n", "3: ZeroDivisionError: division by zero"),
        ("\nimport no_such_module\n", "2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("import sys\nsys.exit(3)\n", "2: SystemExit: 3"),
        ("import sys\nsys.exit()\n", "2: SystemExit"),
        (
            "from run.workflows import Task\nTask('a b', 'x.log', print)\n",
            "2: 'a b' is no name of a task: write a text without spaces",
        ),
        (b"\xff\xfe", "1: SyntaxError: "),
    ],
)
def test_what_a_file_does_wrong_is_a_problem_with_its_line_and_never_a_traceback(
    tmp_path: Path, text: str | bytes, complaint: str
) -> None:
    path = tmp_path / f"flow_{next(_numbers)}.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    [told] = complaints(path)
    assert told.startswith(f"{path}:{complaint}")
    assert (path.stem in sys.modules) == ("defines no Workflow" in told)


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert complaints(tmp_path / "absent.py") == [
        f"{tmp_path / 'absent.py'}:1: cannot be read: No such file or directory"
    ]


def test_a_file_whose_name_is_no_name_of_a_module_is_refused(tmp_path: Path) -> None:
    [told] = complaints(write(tmp_path, SOUND, "my-flow.py"))
    assert told.endswith(":1: 'my-flow' is no name of a module: write letters, digits and '_'")


def test_a_file_with_the_name_of_another_module_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    import json

    [told] = complaints(write(tmp_path, SOUND, "json.py"))
    assert re.search(r"another module is called 'json' \(.*\); rename one", told)
    assert sys.modules["json"] is json
    one, two = write(tmp_path / "a", SOUND, "same_name.py"), write(tmp_path / "b", SOUND, "same_name.py")
    [told] = complaints(one, two)
    assert f"another module is called 'same_name' ({one})" in told


def test_an_interrupt_while_reading_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        read_workflows([write(tmp_path, "raise KeyboardInterrupt\n")], KINDS, SETTINGS)
