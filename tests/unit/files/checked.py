"""A file checked here and now, without a child process."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from run.files.checking import check_stream
from run.files.contract import Contract
from run.files.outcome import ERRORS, PARQUET

MEMORY = 512 * 1024 * 1024


def contract(*columns: dict[str, Any] | str, **keys: Any) -> Contract:
    """A contract of these columns; those that are only names are STRING."""
    described = [{"name": one} if isinstance(one, str) else one for one in columns]
    given = {"format": "csv", "encoding": "utf-8", "csv": {}, "unique": [], "rows": {}, "drift": "fail", **keys}
    return Contract.model_validate({**given, "columns": described})


def checked(
    content: bytes | str, wanted: Contract, folder: Path | None = None, *, memory: int = MEMORY, **how: Any
) -> dict[str, Any]:
    """The outcome."""
    stream = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    if folder is not None:
        return check_stream(stream, wanted, folder, memory=memory, **how)
    with TemporaryDirectory() as temporary:
        return check_stream(stream, wanted, Path(temporary), memory=memory, **how)


def places(outcome: dict[str, Any]) -> list[tuple[int, str]]:
    """The line and the column of each error that is told."""
    return [(error["line"], error["column"]) for error in outcome["first_errors"]]


def reasons(content: bytes | str, wanted: Contract) -> list[str]:
    """What is said of each error."""
    return [error["reason"] for error in checked(content, wanted)["first_errors"]]


def converted(content: bytes | str, wanted: Contract, folder: Path) -> list[dict[str, Any]]:
    """The rows of the Parquet file."""
    outcome = checked(content, wanted, folder, writes=True)
    assert outcome["outcome"] == "sound", outcome
    assert not (folder / ERRORS).exists()
    rows: Sequence[dict[str, Any]] = pq.read_table(folder / PARQUET).to_pylist()
    return list(rows)
