"""What is wrong with a definition, and where in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

#: The keys and list positions that lead to a part of a definition, e.g. ("tasks", "load", "needs", 0).
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One reason why a definition is refused; `line`, from 1, overrides what its place says."""

    place: Place
    reason: str
    line: int | None = None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that suggests the known word nearest to this one; empty when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"; did you mean '{near[0]}'?" if near else ""
