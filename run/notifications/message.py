"""One message to be told by one channel, whichever that is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from run.notifications.rendering import Rendered, Report, render


@dataclass(frozen=True)
class Message:
    """A report and what it is about; `key` is the same for every try to tell it by this channel, and for no other."""

    key: str
    event: str
    workflow: str
    batch: str
    #: The task that it is about; None when it is the batch.
    task: str | None
    status: str
    #: Which outcome of the batch it tells, or which attempt of the task.
    outcome: int
    report: Report
    rendered: Rendered = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rendered", render(self.report))

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values; the time is ISO 8601, in UTC."""
        about = {name: getattr(self, name) for name in ("event", "workflow", "batch", "task", "status", "outcome")}
        report = {**asdict(self.report), "at": self.report.at.isoformat().replace("+00:00", "Z")}
        return {"id": self.key, **about, "subject": self.rendered.subject, "text": self.rendered.text, "report": report}
