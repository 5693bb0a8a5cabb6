"""The cake of examples/cake is baked by its five functions, and the frosting is prepared while it is cooling."""

from __future__ import annotations

from pathlib import Path

import pytest

from database.sessions import Database
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
