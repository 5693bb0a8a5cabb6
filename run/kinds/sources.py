"""What a task may name under `from`, instead of a file of its own."""

from __future__ import annotations

from collections.abc import Iterator

from run.workflows.scope import Scope

SOURCE_KEY = "from"


def source_problems(source: str | None, scope: Scope, *, takes_many: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) when the task that is named has no file to give, or many where one is wanted."""
    known = sorted({*scope.file_tasks_above, *scope.makers_above})
    if source is not None and source not in known:
        yield SOURCE_KEY, f"'{source}' is no task with a file above this one; there are: {', '.join(known) or 'none'}"
    file = scope.file_tasks_above.get(source or "")
    if file is not None and file.until is not None and source not in scope.makers_above and not takes_many:
        yield SOURCE_KEY, f"'{source}' takes many files, and this task takes one"
