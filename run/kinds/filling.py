"""Templates of kinds that talk to other services, filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from run.errors import PermanentFailure
from run.kinds.kind import Work
from run.workflows.templates import TemplateError, Value, render


def filled_text(template: str, values: Mapping[str, Value], escape: Callable[[str], str] | None = None) -> str:
    """The template with these values; raises PermanentFailure when one cannot be written as the template wants it."""
    try:
        return render(template, values, escape)
    except TemplateError as error:
        raise PermanentFailure(str(error)) from error


def filled_json(value: Any, values: Mapping[str, Value]) -> Any:
    """A JSON value with the templates in its texts filled in; its keys stay as they are."""
    match value:
        case str():
            return filled_text(value, values)
        case Mapping():
            return {key: filled_json(member, values) for key, member in value.items()}
        case list():
            return [filled_json(member, values) for member in value]
    return value


def header_key(work: Work) -> str:
    """The key of the attempt as plain ASCII without spaces, whatever the batch is called."""
    return quote(work.key, safe="/:@-._~")
