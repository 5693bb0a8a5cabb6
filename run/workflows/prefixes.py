"""Where the files of a pattern can lie: the literal beginning of its address, which Cloud Storage can list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_SCHEME = "gs://"
#: What is not itself in a regular expression. A brace may be, and ends the literal part all the same.
_SIGNS = frozenset(".[(^$|*+?{)")
#: What says how often the sign before it comes.
_REPEATS = frozenset("*+?{")


@dataclass(frozen=True, order=True)
class Prefix:
    """The objects of a bucket whose names begin with `name`."""

    bucket: str
    name: str

    @property
    def uri(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.name}"

    def contains(self, other: Prefix) -> bool:
        """Whether every object of the other one is one of these too."""
        return self.bucket == other.bucket and other.name.startswith(self.name)


def read_prefix(uri: str) -> Prefix | None:
    """The prefix that begins a `gs://` address; None when that does not hold a whole bucket."""
    bucket, slash, name = uri.removeprefix(_SCHEME).partition("/")
    return Prefix(bucket, name) if uri.startswith(_SCHEME) and bucket and slash else None


def prefixes_of(pattern: str) -> tuple[Prefix | None, ...]:
    """The prefix of each alternative of a regular expression of whole addresses; None where one has no literal bucket.

    Every address that fits the pattern begins with one of them.
    """
    return tuple(read_prefix(_literal_beginning(alternative)) for alternative in _alternatives(pattern))


def merged(prefixes: Iterable[Prefix]) -> list[Prefix]:
    """The same objects in the order of their addresses, each prefix once and none inside another."""
    kept: list[Prefix] = []
    for prefix in sorted(prefixes):
        if not kept or not kept[-1].contains(prefix):
            kept.append(prefix)
    return kept


def narrowed(prefixes: Iterable[Prefix], to: Prefix) -> list[Prefix]:
    """Those of the objects that begin with `to`."""
    both = [(prefix, to) if prefix.contains(to) else (to, prefix) for prefix in prefixes]
    return merged(inner for outer, inner in both if outer.contains(inner))


def _alternatives(pattern: str) -> Iterator[str]:
    """Cut at each | that stands in no group and no set."""
    depth, begin = 0, 0
    for at, sign in _signs(pattern):
        if sign in "()":
            depth += 1 if sign == "(" else -1
        elif sign == "|" and depth == 0:
            yield pattern[begin:at]
            begin = at + 1
    yield pattern[begin:]


def _signs(pattern: str) -> Iterator[tuple[int, str]]:
    """Each character with its place, but none that a backslash, a quotation or a set has made literal."""
    at = 0
    while at < len(pattern):
        if pattern.startswith(r"\Q", at):
            at = _after(pattern, r"\E", at)
        elif pattern[at] == "\\":
            at += 2
        elif pattern[at] == "[":
            at = _after_set(pattern, at)
        else:
            yield at, pattern[at]
            at += 1


def _after(pattern: str, end: str, at: int) -> int:
    found = pattern.find(end, at)
    return len(pattern) if found < 0 else found + len(end)


def _after_set(pattern: str, at: int) -> int:
    at += 1
    at += pattern.startswith("^", at)
    # As the first of a set, a bracket closes nothing.
    at += pattern.startswith("]", at)
    while at < len(pattern) and pattern[at] != "]":
        at += 1 + (pattern[at] == "\\")
    return at + 1


def _literal_beginning(pattern: str) -> str:
    literal: list[str] = []
    at = 0
    while at < len(pattern):
        escaped = pattern[at] == "\\"
        if escaped and not _is_literal_escape(pattern, at):
            break
        if not escaped and pattern[at] in _SIGNS:
            if pattern[at] in _REPEATS and literal:
                literal.pop()
            break
        literal.append(pattern[at + escaped])
        at += 1 + escaped
    return "".join(literal)


def _is_literal_escape(pattern: str, at: int) -> bool:
    # A backslash before a letter or a digit means something; before anything else it means that very sign.
    return at + 1 < len(pattern) and not (pattern[at + 1].isascii() and pattern[at + 1].isalnum())
