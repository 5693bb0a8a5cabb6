"""The life of a batch task as a picture, drawn from the same data that guards every statement."""

from __future__ import annotations

from database.statuses import ENGINE_MOVES, TERMINAL, Status


def life_as_mermaid() -> str:
    """A mermaid state diagram of the statuses and the moves that the engine makes between them."""
    lines = ["stateDiagram-v2", f"    [*] --> {Status.WAITING}", f"    [*] --> {Status.NEW}"]
    lines += [f"    {source} --> {move.target}: {move.name}" for move in ENGINE_MOVES for source in move.sources]
    lines += [f"    {status} --> [*]" for status in TERMINAL]
    return "\n".join(lines)
