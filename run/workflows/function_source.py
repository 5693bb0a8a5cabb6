"""Where the function of a task is written: looked up without executing anything of it."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
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


def stranger(reference: str, allowed: Collection[str], seen: frozenset[str] = frozenset()) -> str | None:
    """The module from which `module:name` only imports its function, when that is none of those allowed.

    None when the function is its own, or when only executing the module would tell.
    """
    module, _, name = reference.partition(":")
    if not is_allowed(module, allowed):
        return module
    bound = None if reference in seen else _bound_or_none(module)
    if bound is None:
        return None
    found = [one for one in bound if one.name == name] or [one for one in bound if one.name == _ANY]
    for one in found:
        if one.module is not None:
            further = f"{one.module}:{name if one.name == _ANY else one.known_as}"
            if strange := stranger(further, allowed, seen | {reference}):
                return strange
    return None


def _bound_or_none(module: str) -> list[_Bound] | None:
    try:
        spec = _spec_of(module)
    except KeyError:
        return None
    return None if spec is None else _bound_in(spec)


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
    bound = _bound_in(spec)
    if bound is None or any(one.name == _ANY for one in bound):
        return None
    return frozenset(one.name for one in bound)


def _bound_in(spec: ModuleSpec) -> list[_Bound] | None:
    get_source = getattr(spec.loader, "get_source", None)
    try:
        source = None if get_source is None else get_source(spec.name)
        return None if source is None else list(_bound_by(ast.parse(source).body, spec))
    except (ImportError, SyntaxError):
        return None


#: A star import may bring any name.
_ANY = "*"


@dataclass(frozen=True)
class _Bound:
    """A name at the top of a module, and from which other module it has it, under which name, if it is imported."""

    name: str
    module: str | None = None
    known_as: str = ""


def _bound_by(body: Iterable[ast.AST], spec: ModuleSpec) -> Iterator[_Bound]:
    """Names bound by these statements, in an `if` or a `with` too, but not those inside functions and classes."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield _Bound(name)
            case ast.Import(names=aliases):
                for alias in aliases:
                    yield _Bound(alias.asname or alias.name.partition(".")[0], alias.name)
            case ast.ImportFrom(names=aliases):
                module = _imported_module(node, spec)
                for alias in aliases:
                    yield _Bound(alias.asname or alias.name, module, alias.name)
            case ast.Name(id=name, ctx=ast.Store()):
                yield _Bound(name)
            case _:
                yield from _bound_by(ast.iter_child_nodes(node), spec)


def _imported_module(node: ast.ImportFrom, spec: ModuleSpec) -> str:
    if not node.level:
        return node.module or ""
    parts = spec.name.split(".")
    # A package itself is what one dot means in it.
    up = node.level - (spec.submodule_search_locations is not None)
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])
