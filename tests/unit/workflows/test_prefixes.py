"""What a pattern can be listed by: every object that it fits lies there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run.workflows.patterns import FilePattern, InvalidPattern
from run.workflows.prefixes import Prefix, merged, narrowed, prefixes_of, read_prefix


@pytest.mark.parametrize(
    ("pattern", "uris"),
    [
        (r"gs://my\-landing/sales/(?P<period>\d{4}-\d{2})\.csv", ["gs://my-landing/sales/"]),
        (r"gs://landing/sales\.csv", ["gs://landing/sales.csv"]),
        (r"gs://landing/.*", ["gs://landing/"]),
        (r"gs://landing/sales?/a", ["gs://landing/sale"]),
        (r"gs://landing/a{2}b", ["gs://landing/"]),
        (r"gs://landing/a\.+", ["gs://landing/a"]),
        (r"gs://landing/[ab|c]/x", ["gs://landing/"]),
        (r"gs://landing/[]|]/x", ["gs://landing/"]),
        (r"gs://landing/[a]|gs://other/[b]", ["gs://landing/", "gs://other/"]),
        (r"gs://landing/[^]|]/x|gs://landing/y", ["gs://landing/", "gs://landing/y"]),
        (r"gs://landing/[a\]|(]/x", ["gs://landing/"]),
        (r"gs://landing/\d+", ["gs://landing/"]),
        (r"gs://landing/\Qa|(\E|gs://other/b", ["gs://landing/", "gs://other/b"]),
        (r"gs://landing/a|gs://other/b(c|d)", ["gs://landing/a", "gs://other/b"]),
        (r"gs://landing/a\|b", ["gs://landing/a|b"]),
        (r"gs://landing/übung/.*", ["gs://landing/übung/"]),
        (r"gs://land.*/a", [None]),
        (r"gs://landing.*", [None]),
        (r"gs://landing/a|.*\.csv", ["gs://landing/a", None]),
    ],
)
def test_a_pattern_is_listed_by_its_literal_beginning(pattern: str, uris: list[str | None]) -> None:
    assert [prefix and prefix.uri for prefix in prefixes_of(pattern)] == uris


pieces = st.sampled_from(
    ["a", "b", "/", r"\.", r"\|", "(", ")", "|", "[", "]", "^", "*", "+", "?", "{2}", ".", r"\d", "-", r"\Q", r"\E"]
)


@given(
    tail=st.lists(pieces, max_size=9).map("".join),
    names=st.lists(st.text("ab/.|-1[]", max_size=5), min_size=20, max_size=20),
)
def test_every_address_that_fits_a_pattern_begins_with_one_of_its_prefixes(tail: str, names: list[str]) -> None:
    try:
        pattern = FilePattern(f"gs://b/{tail}", {}, {})
    except InvalidPattern:
        return
    prefixes = prefixes_of(pattern.pattern)
    for uri in (f"gs://b/{name}" for name in [*names, ""]):
        if pattern.match(uri) is not None and None not in prefixes:
            assert any(prefix and uri.startswith(prefix.uri) for prefix in prefixes)


def test_prefixes_inside_others_are_not_listed_twice() -> None:
    names = [("b", "x/y"), ("a", "x/"), ("a", "x/y/"), ("a", "x/"), ("a", "y"), ("b", "x/")]
    assert merged(Prefix(*name) for name in names) == [Prefix("a", "x/"), Prefix("a", "y"), Prefix("b", "x/")]


@pytest.mark.parametrize(
    ("to", "uris"),
    [
        ("gs://a/", ["gs://a/sales/", "gs://a/x"]),
        ("gs://a/sales/2024", ["gs://a/sales/2024"]),
        ("gs://a/s", ["gs://a/sales/"]),
        ("gs://a/costs/", []),
        ("gs://b/sales/", []),
    ],
)
def test_a_narrower_question_is_about_fewer_objects(to: str, uris: list[str]) -> None:
    prefix = read_prefix(to)
    assert prefix is not None
    assert [one.uri for one in narrowed([Prefix("a", "sales/"), Prefix("a", "x")], prefix)] == uris


@pytest.mark.parametrize("uri", ["gs://a", "a/b", "gs:///b", "gs://"])
def test_what_names_no_whole_bucket_is_no_prefix(uri: str) -> None:
    assert read_prefix(uri) is None
