"""What can be wrong after a run, and how it is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.chaos.traffic import StartedBatch


class Fault(StrEnum):
    """What kind of wrong it is."""

    #: Something that had to be done was not done.
    LOST = "lost"
    #: Something was done, or decided, more often than once.
    DOUBLED = "doubled"
    #: Something has not come to its end.
    OPEN = "open"
    #: Something was done before what it needs.
    EARLY = "early"
    #: The work of a killed process lay there for longer than one lease and one sweep.
    LATE = "late"
    #: Something else that is not as it must be.
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and in which batch."""

    fault: Fault
    text: str
    batch: StartedBatch | None = None


Found = Iterator[tuple[Fault, str]]


def count(findings: Iterable[Finding]) -> Counter[Fault]:
    """How many findings there are of each fault."""
    return Counter(finding.fault for finding in findings)
