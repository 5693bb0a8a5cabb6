"""The keys of a task that checks a file: how it is written, and what it must be like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator

from run.errors import PermanentFailure
from run.files.contract import Column, Contract, CsvForm, Drift, Encoding, RowBounds, different_columns
from run.kinds.kind import KindConfig, ObjectVersion
from run.kinds.load_options import format_of
from run.kinds.sources import SOURCE_KEY, source_problems
from run.workflows.problems import did_you_mean
from run.workflows.scope import Scope


def _as_keys(value: Any) -> Any:
    """One column, or a list of them, is one key; a list of lists is several."""
    if isinstance(value, str):
        return [[value]]
    is_one_key = isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value)
    return [value] if is_one_key else value


class ContractConfig(KindConfig):
    """The keys of `validate_file`, and most of those of `convert_file`; their pages explain them."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str | None = Field(default=None, alias=SOURCE_KEY)
    format: Literal["csv", "json"] | None = None
    encoding: Encoding = "utf-8"
    csv: CsvForm | None = None
    columns: tuple[Column, ...]
    unique: Annotated[tuple[tuple[str, ...], ...], BeforeValidator(_as_keys)] = ()
    rows: RowBounds = RowBounds()
    drift: Drift = "fail"
    memory_mib: int = Field(default=512, ge=256, le=32_768)

    @field_validator("columns")
    @classmethod
    def _different_columns(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        if not columns:
            raise ValueError("a file has at least one column")
        return different_columns(columns)

    def contract_of(self, file: ObjectVersion) -> Contract:
        """The contract for this file; raises PermanentFailure when its name does not tell its format."""
        found = self.format or format_of(file.name)
        if found not in {"csv", "json"}:
            raise PermanentFailure(f"the name of {file.uri} tells neither CSV nor JSON; write format: csv, or json")
        return Contract(
            format="csv" if found == "csv" else "json",
            encoding=self.encoding,
            csv=self.csv or CsvForm(),
            columns=self.columns,
            unique=self.unique,
            rows=self.rows,
            drift=self.drift,
        )


def contract_problems(config: ContractConfig, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) for what is wrong with a contract in its workflow."""
    yield from source_problems(config.source, scope)
    if config.csv and config.format == "json":
        yield "csv", "is for CSV files, and format is json"
    known = [column.name for column in config.columns]
    for name in (name for key in config.unique for name in key):
        if name not in known:
            yield "unique", f"'{name}' is none of the columns{did_you_mean(name, known)}"
