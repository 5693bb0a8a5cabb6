"""The engine against a small model of it: random workflows, and whatever may happen to them, in any order."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from database.sessions import Database
from tests.model.machine import EngineAgainstModel
from tests.model.world import World

#: How many random histories: a minute's worth, unless a longer run is asked for.
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "80"))
STEPS = 40


# Where they differ, the shortest history is looked for: that may take five minutes more.
@pytest.mark.timeout(600 + 10 * EXAMPLES)
def test_the_engine_does_what_the_model_says(database: Database) -> None:
    EngineAgainstModel.world = World(database)
    run_state_machine_as_test(
        EngineAgainstModel,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            phases=[Phase.reuse, Phase.generate, Phase.shrink],
            print_blob=True,
            report_multiple_bugs=False,
            # Short runs are the same every time; long ones look for what nobody has seen.
            derandomize="MODEL_EXAMPLES" not in os.environ,
            # Each step asks a real database; a history is long on purpose.
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
        ),
    )
