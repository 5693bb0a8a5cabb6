"""What the result of a check must be, and what to say when it is something else."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import PlainValidator, model_validator

from run.clients.bigquery import Result
from run.errors import PermanentFailure
from run.kinds.kind import KindConfig

_LONGEST_SHOWN_VALUE = 200


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not Decimal(value).is_finite():
        raise ValueError(f"must be a number, not {value!r:.60}")
    return value


def _plain(value: object) -> bool | int | float | str:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, list | dict):
        raise ValueError("must be one number, text, true or false")  # noqa: TRY004  # pydantic wants ValueError.
    return _number(value)


Number = Annotated[int | float, PlainValidator(_number)]


class Expected(KindConfig):
    """What the one value of a check must be: equal to something, or within bounds that belong to them."""

    equals: Annotated[bool | int | float | str, PlainValidator(_plain)] | None = None
    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _is_one_demand(self) -> Self:
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if self.equals is None and not bounds:
            raise ValueError("write equals, min or max; a check in which no row may come back says no_rows")
        if self.equals is not None and bounds:
            raise ValueError("write equals, or min and max, not both")
        if bounds != sorted(bounds):
            raise ValueError(f"no value is at least {self.min} and at most {self.max}")
        return self

    def __str__(self) -> str:
        if self.equals is not None:
            return f"{self.equals!r}"
        bounds = (("at least", self.min), ("at most", self.max))
        return " and ".join(f"{words} {bound}" for words, bound in bounds if bound is not None)


def finding(result: Result, expected: Expected | None) -> str | None:
    """What is not as expected, which is no row unless said otherwise; None when all is.

    Raises PermanentFailure when the result does not answer the question.
    """
    if expected is not None:
        return _finding_of_value(result, expected)
    if result.total == 0:
        return None
    return f"{result.total} {'row' if result.total == 1 else 'rows'} came back, and none is expected"


def _finding_of_value(result: Result, expected: Expected) -> str | None:
    column, value = _only_value(result)
    if _is_met(column, value, expected):
        return None
    shown = str(value)
    if len(shown) > _LONGEST_SHOWN_VALUE:
        shown = f"{shown[:_LONGEST_SHOWN_VALUE]}..."
    return f"{column} is {shown}, and {expected} is expected"


def _only_value(result: Result) -> tuple[str, Any]:
    if len(result.columns) != 1:
        raise PermanentFailure(
            f"one value is expected, and the SQL selects {len(result.columns)} columns: {', '.join(result.columns)}"
        )
    [column] = result.columns
    if result.total != 1:
        raise PermanentFailure(f"one value is expected, and the SQL gave {result.total} rows of {column}")
    value = result.rows[0][column]
    if value is None:
        raise PermanentFailure(f"{column} is NULL; say in the SQL what that means, as IFNULL({column}, 0) does")
    return column, value


def _is_met(column: str, value: Any, expected: Expected) -> bool:
    match expected.equals:
        case None:
            return _is_within(_exact(column, value), expected)
        case bool():
            return _typed(column, value, bool, "a BOOL") is expected.equals
        case str():
            return _text(column, value) == expected.equals
        case number:
            return _exact(column, value) == _decimal(number)


def _is_within(number: Decimal, expected: Expected) -> bool:
    if number.is_nan():
        return False
    above = expected.min is None or number >= _decimal(expected.min)
    return above and (expected.max is None or number <= _decimal(expected.max))


def _exact(column: str, value: Any) -> Decimal:
    number = None if isinstance(value, bool) else value
    return _decimal(_typed(column, number, int | float | Decimal, "a number"))


def _decimal(number: float | Decimal) -> Decimal:
    # The 0.1 of a workflow file is a NUMERIC's 0.1, though not the nearest binary fraction of it.
    return Decimal(str(number))


def _text(column: str, value: Any) -> str:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return str(_typed(column, value, str, "a text or a date"))


def _typed(column: str, value: Any, types: Any, wanted: str) -> Any:
    if not isinstance(value, types):
        raise PermanentFailure(f"{column} is {value!r:.60}, and {wanted} is expected")
    return value
