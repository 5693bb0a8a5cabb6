"""Rows as they come out of a file, whatever its format."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Protocol

#: Stands for a value that is not there. No file has it, because nobody can guess it.
NOTHING = f"\x1f{secrets.token_hex(4)}"


class Rows(Protocol):
    """The rows of one file; to be iterated once."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the cells of every row."""

    @property
    def in_file(self) -> frozenset[str] | None:
        """The columns that the file has; None where only its last row tells."""

    def __iter__(self) -> Iterator[list[int | str]]:
        """Yield the line on which a row begins, what is wrong with all of it (or ""), and its cells, or NOTHING."""
