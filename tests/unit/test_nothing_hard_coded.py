"""No project, bucket, dataset or region is written into the code: they come from the settings and from workflows.

The local stack is left out: it is an environment of its own, whose names are those of `run/local/stack.py`.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REGION = re.compile(
    r"\b(africa|asia|australia|europe|me|northamerica|southamerica|us)-(north|south|east|west|central){1,2}\d+\b"
)
#: `bucket` is the word for any of them.
BUCKET = re.compile(r"gs://(?!bucket\b)[a-z0-9]")
NAMED = re.compile(r"(^|_)(project|bucket|dataset|location|region)$", re.IGNORECASE)
#: What tells people how a value looks, with the number of times that it does.
EXPLANATIONS = {
    "run/settings.py:europe-west1": 1,
    "run/setting_problems.py:europe-west1": 1,
    "run/kinds/dataform_options.py:europe-west1": 1,
}
#: A template says where the value comes from.
TEMPLATE = re.compile(r"\{\w+\}")


def sources() -> list[Path]:
    found = [*ROOT.glob("run/**/*.py"), *ROOT.glob("database/**/*.py")]
    return sorted(path for path in found if path.relative_to(ROOT).parts[:2] != ("run", "local"))


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text that the program uses: all but the docstrings."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def given(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Every (name, text) of an argument, a default, a variable or a key that is given a text as it stands."""
    for node in ast.walk(tree):
        for name, value in _pairs(node):
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
                yield name, value.value


def _pairs(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    match node:
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Assign(targets=targets, value=value):
            yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=value):
            yield name, value
        case ast.arguments():
            positional = [*node.posonlyargs, *node.args]
            defaults = [None] * (len(positional) - len(node.defaults)) + list(node.defaults)
            pairs = [*zip(positional, defaults, strict=True), *zip(node.kwonlyargs, node.kw_defaults, strict=True)]
            yield from ((argument.arg, default) for argument, default in pairs)


def findings(path: str, source: str) -> list[str]:
    tree = ast.parse(source)
    counts = Counter(found[0] for text in texts(tree) for found in REGION.finditer(text))
    regions = [name for name, times in counts.items() if times > EXPLANATIONS.get(f"{path}:{name}", 0)]
    buckets = [text for text in texts(tree) if BUCKET.search(text) and "such as" not in text]
    values = [f"{name}={value}" for name, value in given(tree) if NAMED.search(name) and not TEMPLATE.fullmatch(value)]
    return [f"{path}: {one}" for one in (*regions, *buckets, *values)]


def test_no_project_bucket_dataset_or_region_is_written_into_the_code() -> None:
    assert len(sources()) > 100
    found = [one for path in sources() for one in findings(str(path.relative_to(ROOT)), path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "client = Client('x', location='EU')",
        "PROJECT = 'acme-prod'",
        "archive_bucket: str = 'acme-archive'",
        "def load(table: str, *, dataset: str = 'finance') -> None: ...",
        "def load(table: str, region: str = 'x') -> None: ...",
        "url = f'https://asia-south1-run.googleapis.com/{name}'",
        "where = 'gs://acme-landing/sales.csv'",
    ],
)
def test_each_of_them_would_be_found(source: str) -> None:
    assert findings("run/x.py", source) != []


@pytest.mark.parametrize(
    "source",
    [
        "client = Client(settings.project, location=settings.bigquery_location)",
        "'''Reads gs://acme/file in europe-west1.'''",
        "raise Failure('write gs://bucket/name')",
        "bucket = ''",
        "project: str = '{project}'",
    ],
)
def test_what_is_no_value_is_not_found(source: str) -> None:
    assert findings("run/x.py", source) == []
