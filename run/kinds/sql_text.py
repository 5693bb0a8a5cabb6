"""What an SQL text mentions, strings and comments left out."""

from __future__ import annotations

import re

#: https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/lexical
_TOKENS = re.compile(
    r"""
    (?P<other> '{3}(?:\\.|.)*?'{3} | "{3}(?:\\.|.)*?"{3}    # strings over several lines
      | '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | `[^`]*`     # strings and quoted names
      | (?:--|\#)[^\n]* | /\*.*?\*/                         # comments
      | @@[\w.]+ )                                          # system variables
    | @(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)


def parameter_names(sql: str) -> set[str]:
    """The names of the query parameters (`@name`) that the text uses."""
    return {found["name"] for found in _TOKENS.finditer(sql) if found["name"]}
