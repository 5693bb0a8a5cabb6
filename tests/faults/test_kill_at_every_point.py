"""A process that dies between any two things it does leaves nothing behind that another one does not bring to its end.

Each scenario is played undisturbed first: the points are those that it reaches, before and after every statement, every
COMMIT and every call to the outside. Then it is played once for each point, by a real process that ends there, and
another one goes on. KILL_ALL=1 takes every point; otherwise each sort of point is taken once in all scenarios together,
because whoever dies inside a transaction has changed nothing, wherever in it that was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from run.local.postgres import Postgres
from tests.faults.kill.points import Fault
from tests.faults.kill.scenarios import SCENARIOS
from tests.faults.kill.statements import Statements
from tests.faults.kill.theatre import Theatre, theatre

DATABASE = "kill"


@pytest.fixture(scope="module")
def killing(postgres: Postgres, migrated: str) -> Iterator[Theatre]:
    url = postgres.create_database(DATABASE, template=migrated)
    fault = Fault.EVERY_DEATH if os.environ.get("KILL_ALL") == "1" else Fault.DEATH
    with theatre(url, fault) as one:
        yield one
    postgres.drop_database(DATABASE)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SCENARIOS)
def test_whoever_dies_at_a_point_another_one_goes_on_as_if_nothing_had_happened(killing: Theatre, name: str) -> None:
    played = killing.play(name)
    expected = SCENARIOS[name].ends
    assert not played.failures, played.told
    assert played.faults > 0
    assert {subject: played.ends[subject] for subject in expected} == expected
    assert played.contradictions == []


@pytest.mark.timeout(1800)
def test_every_statement_is_executed_by_a_scenario(killing: Theatre) -> None:
    executed = {name for scenario in SCENARIOS for name in killing.play(scenario).names}
    assert Statements().names - executed == set(), "no scenario executes these"
    assert not [name for name in executed if "UNKNOWN" in name], "these are no constants of a module of `database`"
