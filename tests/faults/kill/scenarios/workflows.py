"""Workflows for scenarios, as their files would say them."""

from __future__ import annotations

from typing import Any


def workflow(tasks: dict[str, dict[str, Any]], name: str = "cake", **more: Any) -> dict[str, Any]:
    """A workflow; a task is `keyed` unless it says otherwise."""
    return {
        "workflow": name,
        "batch": "{period}",
        **more,
        "tasks": {task: {"kind": "keyed", **keys} for task, keys in tasks.items()},
    }


def chain(**first: Any) -> dict[str, Any]:
    """One task that is as it is said to be, and one after it."""
    return workflow({"mix": first, "bake": {"needs": ["mix"]}})


#: A chain that forks and joins.
CAKE = workflow(
    {
        "mix": {},
        "bake": {"needs": ["mix"]},
        "whip": {"kind": "keyless", "needs": ["mix"]},
        "frost": {"needs": ["bake", "whip"]},
    }
)
