"""Channels by which people are told, in the journal, where what they were told outlives the process that told it."""

from __future__ import annotations

from run.engine.channels import Channels, NotSent
from run.errors import Unavailable
from run.notifications.message import Message
from run.workflows.channels import Channel
from tests.faults.kill.journal import Journal
from tests.faults.kill.points import Points

#: A webhook that never takes anything.
REFUSING = "https://refusing.example/hook"


class JournalChannels(Channels):
    """Whoever is told again is told the same."""

    def __init__(self, journal: Journal, points: Points) -> None:
        self._journal = journal
        self._points = points

    def send(self, channel: Channel, message: Message) -> str | None:
        """Tell it."""
        if channel.webhook == REFUSING:
            raise NotSent("it is refused")
        try:
            with self._points.around("telling"):
                about = message.key.partition(".")[0]
                self._journal.write("told", about=about, subject=message.rendered.subject)
        except Unavailable as error:
            raise NotSent(str(error)) from error
        return None
