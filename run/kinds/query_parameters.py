"""The values of a batch as BigQuery's query parameters: typed, so that no value becomes a part of the SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from run.errors import PermanentFailure
from run.kinds.filling import filled_json
from run.kinds.kind import Work
from run.kinds.sql_text import parameter_names
from run.workflows.result_names import result_in
from run.workflows.scope import Scope


def query_parameters(sql: str, work: Work, own: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The REST QueryParameters that the SQL uses; raises PermanentFailure when one has no value or none that fits.

    `own` are those of the task: a text is a template; one that is a result and nothing else has the type of that.
    """
    filled = {name: _filled(value, work) for name, value in (own or {}).items()}
    known: dict[str, Any] = {**work.params, **work.batch_values, **_of_element(work), "batch_id": work.batch_id}
    known |= filled
    if unknown := unknown_parameters(sql, known):
        raise PermanentFailure(unknown)
    # BigQuery does not tell upper case from lower in the name of a parameter, so each is given once.
    values = {name.lower(): value for name, value in known.items()}
    wanted = {name.lower(): name for name in sorted(parameter_names(sql), key=str.lower)}
    return [{"name": name, **_parameter(name, values[lower])} for lower, name in wanted.items()]


def _filled(value: Any, work: Work) -> Any:
    result = result_in(value, work.results) if isinstance(value, str) else None
    return filled_json(value, work.values) if result is None else result[0]


def _of_element(work: Work) -> dict[str, Any]:
    if work.element is None:
        return {}
    if isinstance(work.item, Mapping):
        return {"element": work.element, **{f"item_{key}": value for key, value in work.item.items()}}
    return {"element": work.element, "item": work.item}


def known_parameters(sql: str, scope: Scope) -> frozenset[str]:
    """The names that have values; which keys the items of a list have is not known before it is read."""
    if not scope.is_mapped:
        return scope.parameter_names
    of_item = {name for name in parameter_names(sql) if name.lower().startswith("item_")}
    return scope.parameter_names | {"element", "item"} | of_item


def unknown_parameters(sql: str, known: Iterable[str]) -> str | None:
    """What is wrong with the parameters that the SQL uses; None when all of them have values."""
    names = sorted(known)
    lower = {name.lower() for name in names}
    unknown = [f"@{name}" for name in sorted(parameter_names(sql)) if name.lower() not in lower]
    if not unknown:
        return None
    return f"the SQL uses {', '.join(unknown)}, and only these have values: {', '.join(f'@{name}' for name in names)}"


def _parameter(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, list | tuple):
        kinds = {_type(name, one) for one in value} or {"STRING"}
        if kinds == {"INT64", "FLOAT64"}:
            kinds = {"FLOAT64"}
        if len(kinds) > 1:
            raise PermanentFailure(
                f"@{name} has items of several types ({', '.join(sorted(kinds))}); BigQuery takes one"
            )
        return {
            "parameterType": {"type": "ARRAY", "arrayType": {"type": kinds.pop()}},
            "parameterValue": {"arrayValues": [{"value": _text(one)} for one in value]},
        }
    return {"parameterType": {"type": _type(name, value)}, "parameterValue": {"value": _text(value)}}


def _type(name: str, value: Any) -> str:
    match value:
        case bool():
            return "BOOL"
        case int():
            return "INT64"
        case float():
            return "FLOAT64"
        case date():
            return "DATE"
        case str() | None:
            return "STRING"
    raise PermanentFailure(
        f"@{name} is {type(value).__name__}; BigQuery takes text, numbers, booleans and lists of them"
    )


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)
