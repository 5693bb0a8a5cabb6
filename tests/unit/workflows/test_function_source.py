"""Whether a module has a function is seen without executing anything of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from run.workflows.function_source import is_allowed, problem_of_function, stranger

SOURCE = """
import os
from json import dumps as written
raise RuntimeError("executed")
def plain(): inner = 1
async def later(): ...
class Callable: method = 1
if os.name:
    def conditional(): ...
else:
    with open("x") as file: assigned = 1
try:
    from fast import quick
except ImportError:
    quick: object = None
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop_flow.py").write_text(SOURCE)
    (tmp_path / "shop_pack" / "deep").mkdir(parents=True)
    (tmp_path / "shop_pack" / "__init__.py").write_text("raise RuntimeError('executed')")
    (tmp_path / "shop_pack" / "inside.py").write_text("def run(): ...")
    (tmp_path / "shop_pack" / "starred.py").write_text("from os import *")
    (tmp_path / "shop_pack" / "broken.py").write_text("def (")
    (tmp_path / "shop_folder").mkdir()
    (tmp_path / "shop_folder" / "inside.py").write_text("def run(): ...")
    return tmp_path


@pytest.mark.parametrize("name", ["plain", "later", "Callable", "conditional", "assigned", "quick", "os", "written"])
def test_whatever_a_module_binds_at_its_top_is_there(modules: Path, name: str) -> None:
    assert problem_of_function(f"shop_flow:{name}") is None


@pytest.mark.parametrize("name", ["inner", "method", "dumps", "nothing"])
def test_what_it_does_not_bind_is_missed(modules: Path, name: str) -> None:
    reason = problem_of_function(f"shop_flow:{name}")
    assert reason is not None
    assert reason.startswith(f"the module shop_flow has no function '{name}'")


@pytest.mark.parametrize("reference", ["shop_pack.inside:run", "shop_folder.inside:run", "json:dumps", "math:sqrt"])
def test_modules_are_found_in_packages_folders_and_python_itself(modules: Path, reference: str) -> None:
    assert problem_of_function(reference) is None


@pytest.mark.parametrize("reference", ["shop_pack.starred:anything", "shop_pack.broken:anything", "math:anything"])
def test_what_only_executing_it_would_tell_is_believed(modules: Path, reference: str) -> None:
    assert problem_of_function(reference) is None


@pytest.mark.parametrize("module", ["shop_nowhere", "shop_pack.nowhere", "shop_flow.below", "shop_nowhere.below"])
def test_a_module_that_is_not_there_is_missed(modules: Path, module: str) -> None:
    assert problem_of_function(f"{module}:run") == (
        f"there is no module '{module}' here; it must be where the service finds it"
    )


def test_a_name_allows_itself_and_what_is_below_it() -> None:
    allowed = ["acme.reports", "flows"]
    assert [is_allowed(name, allowed) for name in ("acme.reports", "acme.reports.daily", "flows.a.b")] == [True] * 3
    assert not any(is_allowed(name, allowed) for name in ("acme", "acme.reports2", "flow", "flows2", "os"))


SHELF = {
    "__init__.py": "from .own import cut, shell as open_shell\nfrom ..shop_out import away",
    "own.py": "from subprocess import run as shell\nimport os, shop_shelf.deep\ndef cut(): ...\nalias = shell",
    "deep.py": "from . import own\nfrom .own import *\nfrom .own import cut as sliced\nfrom .deep import circle",
    "all.py": "from os import *\ndef remove(): ...",
    "either.py": "try:\n    from shop_out import quick\nexcept ImportError:\n    def quick(): ...",
}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop_shelf").mkdir()
    for name, source in SHELF.items():
        (tmp_path / "shop_shelf" / name).write_text(source)


@pytest.mark.parametrize(
    ("reference", "module"),
    [
        ("own:shell", "subprocess"),
        ("own:os", "os"),
        ("deep:shell", "subprocess"),
        ("all:system", "os"),
        ("either:quick", "shop_out"),
    ],
)
def test_what_a_module_only_imports_belongs_to_the_other_module(shelf: None, reference: str, module: str) -> None:
    assert stranger(f"shop_shelf.{reference}", ["shop_shelf"]) == module
    assert stranger(f"shop_shelf.{reference}", ["shop_shelf", module]) is None


def test_a_package_has_what_modules_below_it_have(shelf: None) -> None:
    assert stranger("shop_shelf:cut", ["shop_shelf"]) is None
    assert stranger("shop_shelf:cut", ["shop_shelf.own"]) == "shop_shelf"
    assert stranger("shop_shelf:open_shell", ["shop_shelf"]) == "subprocess"
    assert stranger("shop_shelf:away", ["shop_shelf"]) == "shop_out"


@pytest.mark.parametrize(
    "reference",
    ["own:cut", "own:alias", "deep:sliced", "deep:own", "deep:cut", "all:remove", "deep:circle", "none:x"],
)
def test_what_is_a_modules_own_or_comes_from_another_allowed_one_is_allowed(shelf: None, reference: str) -> None:
    assert stranger(f"shop_shelf.{reference}", ["shop_shelf"]) is None
