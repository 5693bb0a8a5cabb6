"""When adding to a table, instead of replacing, would add the same rows twice."""

from __future__ import annotations

from collections.abc import Iterator

from run.workflows.scope import Scope


def append_problems(scope: Scope) -> Iterator[str]:
    """Yield which tasks above make a task that appends start again, and so append again."""
    for task in scope.rerun_by:
        again = f"'append' would add its rows twice when a newer generation of the file of '{task}', above, arrives"
        yield f"{again}; write on_new_generation: ignore there"
