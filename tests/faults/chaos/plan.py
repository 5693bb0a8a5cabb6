"""What a chaos run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field

#: The kinds of tasks by how often they are drawn.
KINDS = {"chaos_plain": 50, "chaos_file": 15, "chaos_job": 20, "chaos_outside": 15}


@dataclass(frozen=True)
class Plan:
    """How long, how hard, and from which seed."""

    seed: int
    #: How long batches are started and the services tormented.
    seconds: float
    #: How long everything has to come to its end afterwards.
    settle_seconds: float = 90.0
    lease_seconds: int = 3
    sweep_seconds: float = 1.0
    #: How long the message of a takeover may be under way: the emulator pushes two at a time.
    delivery_seconds: float = 2.0
    #: Batches that are open at the same time.
    most_open: int = 20
    #: How long a storm lasts. Between two storms everything comes to rest; then there is one SIGKILL in calm weather.
    storm_seconds: float = 30.0
    #: The share of tasks that the outside world has no time for at first; each goes on 10 s later, or when its message
    #: comes again.
    refusals: float = 0.02
    #: The share of the tasks that are mapped over a list, of those that can be.
    mapped: float = 0.2
    kinds: dict[str, int] = field(default_factory=lambda: dict(KINDS))

    @property
    def recovery_seconds(self) -> float:
        """How long the work of a killed process may lie there: one lease and one sweep."""
        return self.lease_seconds + self.sweep_seconds
