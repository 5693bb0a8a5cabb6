"""Values that must be in no log line, task log, error, mail or page.

They belong to the process, as its environment does; whoever reads a secret hides it here before using it.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

HIDDEN = "[hidden]"
#: Shorter ones are found in too many innocent texts.
_SHORTEST = 4

_lock = Lock()
_hidden: tuple[str, ...] = ()


def hide(value: str) -> None:
    """Show this value nowhere from now on; each line of a text of several counts too."""
    global _hidden  # noqa: PLW0603 - one list for the process, replaced as a whole so that readers need no lock
    found = {part for part in (value, value.strip(), *value.splitlines()) if len(part) >= _SHORTEST}
    with _lock:
        _hidden = tuple(sorted(found | set(_hidden), key=len, reverse=True))


def redacted(value: Any) -> Any:
    """The same text, or JSON value, without what is hidden."""
    if not _hidden:
        return value
    match value:
        case str():
            return _without(value)
        case Mapping():
            return {_without(str(key)): redacted(one) for key, one in value.items()}
        case list() | tuple():
            return [redacted(one) for one in value]
    return value


def _without(text: str) -> str:
    for value in _hidden:
        text = text.replace(value, HIDDEN)
    return text
