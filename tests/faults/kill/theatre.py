"""A stage in a process of its own, where a test has scenarios played."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.kill.points import Fault

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Played:
    """What came out of a scenario."""

    #: The status of each batch and batch task after the undisturbed run.
    ends: dict[str, str] = field(default_factory=dict)
    #: What its rows say differently about the same thing.
    contradictions: list[str] = field(default_factory=list)
    #: How many points there are, and at how many of them there was a fault.
    points: int = 0
    faults: int = 0
    #: What there are points around.
    names: list[str] = field(default_factory=list)
    #: What came out differently after which fault.
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """The failures, for a person."""
        return "\n\n".join(f"{point}\n{why}" for point, why in self.failures.items())


class Theatre:
    """Plays scenarios with one sort of fault."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._played: dict[str, Played] = {}

    def play(self, scenario: str) -> Played:
        """Have a scenario played, once however often it is asked for."""
        if scenario not in self._played:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(f"{scenario}\n")
            self._process.stdin.flush()
            self._played[scenario] = Played(**json.loads(self._process.stdout.readline()))
        return self._played[scenario]


@contextmanager
def theatre(url: str, fault: Fault) -> Iterator[Theatre]:
    """A theatre on the database of this address, which belongs to it alone."""
    command = [sys.executable, "-m", "tests.faults.kill.stage", url, fault]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        # It ends when nothing more comes in.
        yield Theatre(process)
