"""pydantic's findings in the words of somebody who writes a workflow file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from run.workflows.problems import Place, did_you_mean

#: What is wrong, below the place where the model was read.
Finding = tuple[Place, str]
ModelT = TypeVar("ModelT", bound=BaseModel)

_EXPECTED = {
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "int": "a whole number",
    "bool": "true or false",
    "float": "a number",
}


def findings_of(error: ValidationError, known: Collection[str]) -> list[Finding]:
    """Every finding as a place and a sentence; `known` are the keys to suggest at the top level."""
    return [_finding(details, known) for details in error.errors(include_url=False)]


def read_keys(model: type[ModelT], data: Mapping[str, Any]) -> tuple[ModelT, list[Finding]]:
    """Read what can be read: wrong keys are reported and take their defaults, so every field needs one."""
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        wrong = {details["loc"][0] for details in error.errors()}
        sound = {key: value for key, value in data.items() if key not in wrong}
        return model.model_validate(sound), findings_of(error, model.model_fields)


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that a mapping for this model may have."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _finding(details: ErrorDetails, known: Collection[str]) -> Finding:
    place = details["loc"]
    key = str(place[-1]) if place else ""
    match details["type"]:
        case "missing":
            return place[:-1], f"'{key}' is missing"
        case "extra_forbidden":
            return place, unknown_key(key, known if len(place) == 1 else ())
        case "value_error" | "assertion_error":
            reason = details["msg"].split(", ", 1)[-1]
            where = key if place and isinstance(place[-1], str) else _path(place)
            return place, f"'{where}': {reason}" if where else reason
        case _:
            return place, f"'{_path(place)}' must be {_expectation(details)}{_given(details)}"


def unknown_key(key: str, known: Collection[str]) -> str:
    """The sentence for a key that nothing reads: the nearest known one, or all of them."""
    hint = did_you_mean(key, known)
    if not hint and known:
        hint = f"; known are {', '.join(known)}"
    return f"unknown key '{key}'{hint}"


def _path(place: Place) -> str:
    return ".".join(str(part) for part in place)


def _expectation(details: ErrorDetails) -> str:
    expected = _EXPECTED.get(re.sub(r"_(type|parsing|attributes_type)$", "", details["type"]))
    return expected or re.sub(r"^Input should be |^Input should ", "", details["msg"])


def _given(details: ErrorDetails) -> str:
    value = details["input"]
    if value is None:
        return ", not empty"
    if isinstance(value, bool):
        return f", not {str(value).lower()}"
    if not isinstance(value, str | int | float):
        return ""
    expected = re.findall(r"'([^']*)'", str(details.get("ctx", {}).get("expected", "")))
    return f", not {value!r:.60}{did_you_mean(value, expected) if isinstance(value, str) else ''}"
