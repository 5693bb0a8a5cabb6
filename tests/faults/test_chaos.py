"""Two real services that are killed, frozen and robbed of their database: every batch ends as if nothing had been.

`make chaos` does the same for longer. What is judged, and how, is in tests/faults/chaos/verdict.py.
"""

from __future__ import annotations

import random

import pytest

from tests.faults.chaos.campaign import run
from tests.faults.chaos.figures import table
from tests.faults.chaos.plan import Plan
from tests.local_parts import require_pubsub_emulator


@pytest.mark.timeout(300)
def test_nothing_is_lost_doubled_or_left_open_by_kills_freezes_and_restarts_of_the_database() -> None:
    require_pubsub_emulator()
    # Chance is new each time; a failure says with which seed it came.
    plan = Plan(
        seed=random.randrange(10**9),
        seconds=20,
        storm_seconds=20,
        most_open=10,
        refusals=0,
        # So many that a run as short as this one has some for sure.
        mapped=0.5,
        delivery_seconds=10,
    )
    report = run(plan)
    figures = report.figures
    assert not report.findings, f"{report.story}\n{table(figures)}"
    did_happen = ("tasks", "elements", "duplicates", "retries", "takeovers", "completions told", "kills", "freezes")
    assert [name for name in did_happen if not figures[name]] == []
    assert figures["fast restarts of Postgres"] + figures["immediate restarts of Postgres"] > 0
