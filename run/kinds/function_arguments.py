"""What may be wrong with the arguments of a `python_function` task, and the secrets among them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from run.workflows.arguments import problem_of_keyword
from run.workflows.function_keys import FunctionKeys
from run.workflows.scope import Scope
from run.workflows.secret_name import NAME, NO_NAME
from run.workflows.templates import template_problems, texts_in

_WHOLE = "a secret is a whole keyword argument, such as kwargs: {password: {secret: NAME}}"


def secret_in(value: Any) -> str | None:
    """The name of the secret that an argument stands for; None for any other argument."""
    match value:
        case {"secret": str(name), **others} if not others:
            return name
    return None


def argument_problems(keys: FunctionKeys, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) for what is wrong with the preset arguments."""
    arguments: tuple[tuple[str, Any], ...] = (("args", keys.args), ("kwargs", keys.kwargs))
    for key, value in arguments:
        for text in texts_in(value):
            for reason in template_problems(text, scope.names):
                yield key, reason
    if _names_secret(keys.args):
        yield "args", _WHOLE
    for keyword, value in keys.kwargs.items():
        if no_keyword := problem_of_keyword(keyword):
            yield "kwargs", no_keyword
        elif no_secret := _problem_of_secret(value):
            yield "kwargs", f"{keyword}: {no_secret}"


def _problem_of_secret(value: Any) -> str | None:
    secret = secret_in(value)
    if secret is None:
        return _WHOLE if _names_secret(value) else None
    return None if re.fullmatch(NAME, secret) else NO_NAME


def _names_secret(value: Any) -> bool:
    match value:
        case Mapping():
            return secret_in(value) is not None or any(map(_names_secret, value.values()))
        case list():
            return any(map(_names_secret, value))
    return False
