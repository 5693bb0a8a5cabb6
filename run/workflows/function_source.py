"""Where the function of a task is written: looked up without executing anything of it."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec

from run.workflows.problems import did_you_mean


def is_allowed(module: str, allowed: Collection[str]) -> bool:
    """Whether the module is one of these, or below one of them."""
    return any(module == one or module.startswith(f"{one}.") for one in allowed)


def problem_of_function(reference: str) -> str | None:
    """Why there is no `module:name` here; None when there is, or when only executing the module would tell."""
    module, _, name = reference.partition(":")
    try:
        spec = _spec_of(module)
    except KeyError:
        # A folder without __init__.py below another one is a package only once that one is imported.
        return None
    if spec is None:
        return f"there is no module '{module}' here; it must be where the service finds it"
    names = _names_in(spec)
    if names is None or name in names:
        return None
    return f"the module {module} has no function '{name}'{did_you_mean(name, names)}"


def _spec_of(module: str) -> ModuleSpec | None:
    importlib.invalidate_caches()
    places: Sequence[str] | None = None
    spec = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        spec = _found(".".join(parts[:depth]), places)
        places = None if spec is None else spec.submodule_search_locations
        if places is None and depth < len(parts):
            return None
    return spec


def _found(name: str, places: Sequence[str] | None) -> ModuleSpec | None:
    found = (finder.find_spec(name, places) for finder in sys.meta_path)
    return next((spec for spec in found if spec is not None), None)


def _names_in(spec: ModuleSpec) -> frozenset[str] | None:
    """What the module defines at its top; None when its text does not tell."""
    get_source = getattr(spec.loader, "get_source", None)
    try:
        source = None if get_source is None else get_source(spec.name)
        return None if source is None else frozenset(_names_of(ast.parse(source).body))
    except (ImportError, SyntaxError, _Unknown):
        return None


class _Unknown(Exception):
    """A star import may bring any name."""


def _names_of(body: Iterable[ast.AST]) -> Iterator[str]:
    """Names bound by these statements, in an `if` or a `with` too, but not those inside functions and classes."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from map(_bound, aliases)
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case _:
                yield from _names_of(ast.iter_child_nodes(node))


def _bound(alias: ast.alias) -> str:
    if alias.name == "*":
        raise _Unknown
    return alias.asname or alias.name.partition(".")[0]
