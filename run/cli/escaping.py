"""What comes from outside, made safe to look at: a terminal obeys some characters and hides others."""

from __future__ import annotations

import json


def in_one_line(text: str) -> str:
    """The text with every character that does not print, a line break too, written as an escape such as `\\x1b`."""
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def in_lines(text: str) -> str:
    """The same for a text of several lines, which stay."""
    return "\n".join(in_one_line(line) for line in text.replace("\r\n", "\n").split("\n"))


def in_json(document: str) -> str:
    """The same for a JSON document, which means what it meant."""
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in document)


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")
