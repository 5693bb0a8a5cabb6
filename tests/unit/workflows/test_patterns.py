from __future__ import annotations

import time
from datetime import date

import pytest

from run.errors import Rejected
from run.workflows.patterns import FilePattern, InvalidPattern, PatternMismatch

SALES = r"gs://{landing_bucket}/sales/(?P<period>\d{4}-\d{2})\.csv"
NAMES = {"landing_bucket": "my.bucket"}


def test_the_groups_of_a_whole_address_become_values() -> None:
    assert FilePattern(SALES, {}, NAMES).match("gs://my.bucket/sales/2024-03.csv") == {"period": "2024-03"}


@pytest.mark.parametrize(
    "uri",
    ["gs://my.bucket/sales/2024-03.csv.bak", "xgs://my.bucket/sales/2024-03.csv", "gs://my.bucket/sales/2024-03xcsv"],
)
def test_a_part_of_an_address_does_not_match(uri: str) -> None:
    assert FilePattern(SALES, {}, NAMES).match(uri) is None


def test_a_value_put_into_a_pattern_is_literal_text() -> None:
    assert FilePattern(SALES, {}, NAMES).match("gs://myxbucket/sales/2024-03.csv") is None


def test_parse_makes_dates_so_that_two_spellings_meet() -> None:
    words = FilePattern(r"gs://b/(?P<period>[A-Za-z]+-\d{4})", {"period": "%b-%Y"}, {})
    figures = FilePattern(r"gs://b/(?P<period>\d{4}-\d\d)", {"period": "%Y-%m"}, {})
    assert words.match("gs://b/Mar-2024") == figures.match("gs://b/2024-03") == {"period": date(2024, 3, 1)}


def test_a_group_that_is_no_date_is_said_with_its_format() -> None:
    pattern = FilePattern(r"gs://b/(?P<period>.+)", {"period": "%b-%Y"}, {})
    with pytest.raises(PatternMismatch, match=r"gs://b/Foo-2024: 'period' is 'Foo-2024', which is no date .*'%b-%Y'"):
        pattern.match("gs://b/Foo-2024")
    assert issubclass(PatternMismatch, Rejected)


def test_a_group_that_took_no_part_is_empty() -> None:
    assert FilePattern(r"gs://b/(?P<a>x)?(?P<b>y)", {}, {}).match("gs://b/y") == {"a": "", "b": "y"}


def test_groups_come_in_the_order_of_the_pattern() -> None:
    assert FilePattern(r"gs://b/(?P<z>x)(?P<a>y)(n)", {}, {}).group_names == ("z", "a")


@pytest.mark.parametrize("pattern", ["gs://b/(", r"gs://b/(?P<a>.)\1", "gs://b/(?=x)", "gs://b/(?P<a>x)(?P<a>y)"])
def test_what_re2_does_not_take_is_refused_with_its_reason(pattern: str) -> None:
    with pytest.raises(InvalidPattern, match=r"\w+"):
        FilePattern(pattern, {}, {})


def test_a_name_from_outside_cannot_make_matching_slow() -> None:
    pattern = FilePattern("gs://b/(a+)+(a+)+(a+)+b", {}, {})
    started = time.monotonic()
    assert pattern.match("gs://b/" + "a" * 1000 + "!") is None
    assert time.monotonic() - started < 1
