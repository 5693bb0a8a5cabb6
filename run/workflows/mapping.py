"""What a mapped task must fulfil: a list of a parent that it waits for, and no file of its own."""

from __future__ import annotations

from collections.abc import Iterator

from run.workflows.arguments import problem_of_parent
from run.workflows.result_names import ELEMENT, ITEM
from run.workflows.scope import Scope
from run.workflows.sentences import Finding
from run.workflows.tasks import RawTask


def findings_of_map(task: RawTask, scope: Scope) -> Iterator[Finding]:
    """Yield what is wrong with the `map` of a task, if it has one."""
    keys = task.keys
    if keys.map is None:
        return
    if task.kind is not None and task.kind.takes_file:
        yield ("map",), f"'map': a task of the kind '{keys.kind}' takes a file and cannot be mapped"
    if reason := problem_of_parent(keys.map.over.split(".")[0], keys.needs, keys.rule):
        yield ("map",), f"'map' {reason}"
    for name in (ITEM, ELEMENT):
        if name in scope.names:
            yield (
                ("map",),
                f"'map': '{name}' is what an element has; call the param, or the part of the batch id, otherwise",
            )
