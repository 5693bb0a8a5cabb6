"""The configuration that an attempt really had, as people may see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from database.attempts import Claimed
from run.kinds.kind import Work
from run.workflows.templates import TemplateError, Value, render


class _SecretNamed:
    """A secret by its name, which is none."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<the secret {self._name}>"


def effective_configuration(claimed: Claimed, work: Work) -> dict[str, Any]:
    """The keys of the attempt's kind with the templates in them filled in; those that say nothing are left out."""
    config = {key: _filled(value, work.values) for key, value in claimed.config.items()}
    return {key: value for key, value in config.items() if value is not None and value not in ([], {}, "")}


def _filled(value: Any, values: Mapping[str, Value]) -> Any:
    match value:
        case str():
            try:
                return render(value, values)
            except TemplateError:
                # That is why the attempt has failed; what was written is told then.
                return value
        case {"secret": str(name)}:
            return _SecretNamed(name)
        case Mapping():
            return {key: _filled(member, values) for key, member in value.items()}
        case list():
            return [_filled(member, values) for member in value]
    return value
