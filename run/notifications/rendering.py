"""A failure report as a mail: its subject, a text, and HTML that is easy to read in light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from run.notifications.failure import FailureReport

#: What is longer helps nobody, and some servers refuse a mail of many megabytes. The end of a traceback says most.
_LONGEST_DETAILS = 20_000
_MOST_NAMES = 200

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


def render_failure(report: FailureReport) -> Rendered:
    """The message that tells people about this failure, or these failures."""
    values = {"report": report, "title": _title(report), "details": _end_of, "names": _some}
    return Rendered(
        subject=_title(report),
        text=_environment.get_template("failure.txt").render(values),
        html=_environment.get_template("failure.html").render(values),
    )


def _title(report: FailureReport) -> str:
    names = _some([task.name for task in report.failed])
    return f"Error in task {names}" if len(report.failed) == 1 else f"Errors in {len(report.failed)} tasks: {names}"


def _end_of(text: str) -> str:
    left_out = len(text) - _LONGEST_DETAILS
    return text.rstrip() if left_out <= 0 else f"({left_out:,} characters left out) ...{text[left_out:]}".rstrip()


def _some(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_MOST_NAMES])} and {more:,} more"
