"""The cake of examples/cake: five small functions that pass their results on."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)

GRAMS_PER_GUEST = 120
MOST_GUESTS = 50


def mix(guests: str, *, sugar: bool = True) -> dict[str, Any]:
    """Batter for so many guests."""
    if int(guests) > MOST_GUESTS:
        raise ValueError("ran out of sugar")
    grams = GRAMS_PER_GUEST * int(guests)
    logger.info("mixing %s g", grams)
    return {"grams": grams, "sweet": sugar}


def bake(batter: dict[str, Any], minutes: int = 30) -> dict[str, Any]:
    """A hot cake, a little lighter than its batter."""
    return {"grams": round(batter["grams"] * 0.9), "minutes": minutes, "is_hot": True}


def cool(cake: dict[str, Any]) -> dict[str, Any]:
    """The same cake, to be eaten."""
    cake["is_hot"] = False
    return cake


def prepare_frosting(flavour: str, cake: dict[str, Any]) -> dict[str, Any]:
    """Frosting for this cake, while it cools."""
    return {"flavour": flavour, "grams": cake["grams"] // 10}


def frost(cake: dict[str, Any], frosting: dict[str, Any] | None = None) -> str:
    """What is put on the table."""
    if cake["is_hot"]:
        raise ValueError("the cake is still hot")
    if frosting is None:
        return f"{cake['grams']} g of plain cake"
    return f"{cake['grams'] + frosting['grams']} g of {frosting['flavour']} cake"
