"""Python files that define workflows. Reading one executes it, so it must come from somebody who may run code here."""

from __future__ import annotations

import ast
import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from run.errors import InvalidWorkflow
from run.workflows.problems import Place, Problem
from run.workflows.python_workflow import Workflow


def workflows_in(path: Path) -> tuple[list[Workflow], list[Problem]]:
    """The workflows that are values of a module's names, in their order, or why there are none."""
    try:
        module = _imported(path.resolve())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the file does, SystemExit too, is a problem of the file.
        return [], list(_problems_of(error, path.resolve()))
    found = {id(value): value for value in vars(module).values() if isinstance(value, Workflow)}
    if not found:
        return [], [Problem((), "defines no Workflow; give one a name at the top of the file", 1)]
    return list(found.values()), []


def lines_in(path: Path) -> dict[Place, int]:
    """Where workflow and tasks are written, as far as their names stand there as plain texts."""
    lines: dict[Place, int] = {(): 1}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            named = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "name")]
            match named:
                case [ast.Constant(value=str(name))] if called in {"Task", "KindTask"}:
                    lines.setdefault(("tasks", name), node.lineno)
    return lines


def _imported(path: Path) -> ModuleType:
    """The module of this file, under the name by which other code imports it, executed now."""
    folder, name = _place_of(path)
    # A file that is not there is told as one, and not as a module that nobody finds.
    path.stat()
    module = sys.modules.get(name)
    if module is None or _is_of(module, path):
        sys.modules.pop(name, None)
        with _importable(folder):
            module = importlib.import_module(name)
    if not _is_of(module, path):
        raise InvalidWorkflow(f"another module is called '{name}' ({getattr(module, '__file__', None)}); rename one")
    return module


def _place_of(path: Path) -> tuple[Path, str]:
    """The folder that imports begin at, and the module's name from there; its own folder when no import reaches it."""
    for entry in sys.path:
        if path.is_relative_to(Path(entry).resolve()):
            parts = path.relative_to(Path(entry).resolve()).with_suffix("").parts
            if all(part.isidentifier() for part in parts):
                return Path(entry).resolve(), ".".join(parts)
    if not path.stem.isidentifier():
        raise InvalidWorkflow(f"'{path.stem}' is no name of a module: write letters, digits and '_'")
    return path.parent, path.stem


def _is_of(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _problems_of(error: BaseException, path: Path) -> Iterator[Problem]:
    own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = own[-1] if own else 1
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = error.lineno or 1
    if isinstance(error, OSError) and not own:
        yield Problem((), f"cannot be read: {error.strerror or error}", 1)
    elif isinstance(error, InvalidWorkflow):
        yield from (Problem((), reason, line) for reason in str(error).splitlines())
    else:
        yield Problem((), f"{type(error).__name__}: {error}".rstrip(": "), line)
