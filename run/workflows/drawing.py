"""A workflow's graph for people: text for a terminal, mermaid for a page."""

from __future__ import annotations

from collections.abc import Iterator

from run.workflows.definition import TaskDefinition, TriggerRule, WorkflowDefinition

_ESCAPES = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"}


def as_text(definition: WorkflowDefinition) -> str:
    """One line for each task below its parents: `a, b -> c  (kind)  file`."""
    return "\n".join(_lines(definition))


def _lines(definition: WorkflowDefinition) -> Iterator[str]:
    yield f"{definition.name}  batch {definition.batch}"
    if definition.description:
        yield f"  {' '.join(definition.description.split())}"
    for task in definition.tasks:
        arrow = f"{', '.join(task.needs)} -> " if task.needs else ""
        yield "  ".join([f"  {arrow}{task.name}", f"({task.kind})", *_remarks(task)])


def _remarks(task: TaskDefinition) -> Iterator[str]:
    if task.file is not None:
        yield task.file.pattern
    if task.rule is not TriggerRule.all_success:
        yield f"rule {task.rule}"
    if task.allow_failure:
        yield "may fail"
    if task.disabled:
        yield "disabled"


def as_mermaid(definition: WorkflowDefinition) -> str:
    """The graph as a mermaid flowchart; tasks with a file are drawn round, a rule of their own is on their edges."""
    # Numbered ids, because a task may be called "end" or "style", which mermaid keeps for itself.
    ids = {task.name: f"t{position}" for position, task in enumerate(definition.tasks)}
    lines = ["flowchart LR"]
    lines += [f"    {ids[task.name]}{_box(task)}" for task in definition.tasks]
    lines += [f"    {ids[parent]} {_edge(task)} {ids[task.name]}" for task in definition.tasks for parent in task.needs]
    return "\n".join(lines)


def _box(task: TaskDefinition) -> str:
    label = "<br/>".join(_escaped(text) for text in (task.name, task.kind, *([task.file.pattern] if task.file else [])))
    return f'(["{label}"])' if task.file else f'["{label}"]'


def _edge(task: TaskDefinition) -> str:
    return "-->" if task.rule is TriggerRule.all_success else f"-->|{task.rule}|"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
