"""What is said of an environment that cannot be used."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping

from pydantic import ValidationError

#: How alike two names are of which one may be a slip of the pen, from 0 to 1.
_NEAR = 0.85


def field_problems(error: ValidationError) -> Iterator[str]:
    """Yield what is wrong, each with its variable and without its value."""
    for problem in error.errors(include_input=False, include_url=False):
        if problem["type"] == "default_factory_not_called":
            continue  # The field that its default is taken from is named already.
        reason = "missing" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        yield f"{problem['loc'][0]}: {reason}"


def location_problems(given: Mapping[str, str]) -> Iterator[str]:
    """Yield that it is not said where BigQuery's datasets are, if so."""
    if not given.keys() & {"BIGQUERY_LOCATION", "BIGQUERY_EMULATOR_HOST"}:
        yield "BIGQUERY_LOCATION: missing; write where BigQuery's datasets are, such as EU or europe-west1"


def problems_text(problems: Iterable[str]) -> str:
    """The message of InvalidSettings."""
    return "The environment cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems)


def misspelt_names(environ: Mapping[str, str], names: Collection[str]) -> Iterator[str]:
    """Yield which variables are not among the names, and nearly are one that has no value.

    Other programs have variables too, so one that looks like a setting is no error by itself.
    """
    without_value = [name for name in names if not environ.get(name, "").strip()]
    for variable in sorted(environ.keys() - set(names)):
        for near in difflib.get_close_matches(variable, without_value, n=1, cutoff=_NEAR):
            yield f"{variable}: nothing reads it; did you mean {near}?"
