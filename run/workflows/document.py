"""YAML text as plain data that remembers its lines. Nothing here knows what a workflow is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import yaml

from run.workflows.problems import Place, Problem
from run.workflows.results import UNSTORABLE

#: Aliases of aliases can make a small file endless; no workflow for people is larger.
_MOST_NODES = 1_000_000
_MOST_PROBLEMS = 100
_TAG = "tag:yaml.org,2002:"


@dataclass
class Document:
    """A file's data, the line (from 1) of every part of it, and what is wrong with it as YAML."""

    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, problem: Problem) -> int:
        """The line of a problem's place, or of the nearest part of the file around it."""
        if problem.line is not None:
            return problem.line
        place = problem.place
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_document(text: str) -> Document:
    """Read one YAML document; a duplicate key, a tag or a syntax error is a problem, never an exception.

    Only true and false are booleans, so that `country: NO` stays text; dates and times such as 12:30 stay text too.
    """
    document = Document()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            document.problems.append(Problem((), "the file is empty", 1))
        else:
            document.data = _Reader(document).read(node, ())
    except yaml.MarkedYAMLError as error:
        document.problems.append(_syntax_problem(error))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.problems.append(Problem((), f"not YAML: {error.reason}", line))
    except RecursionError:
        document.problems.append(Problem((), "not YAML that can be read: nested too deeply", 1))
    return document


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    reason = " ".join(part for part in (error.context, error.problem) if part)
    return Problem((), f"not YAML: {reason}", mark.line + 1 if mark else 1)


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._scalars = yaml.SafeLoader("")
        self._open: set[int] = set()
        self._nodes = 0

    def read(self, node: yaml.Node, place: Place) -> Any:
        line = node.start_mark.line + 1
        self._document.lines.setdefault(place, line)
        self._nodes += 1
        if id(node) in self._open or self._nodes > _MOST_NODES:
            self._add(place, line, "an alias that repeats itself without end")
            return None
        self._open.add(id(node))
        try:
            return self._data(node, place, line)
        finally:
            self._open.discard(id(node))

    def _data(self, node: yaml.Node, place: Place, line: int) -> Any:
        match node:
            case yaml.MappingNode() if node.tag == f"{_TAG}map":
                return self._mapping(node, place)
            case yaml.SequenceNode() if node.tag == f"{_TAG}seq":
                return [self.read(item, (*place, index)) for index, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node, place, line)
        self._add(place, line, f"the tag '{node.tag.removeprefix(_TAG)}' is not known here; write plain values")
        return None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        data: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == f"{_TAG}merge" or UNSTORABLE.search(key):
                self._add(place, line, "a key is a plain word; merging with '<<' is not known here")
            elif key in first_lines:
                self._add(place, line, f"'{key}' is written twice, first in line {first_lines[key]}")
            else:
                first_lines[key] = line
                data[key] = self._entry(value_node, (*place, key), line)
        return data

    def _entry(self, node: yaml.Node, place: Place, key_line: int) -> Any:
        # A value on a line of its own is where to look; a mapping or list is best found by its key.
        on_its_own = isinstance(node, yaml.ScalarNode) and node.start_mark.line + 1 > key_line
        self._document.lines[place] = node.start_mark.line + 1 if on_its_own else key_line
        return self.read(node, place)

    def _scalar(self, node: yaml.ScalarNode, place: Place, line: int) -> Any:
        kind = node.tag.removeprefix(_TAG)
        text = str(node.value)
        if UNSTORABLE.search(text):
            self._add(place, line, "a text holds a character that cannot be stored (NUL or half of a pair)")
            return None
        if kind in {"str", "timestamp", "value"}:
            return text
        if (kind == "bool" and text.lower() not in {"true", "false"}) or (kind in {"int", "float"} and ":" in text):
            return text
        if kind not in {"null", "bool", "int", "float"}:
            self._add(place, line, f"the tag '{kind}' is not known here; write plain values")
            return None
        return self._number(node, place, line)

    def _number(self, node: yaml.ScalarNode, place: Place, line: int) -> Any:
        try:
            value = self._scalars.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):
            value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            self._add(place, line, f"'{node.value}' is no number that can be stored; quote it when it is text")
            return None
        return value

    def _add(self, place: Place, line: int, reason: str) -> None:
        if len(self._document.problems) < _MOST_PROBLEMS:
            self._document.problems.append(Problem(place, reason, line))
