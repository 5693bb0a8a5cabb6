"""A report as a mail: its subject, a text, and HTML that is easy to read in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from run.notifications.failure import FailureReport
from run.notifications.outcome import DeadlineReport, SuccessReport

#: What is longer helps nobody, and some servers refuse a mail of many megabytes. The end of a traceback says most.
_LONGEST_DETAILS = 20_000
_MOST_NAMES = 200

#: The line at the top of the page, in light and dark.
_RED, _GREEN, _YELLOW = ("#c62f3b", "#f2777a"), ("#1f7a4d", "#5fc38f"), ("#b7791f", "#e0af54")

Report = FailureReport | SuccessReport | DeadlineReport

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    # What a mail quotes comes from anywhere: in HTML all of it is escaped.
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Rendered:
    """The parts of a message."""

    subject: str
    text: str
    html: str


def render(report: Report) -> Rendered:
    """The message that tells people what is in this report."""
    match report:
        case FailureReport():
            return render_failure(report)
        case SuccessReport():
            return _rendered("success", report.title, _GREEN, report=report)
        case DeadlineReport():
            return _rendered("deadline", report.title, _YELLOW, report=report)


def render_failure(report: FailureReport) -> Rendered:
    """The message that tells people about this failure, or these failures."""
    lists = [
        ("Failed too", report.failed_too),
        ("Cancelled", report.cancelled),
        ("Could not be executed", report.not_executed),
    ]
    shown = [(heading, listed) for heading, listed in lists if listed]
    title = report.title or _title(report)
    return _rendered("failure", title, _RED, report=report, lists=shown, details=_end_of, names=some)


def _rendered(template: str, title: str, accent: tuple[str, str], **values: Any) -> Rendered:
    values |= {"title": title, "accent": accent[0], "accent_in_the_dark": accent[1]}
    return Rendered(
        subject=title,
        text=_environment.get_template(f"{template}.txt").render(values),
        html=_environment.get_template(f"{template}.html").render(values),
    )


def _title(report: FailureReport) -> str:
    names = some([task.name for task in report.failed])
    return f"Error in task {names}" if len(report.failed) == 1 else f"Errors in {len(report.failed)} tasks: {names}"


def _end_of(text: str) -> str:
    left_out = len(text) - _LONGEST_DETAILS
    return text.rstrip() if left_out <= 0 else f"({left_out:,} characters left out) ...{text[left_out:]}".rstrip()


def some(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    """The names in a line; of very many the first, and how many more there are."""
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more:,} more"
