"""Templates: `{name}` or `{name:%Y-%m}` of a declared name is replaced; every other brace stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from run.errors import AcceleratorError
from run.workflows.dates import ISO, write_date
from run.workflows.problems import did_you_mean

Value = str | date

#: What the names of workflows, tasks, params and groups look like.
NAME = r"[a-z][a-z0-9_]*"
#: A name, or a way into a value: `results.load_sales.rows`.
_PATH = r"(?:results|item)(?:\.[^{}.:\s]+)+"
_USE = re.compile(rf"\{{({_PATH}|{NAME})(?::([^{{}}]*))?\}}")


class TemplateError(AcceleratorError):
    """A template cannot be filled with these values; the message names both."""


class NameType(StrEnum):
    """What a name stands for."""

    TEXT = "text"
    DATE = "date"


@dataclass(frozen=True)
class NameUse:
    """One `{name}` or `{name:format}` in a template, from `start` up to `end`."""

    name: str
    format: str | None
    start: int
    end: int


def texts_in(value: Any) -> list[str]:
    """Every text in a JSON value that may be a template."""
    match value:
        case str():
            return [value]
        case Mapping():
            return [text for member in value.values() for text in texts_in(member)]
        case list():
            return [text for member in value for text in texts_in(member)]
    return []


def all_names_in(template: str) -> tuple[NameUse, ...]:
    """Everything in the template that reads like a name in braces, declared or not."""
    return tuple(NameUse(found[1], found[2], found.start(), found.end()) for found in _USE.finditer(template))


def names_in(template: str, declared: Collection[str]) -> tuple[NameUse, ...]:
    """The declared names that the template uses, in order, with their formats; a mapping's keys count as declared."""
    return tuple(use for use in all_names_in(template) if use.name in declared)


def render(template: str, values: Mapping[str, Value], escape: Callable[[str], str] | None = None) -> str:
    """Replace every name that has a value; a date without a format is ISO.

    `escape` is applied to each value before it is put in. Raises TemplateError for a format on a text.
    """
    parts: list[str] = []
    position = 0
    for use in names_in(template, values):
        text = written(values[use.name], use)
        parts += (template[position : use.start], escape(text) if escape else text)
        position = use.end
    return "".join(parts) + template[position:]


def written(value: Value, use: NameUse) -> str:
    """The value as this use of its name shows it; raises TemplateError for a format on a text."""
    if isinstance(value, date):
        return write_date(value, ISO if use.format is None else use.format)
    if use.format is not None:
        raise TemplateError(f"'{use.name}' is text and takes no format; write {{{use.name}}}")
    return value


def template_problems(template: str, names: Mapping[str, NameType]) -> Iterator[str]:
    """Yield what is wrong with a template: a format on a text, or a name that is nearly a declared one."""
    for use in all_names_in(template):
        if use.name not in names:
            hint = did_you_mean(use.name, names)
            if hint:
                yield f"'{{{use.name}}}' is not a known name{hint}"
        elif use.format is not None and names[use.name] is NameType.TEXT:
            yield f"'{use.name}' is text and takes no format; write {{{use.name}}}"
