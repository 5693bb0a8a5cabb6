"""The cake of examples/cake is baked by its five functions, and the frosting is prepared while it is cooling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from database.sessions import Database
from run.cli import main
from tests.function_room import FunctionRoom

CAKE = (Path(__file__).parents[3] / "examples" / "cake" / "cake.yaml").read_text()


@pytest.fixture
def functions(database: Database) -> FunctionRoom:
    return FunctionRoom(database, allowed="functions")


def test_the_cake_is_frosted_when_it_is_cool_and_its_frosting_is_there(functions: FunctionRoom) -> None:
    engine = functions.engine
    functions.apply(CAKE)
    key = engine.start("saturday")
    seen = [engine.published()]
    while engine.publisher.messages:
        engine.deliver_first()
        seen.append(engine.published())
    # Both branches are released at once, and the frost only by the later of the two.
    assert seen == [["mix"], ["bake"], ["cool", "prepare_frosting"], ["prepare_frosting"], ["frost"], []]
    assert functions.results(key) == {
        "mix": {"grams": 960, "sweet": True},
        "bake": {"grams": 864, "minutes": 45, "is_hot": True},
        "cool": {"grams": 864, "minutes": 45, "is_hot": False},
        "prepare_frosting": {"flavour": "lemon", "grams": 86},
        "frost": "950 g of lemon cake",
    }
    assert engine.batch_status("saturday") == "SUCCESS"


def test_without_enough_sugar_nothing_is_baked(functions: FunctionRoom) -> None:
    functions.run(CAKE.replace("guests: 8", "guests: 120"), "wedding")
    assert functions.engine.statuses("wedding") == {
        "mix": "ERROR",
        **dict.fromkeys(("bake", "cool", "prepare_frosting", "frost"), "SKIPPED:upstream_failed"),
    }
    _, error, details, _ = functions.attempt("mix")
    assert error is not None
    assert error.endswith("ValueError: ran out of sugar")
    assert details["arguments"] == {"args[0]": "'120'"}


def test_each_task_of_a_batch_has_a_log_of_its_own(functions: FunctionRoom, database_url: str) -> None:
    functions.run(CAKE, "saturday")
    functions.run(CAKE.replace("guests: 8", "guests: 120"), "wedding")

    def logs(batch: str) -> dict[str, dict[str, Any]]:
        command = ["batch", "show", "cake", batch, "--attempts", "--json"]
        done = CliRunner().invoke(main, command, env={"DATABASE_URL": database_url})
        assert done.exit_code == 0, done.output
        return {attempt["task"]: attempt for attempt in json.loads(done.stdout)["attempts"]}

    saturday, wedding = logs("saturday"), logs("wedding")
    outputs = {task: attempt["details"]["output"] for task, attempt in saturday.items()}
    assert outputs.pop("mix").endswith("INFO functions.cake: mixing 960 g\n")
    assert outputs == dict.fromkeys(("bake", "cool", "prepare_frosting", "frost"), "")
    assert all(attempt["started_at"] <= attempt["ended_at"] for attempt in saturday.values())
    assert list(wedding) == ["mix"]
    assert wedding["mix"]["error"].startswith("Traceback (most recent call last):")
