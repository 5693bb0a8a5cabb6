"""All scenarios, by name."""

from __future__ import annotations

from tests.faults.kill.scenario import Scenario
from tests.faults.kill.scenarios import arrivals, maps, people, sweeps, telling, work

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for module in (work, maps, arrivals, sweeps, people, telling)
    for scenario in module.SCENARIOS
}
