"""The table of promises names tests that exist, every promise once, and counts right."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FEATURES = (ROOT / "docs/features.md").read_text()
RELIABILITY = (ROOT / "docs/reliability.md").read_text()
PROMISES = 122

ROWS = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", FEATURES, re.MULTILINE)


@cache
def names_of_tests(path: Path) -> frozenset[str]:
    """The names of the test functions of a file."""
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def test_every_promise_is_there_once_and_in_order() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, PROMISES + 1))
    # A line that looks like a row and is not read as one would hide its promise.
    assert len(re.findall(r"^\| *\d", FEATURES, re.MULTILINE)) == PROMISES


def test_every_promise_is_open_or_names_tests_and_nothing_else() -> None:
    for number, promise, proof in ROWS:
        assert promise.strip(), number
        assert proof == "open" or re.fullmatch(r"`tests/[\w/.]+::test_\w+`(, `tests/[\w/.]+::test_\w+`)*", proof), (
            number
        )


def test_every_test_that_proves_a_promise_exists() -> None:
    for number, _, proof in ROWS:
        for file, name in re.findall(r"`([^`]+)::(\w+)`", proof):
            path = ROOT / file
            assert path.is_file(), f"promise {number}: {file}"
            assert name in names_of_tests(path), f"promise {number}: {file}::{name}"


def test_the_counts_are_those_of_the_rows() -> None:
    is_open = sum(proof == "open" for _, _, proof in ROWS)
    [told] = re.findall(r"Of (\d+) promises, (\d+) are done and (\d+) are open", " ".join(FEATURES.split()))
    assert [int(count) for count in told] == [len(ROWS), len(ROWS) - is_open, is_open]


def test_every_test_that_the_laws_name_exists() -> None:
    known = {name for path in (ROOT / "tests").rglob("test_*.py") for name in names_of_tests(path)}
    named = re.findall(r"`(test_\w+)`", RELIABILITY)
    assert named
    assert [name for name in named if name not in known] == []
