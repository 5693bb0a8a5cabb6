"""Values that must be in no log line, task log, error, mail or page.

They belong to the process, as its environment does; whoever reads a secret hides it here before using it. A value of
which nobody has said so is known for a secret by its name, as far as it has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from threading import Lock
from typing import Any

HIDDEN = "[hidden]"
#: Shorter ones are found in too many innocent texts.
_SHORTEST = 4

_SENSITIVE = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|token|(?:api|access|private)[_-]?key|credential|authorization|cookie"
    r"|(?<![a-z])auth(?![a-z]))"
)
_SENSITIVE_NAME = re.compile(_SENSITIVE, re.IGNORECASE)
# Every repetition has an end, so that no text takes long, however it was made.
_VALUE = r"""(?!\[hidden\])(?:"[^"\n]{0,999}"|'[^'\n]{0,999}'|\([^)\n]{0,999}\)|[^\s,;&)\]}'"]{1,999})"""
#: `password=...`, `'token': '...'`, `https://user:...@host`.
_SENSITIVE_IN_TEXT = re.compile(
    rf"""({_SENSITIVE}\w{{0,30}}["']?\s{{0,3}}[=:]\s{{0,3}}){_VALUE}|(://[^\s:/@]{{0,99}}:)[^\s/@]{{1,999}}(?=@)""",
    re.IGNORECASE,
)

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


def is_secret_name(name: str) -> bool:
    """Whether a value of this name is a secret, as a password or an API key is."""
    return _SENSITIVE_NAME.search(name) is not None


def without_secrets(text: str) -> str:
    """The same text without what is hidden, and without what stands in it beside the name of a secret."""
    return _SENSITIVE_IN_TEXT.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}", _without(text))


def _without(text: str) -> str:
    for value in _hidden:
        text = text.replace(value, HIDDEN)
    return text
