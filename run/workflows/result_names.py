"""The results of parents, and the item of an element, as names in templates: `{results.load.rows}`, `{item.day}`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from run.workflows.arguments import problem_of_parent
from run.workflows.definition import TriggerRule
from run.workflows.problems import did_you_mean
from run.workflows.scope import text_of
from run.workflows.templates import TemplateError, all_names_in, texts_in

_PREFIX = "results."
#: What only the elements of a mapped task have: their item of the list, and their number.
ITEM, ELEMENT = "item", "element"


def result_names_in(value: Any) -> frozenset[str]:
    """Every `results.TASK...` that a template somewhere in this JSON value uses."""
    return frozenset(name for name in _names_in(value, _PREFIX) if name.startswith(_PREFIX))


def item_names_in(value: Any) -> frozenset[str]:
    """The same of `item` and `item.KEY...`."""
    return frozenset(name for name in _names_in(value, ITEM) if name.split(".")[0] == ITEM)


def _names_in(value: Any, with_text: str) -> Iterator[str]:
    return (use.name for template in texts_in(value) if with_text in template for use in all_names_in(template))


def parents_of(names: Iterable[str]) -> frozenset[str]:
    """The tasks whose results these names are, or are parts of."""
    return frozenset(name.split(".")[1] for name in names)


def problems_of_results(names: Collection[str], needs: Collection[str], rule: TriggerRule) -> Iterator[str]:
    """Yield why a task with these parents cannot use one of these names."""
    for name in sorted(names):
        parent = name.split(".")[1]
        if reason := problem_of_parent(parent, needs, rule):
            yield f"'{{{name}}}' {reason}"


def result_in(template: str, results: Mapping[str, Any]) -> tuple[Any] | None:
    """The result that the template names and nothing else, as the JSON value that it is; None for other templates.

    Raises TemplateError when it is not there.
    """
    uses = all_names_in(template)
    if len(uses) != 1 or (uses[0].start, uses[0].end) != (0, len(template)) or not uses[0].name.startswith(_PREFIX):
        return None
    return (_named(uses[0].name, results)[0],)


def result_values(names: Iterable[str], results: Mapping[str, Any]) -> dict[str, str]:
    """What each name stands for; raises TemplateError naming what is not there, and what is."""
    return {name: _text_at(name, results) for name in sorted(names)}


def item_values(names: Iterable[str], item: Any) -> dict[str, str]:
    """The same of names that begin with `item`."""
    found = {name: _value_in(_quoted(name), name.split(".")[1:], item, "the item") for name in sorted(names)}
    return {name: _text(name, *value_and_place) for name, value_and_place in found.items()}


def value_at(path: str, results: Mapping[str, Any], label: str) -> tuple[Any, str]:
    """The value at `TASK.PART.PART` in these results, and what it is called; raises TemplateError, after this label."""
    task, *parts = path.split(".")
    if task not in results:
        raise TemplateError(f"{label}: the task '{task}' has no result, because no attempt of it succeeded")
    return _value_in(label, parts, results[task], f"the result of '{task}'")


def described(value: Any) -> str:
    """What a value is, for whoever looks for something in it."""
    match value:
        case Mapping():
            return f"a mapping of {', '.join(map(repr, sorted(value)[:20])) or 'nothing'}"
        case list():
            return f"a list of {len(value)}"
    return f"the value {text_of(value)!r}"


def _text_at(name: str, results: Mapping[str, Any]) -> str:
    return _text(name, *_named(name, results))


def _text(name: str, value: Any, place: str) -> str:
    if isinstance(value, list | Mapping):
        raise TemplateError(f"{_quoted(name)}: {place} is {described(value)}, which has no text; name a part of it")
    return text_of(value)


def _named(name: str, results: Mapping[str, Any]) -> tuple[Any, str]:
    return value_at(name.removeprefix(_PREFIX), results, _quoted(name))


def _quoted(name: str) -> str:
    return f"'{{{name}}}'"


def _value_in(label: str, path: Iterable[str], value: Any, place: str) -> tuple[Any, str]:
    for part in path:
        value = _member(label, place, value, part)
        place = f"{place}, '{part}'"
    return value, place


def _member(label: str, place: str, value: Any, part: str) -> Any:
    if isinstance(value, Mapping) and part in value:
        return value[part]
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    hint = did_you_mean(part, value) if isinstance(value, Mapping) else ""
    raise TemplateError(f"{label}: {place} is {described(value)} without '{part}'{hint}")
