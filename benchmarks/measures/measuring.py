"""What every measure is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import Figure
from run.local.postgres import Postgres


@dataclass(frozen=True)
class Bench:
    """Where to measure, how much, and who wants to know how far it is."""

    postgres: Postgres
    say: Callable[[str], None]
    #: Whether sizes that take long are run, too.
    is_full: bool = False
    #: How large the raw file is that is checked and converted.
    file_mb: int = 1_000


Measure = Callable[[Bench], list[Figure]]
