"""What a message about failures says, and that none of it can be more than text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from run.notifications.failure import FailedTask, FailureReport
from run.notifications.outcome import DeadlineReport, DoneTask, SuccessReport, WaitingTask
from run.notifications.rendering import Report, render, render_failure

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'too' </td></pre>"
LOAD = FailedTask(
    name="load_sales",
    work="kind load_file",
    error="PermanentFailure: no such column",
    arguments=[("table", "'finance.sales'"), ("limit", "5")],
    details="Traceback (most recent call last):\n  ...\nPermanentFailure: no such column",
    not_executed=["profit", "refresh"],
)
REPORT = FailureReport(
    place="workflow monthly_profit, batch 2024-03",
    failed=[LOAD],
    at=datetime(2024, 4, 1, 6, 30, tzinfo=UTC),
    command="python -m run batch rerun monthly_profit 2024-03 --failed",
)


class Page(HTMLParser):
    """The tags of a page, that each is closed, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.classes: set[str] = set()
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.classes |= set((dict(attrs).get("class") or "").split())
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def test_a_failure_is_told_in_full_as_text() -> None:
    assert render_failure(REPORT).text == (
        "Error in task load_sales\n"
        "\n"
        "workflow monthly_profit, batch 2024-03, 2024-04-01 06:30:00 UTC\n"
        "\n"
        "load_sales (kind load_file)\n"
        "  PermanentFailure: no such column\n"
        "\n"
        "Called with\n"
        "  table = 'finance.sales'\n"
        "  limit = 5\n"
        "\n"
        "Could not be executed because of it: profit, refresh\n"
        "\n"
        "Traceback (most recent call last):\n"
        "  ...\n"
        "PermanentFailure: no such column\n"
        "\n"
        "To go on from there:\n"
        "  python -m run batch rerun monthly_profit 2024-03 --failed\n"
    )


def test_the_page_says_what_the_text_says() -> None:
    rendered = render_failure(REPORT)
    page = Page(rendered.html)
    assert rendered.subject == "Error in task load_sales"
    squeezed = " ".join(page.text.split())
    for words in (
        "Error in task load_sales", "workflow monthly_profit, batch 2024-03, 2024-04-01 06:30:00 UTC", "kind load_file",
        "PermanentFailure: no such column", "table 'finance.sales' limit 5", "profit, refresh",
        "Traceback (most recent call last): ...", "python -m run batch rerun monthly_profit 2024-03 --failed",
    ):  # fmt: skip
        assert words in squeezed


def test_a_short_failure_has_no_empty_headings() -> None:
    short = FailureReport("Process", [FailedTask("a", "function m.a", "KeyError")], REPORT.at)
    page = Page(render_failure(short).html)
    assert "h3" not in page.tags
    assert "Called with" not in render_failure(short).text
    assert "To go on" not in render_failure(short).text


def test_several_failures_are_one_message() -> None:
    rendered = render_failure(replace(REPORT, failed=[LOAD, replace(LOAD, name="load_expenses", not_executed=())]))
    assert rendered.subject == "Errors in 2 tasks: load_sales, load_expenses"
    assert rendered.text.count("kind load_file") == 2
    assert Page(rendered.html).tags.count("h2") == 2


def test_nothing_that_is_quoted_becomes_a_tag() -> None:
    hostile = FailedTask(HOSTILE, HOSTILE, HOSTILE, [(HOSTILE, HOSTILE)], HOSTILE, [HOSTILE])
    harmless = FailedTask("x", "x", "x", [("x", "x")], "x", ["x"])
    evil = render_failure(FailureReport(HOSTILE, [hostile], REPORT.at, HOSTILE))
    good = render_failure(FailureReport("x", [harmless], REPORT.at, "x"))
    assert Page(evil.html).tags == Page(good.html).tags
    assert Page(evil.html).text.count(HOSTILE) == 11
    assert evil.text.count(HOSTILE) == 10


def success_of(text: str) -> SuccessReport:
    return SuccessReport(text, text, REPORT.at, [DoneTask(text, text, text, text, [(text, text)])], more=3)


def deadline_of(text: str) -> DeadlineReport:
    return DeadlineReport(text, text, REPORT.at, [WaitingTask(text, text, [text])], 3, text, is_cancelled=True)


@pytest.mark.parametrize(("report_of", "count"), [(success_of, 9), (deadline_of, 7)])
def test_nothing_that_a_success_or_a_missed_deadline_quotes_becomes_a_tag(
    report_of: Callable[[str], Report], count: int
) -> None:
    evil, good = render(report_of(HOSTILE)), render(report_of("x"))
    assert Page(evil.html).tags == Page(good.html).tags
    assert Page(evil.html).text.count(HOSTILE) == count
    assert evil.text.count(HOSTILE) == count - 1, "the page says its title once more"


def test_what_is_not_told_in_full_is_told_by_name() -> None:
    more = replace(REPORT, title="Two months late", failed_too=["a", "b"], cancelled=["c"], not_executed=["d"], more=7)
    rendered = render(more)
    assert rendered.subject == "Two months late"
    squeezed = " ".join(Page(rendered.html).text.split())
    for words in ("Failed too a, b", "Cancelled c", "Could not be executed d", "and 7 more tasks"):
        assert words in squeezed
    assert "Failed too: a, b\n\nCancelled: c\n\nCould not be executed: d\n\nand 7 more tasks\n" in rendered.text


def test_the_end_of_an_endless_traceback_and_the_beginning_of_an_endless_list_are_kept() -> None:
    endless = replace(LOAD, details="x" * 1_000_000 + "the end", not_executed=[f"t{number}" for number in range(5000)])
    rendered = render_failure(replace(REPORT, failed=[endless]))
    assert "(980,007 characters left out) ...xxx" in rendered.text
    assert "the end\n" in rendered.text
    assert "t198, t199 and 4,800 more" in rendered.text
    assert len(rendered.html) < 40_000


@pytest.mark.parametrize("report", [REPORT, success_of("x"), deadline_of("x")], ids=["failure", "success", "deadline"])
def test_every_colour_has_another_one_for_the_dark(report: Report) -> None:
    html = render(report).html
    style = html[html.index("<style>") : html.index("</style>")]
    in_the_dark = set(re.findall(r"\.(\w+) \{", style))
    coloured = re.findall(r'<(\w+)([^>]*?) style="([^"]*(?:color|background)[^"]*)"', html)
    assert len(coloured) > 4
    for tag, attributes, _ in coloured:
        found = re.search(r'class="([\w ]+)"', attributes)
        assert found, f"<{tag}> keeps its light colours in the dark"
        assert set(found[1].split()) & in_the_dark
    assert Page(html).classes <= in_the_dark
    assert '<meta name="color-scheme" content="light dark">' in html
    assert style.count("!important") == len(re.findall(r"[\w-]+: [^;{}]+ !important;", style))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_background(scheme: str) -> None:
    # At least 4.5 to 1: https://www.w3.org/TR/WCAG22/#contrast-minimum
    html = render_failure(REPORT).html
    if scheme == "dark":
        pairs = {
            "#16181d": ["#e6e8ec"],
            "#1f2229": ["#e6e8ec", "#a3aab8"],
            "#3a2024": ["#ffc9c9"],
            "#14161a": ["#dfe3ea"],
        }
    else:
        pairs = {
            "#f2f4f7": ["#1d232e"],
            "#ffffff": ["#1d232e", "#5b6575"],
            "#fdecee": ["#8c1620"],
            "#f6f7f9": ["#1d232e"],
        }
    for background, colours in pairs.items():
        assert background in html
        for colour in colours:
            assert colour in html
            lighter, darker = sorted([_luminance(background), _luminance(colour)], reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (background, colour)


def _luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
