"""The graphs that are run: task to its parents, in topological order."""

from __future__ import annotations

from collections.abc import Mapping

Needs = Mapping[str, tuple[str, ...]]


def chain(length: int, name: str = "t") -> Needs:
    """Each task after the one before."""
    return {f"{name}{number}": (f"{name}{number - 1}",) if number else () for number in range(length)}


def chains(width: int, length: int) -> Needs:
    """Chains beside each other."""
    return {task: parents for number in range(width) for task, parents in chain(length, f"c{number}_").items()}


def fan(width: int) -> Needs:
    """One, many, one."""
    middle = tuple(f"m{number}" for number in range(width))
    return {"first": (), **dict.fromkeys(middle, ("first",)), "last": middle}


def join(parents: int) -> Needs:
    """Many roots with one child."""
    roots = tuple(f"r{number}" for number in range(parents))
    return {**dict.fromkeys(roots, ()), "joined": roots}


def layers(width: int) -> Needs:
    """Every task of one layer is a parent of every task of the next."""
    first = tuple(f"a{number}" for number in range(width))
    return {**dict.fromkeys(first, ()), **{f"b{number}": first for number in range(width)}}


#: a -> b, c, d -> e -> f, g, h -> i -> j: the graph of ten tasks that other systems were measured with.
TEN_TASKS: Needs = {
    "a": (),
    **dict.fromkeys("bcd", ("a",)),
    "e": ("b", "c", "d"),
    **dict.fromkeys("fgh", ("e",)),
    "i": ("f", "g", "h"),
    "j": ("i",),
}
