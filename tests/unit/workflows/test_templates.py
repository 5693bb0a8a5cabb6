from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run.workflows.dates import problem_of_format, read_date, write_date
from run.workflows.templates import NameType, TemplateError, names_in, render, template_problems

DATES = st.dates()


def test_declared_names_are_replaced_and_every_other_brace_stays() -> None:
    text = render(r"{a}-{b:%Y-%m}-{unknown}-\d{4}-{{a}}-{}-{ a }", {"a": "x", "b": date(2024, 3, 5)})
    assert text == r"x-2024-03-{unknown}-\d{4}-{x}-{}-{ a }"


def test_a_date_without_a_format_is_iso() -> None:
    assert render("{day}", {"day": date(2024, 3, 5)}) == "2024-03-05"


def test_a_year_has_four_digits_whatever_the_platform() -> None:
    assert render("{day:%Y}|{day:%%Y}", {"day": date(33, 4, 3)}) == "0033|%Y"


def test_a_format_on_a_text_is_refused() -> None:
    with pytest.raises(TemplateError, match="'a' is text and takes no format"):
        render("{a:%Y}", {"a": "x"})


def test_the_escape_is_applied_to_values_only() -> None:
    assert render("a.{b}.c", {"b": "x"}, lambda text: f"<{text}>") == "a.<x>.c"


def test_a_value_that_looks_like_a_template_is_not_filled_again() -> None:
    assert render("{a}{b}", {"a": "{b}", "b": "{a}"}) == "{b}{a}"


@given(st.text())
def test_without_names_a_template_stays_as_it_is(template: str) -> None:
    assert render(template, {}) == template


@given(st.text(alphabet="{}ab:%Y "), st.text(), st.text())
def test_only_the_names_found_are_replaced(template: str, a: str, b: str) -> None:
    values = {"a": a, "b": b}
    uses = names_in(template, values)
    if any(use.format is not None for use in uses):
        return
    expected, position = "", 0
    for use in uses:
        expected += template[position : use.start] + values[use.name]
        position = use.end
    assert render(template, values) == expected + template[position:]


def test_names_come_in_order_with_their_formats() -> None:
    uses = names_in("{b:%Y}{c}{a}", {"a", "b"})
    assert [(use.name, use.format) for use in uses] == [("b", "%Y"), ("a", None)]


def test_a_near_miss_and_a_format_on_text_are_problems_and_foreign_braces_are_none() -> None:
    names = {"period": NameType.DATE, "region": NameType.TEXT}
    assert list(template_problems("{peroid} {region:%Y} {period:%Y} {other} {1}", names)) == [
        "'{peroid}' is not a known name; did you mean 'period'?",
        "'region' is text and takes no format; write {region}",
    ]


@given(DATES)
def test_a_written_day_is_read_back(day: date) -> None:
    assert read_date(write_date(day, "%Y%m%d"), "%Y%m%d") == day


@given(st.dates(date(1, 1, 8), date(9999, 12, 24)))
def test_an_iso_week_is_read_back_as_its_monday(day: date) -> None:
    monday = read_date(write_date(day, "%G-W%V"), "%G-W%V")
    assert monday.isocalendar()[:2] == day.isocalendar()[:2]
    assert monday.isoweekday() == 1


@pytest.mark.parametrize("pattern", ["%Y-%m", "%b-%Y", "%B %d, %Y", "%G-W%V", "%Y%j", "%y%m%d", "%Y-%m-%d %H:%M"])
def test_a_format_that_leads_back_is_accepted(pattern: str) -> None:
    assert problem_of_format(pattern) is None


@pytest.mark.parametrize("pattern", ["", "%m", "%Y-%Q", "%Y%", "%Y-W%W", "%Y-W%V", "year"])
def test_a_format_that_does_not_lead_back_is_refused(pattern: str) -> None:
    assert problem_of_format(pattern) is not None
