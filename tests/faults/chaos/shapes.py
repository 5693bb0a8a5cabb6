"""The shapes of random graphs: which task needs which."""

from __future__ import annotations

from random import Random

#: For each task, those that it needs, all of which come before it.
Needs = dict[str, tuple[str, ...]]


def chain(random: Random) -> Needs:
    return {f"t{number}": (f"t{number - 1}",) if number else () for number in range(random.randint(2, 8))}


def diamonds(random: Random) -> Needs:
    """Diamonds on top of each other."""
    needs: Needs = {"top": ()}
    last = "top"
    for number in range(random.randint(1, 3)):
        sides = [f"d{number}_{side}" for side in range(random.randint(2, 4))]
        needs |= dict.fromkeys(sides, (last,))
        last = f"d{number}_end"
        needs[last] = tuple(sides)
    return needs


def fan(random: Random) -> Needs:
    """One, many, one."""
    middle = [f"m{number}" for number in range(random.randint(5, 25))]
    return {"first": (), **dict.fromkeys(middle, ("first",)), "last": tuple(middle)}


def join(random: Random) -> Needs:
    """Many roots and one child, which they may all finish for at the same moment."""
    roots = [f"r{number}" for number in range(random.randint(2, 8))]
    return {**dict.fromkeys(roots, ()), "joined": tuple(roots), "after": ("joined",)}


def layers(random: Random) -> Needs:
    """Layers, each task of which needs some tasks of those before."""
    needs: Needs = {}
    for layer in range(random.randint(2, 5)):
        above = list(needs)
        for number in range(random.randint(1, 5)):
            parents = random.sample(above, random.randint(1, min(4, len(above)))) if above else []
            needs[f"l{layer}_{number}"] = tuple(sorted(parents, key=above.index))
    return needs
