"""File patterns: which objects a task takes, and what their names say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from typing import Any

import re2

from run.errors import Rejected
from run.workflows.dates import read_date
from run.workflows.templates import Value, render


class PatternMismatch(Rejected):
    """An object fits a pattern, but a part of its name that should be a date is none."""


class InvalidPattern(ValueError):
    """The pattern is no regular expression that RE2 takes; the message is RE2's."""


class FilePattern:
    """A regular expression (RE2) of a whole `gs://bucket/object`; its named groups become values.

    `names` holds the values of the pattern's template names, put in as literal text. Raises InvalidPattern.
    """

    def __init__(self, pattern: str, parse: Mapping[str, str], names: Mapping[str, str]) -> None:
        self.pattern = render(pattern, names, re2.escape)
        self.parse = dict(parse)
        options = re2.Options()
        options.log_errors = False
        try:
            self._expression: Any = re2.compile(self.pattern, options)
        except re2.error as error:
            raise InvalidPattern(_message(error)) from None
        if twice := _written_twice(self.pattern):
            raise InvalidPattern(f"the group '{twice}' is written twice")

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """The names of the groups, in the order of the pattern."""
        index: Mapping[str, int] = self._expression.groupindex
        return tuple(sorted(index, key=lambda name: index[name]))

    def match(self, uri: str) -> dict[str, Value] | None:
        """The values of the groups when the whole address fits, else None; a group that took no part is "".

        Raises PatternMismatch when a group of `parse` is not a date in its format.
        """
        found = self._expression.fullmatch(uri)
        if found is None:
            return None
        return {name: self._value(name, found.group(name) or "", uri) for name in self.group_names}

    def _value(self, name: str, text: str, uri: str) -> str | date:
        if name not in self.parse:
            return text
        try:
            return read_date(text, self.parse[name])
        except ValueError:
            raise PatternMismatch(
                f"{uri}: '{name}' is {text!r}, which is no date of the format '{self.parse[name]}'"
            ) from None


def _written_twice(pattern: str) -> str | None:
    # google-re2 takes a name twice without a word and gives the first group's text.
    names = re.findall(r"(?<!\\)\(\?P?<(\w+)>", pattern)
    return next((name for name in names if names.count(name) > 1), None)


def _message(error: Exception) -> str:
    reason = error.args[0] if error.args else str(error)
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
