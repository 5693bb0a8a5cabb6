"""What an attempt was really told to do, as people may see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from database.attempts import Claimed
from run.kinds.function_arguments import secret_in
from run.kinds.kind import Work
from run.notifications.failure import Call, call_of
from run.workflows.function_keys import FUNCTION_KIND, FunctionKeys
from run.workflows.templates import TemplateError, Value, render

#: What lies under these keys is plain JSON, in which `secret` is a name like any other, beside a value.
_PLAIN = frozenset({"body"})


@dataclass(frozen=True)
class ToldWork:
    """What the work is ("kind load_file"), and with what, under which heading."""

    what: str
    heading: str
    call: Call


class _SecretNamed:
    """A secret by its name, which is none."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<the secret {self._name}>"


def told_work(claimed: Claimed, work: Work) -> ToldWork:
    """A function with the arguments that it was called with, or a kind with its templates filled in."""
    if claimed.kind == FUNCTION_KIND:
        fields = FunctionKeys.model_fields
        keys = FunctionKeys.model_validate({key: value for key, value in claimed.config.items() if key in fields})
        # Only what is preset has templates and secrets: what a parent has returned is shown as it is.
        kwargs = {name: _argument(value, work.values) for name, value in keys.kwargs.items()}
        preset = {"args": _filled(keys.args, work.values), "kwargs": kwargs}
        args, kwargs = keys.model_copy(update=preset).effective(work.results, work.item)
        return ToldWork(f"function {keys.function}", "Called with", call_of(args, kwargs))
    config = {
        key: _filled(value, work.values, names_secrets=key not in _PLAIN) for key, value in claimed.config.items()
    }
    said = {key: value for key, value in config.items() if value is not None and value not in ([], {}, "")}
    return ToldWork(f"kind {claimed.kind}", "Configured with", call_of((), said))


def _argument(value: Any, values: Mapping[str, Value]) -> Any:
    named = secret_in(value)
    return _SecretNamed(named) if named else _filled(value, values)


def _filled(value: Any, values: Mapping[str, Value], *, names_secrets: bool = False) -> Any:
    match value:
        case str():
            try:
                return render(value, values)
            except TemplateError:
                # That is why the attempt has failed; what was written is told then.
                return value
        case {"secret": str(name), **others} if names_secrets and others.keys() <= {"prefix"}:
            return _SecretNamed(name)
        case Mapping():
            return {key: _filled(one, values, names_secrets=names_secrets) for key, one in value.items()}
        case list():
            return [_filled(one, values, names_secrets=names_secrets) for one in value]
    return value
