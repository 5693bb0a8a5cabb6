"""What a task may name under `from`, instead of a file of its own."""

from __future__ import annotations

from collections.abc import Iterator

from run.workflows.scope import Scope

SOURCE_KEY = "from"


def source_problems(source: str | None, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) when the task that is named has no file to give."""
    known = sorted({*scope.file_tasks_above, *scope.makers_above})
    if source is not None and source not in known:
        yield SOURCE_KEY, f"'{source}' is no task with a file above this one; there are: {', '.join(known) or 'none'}"
