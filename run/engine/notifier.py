"""Sends what people are to be told: each notification is claimed, composed, sent and marked, in this order.

Nothing of it can change a batch. Whoever dies in between leaves the notification to the sweep, which sends it again
under the same id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from database.audit import write_audit
from database.errors import DatabaseUnavailable, Missing
from database.notifications import (
    ClaimedNotification,
    claim_notification,
    give_up,
    note_not_sent,
    note_sent,
    send_again,
)
from database.sessions import Database, Transaction
from run.engine.channels import Channels, NotSent
from run.engine.moved import Who
from run.engine.results import Results
from run.engine.telling import message_of
from run.redaction import redacted
from run.workflows.channels import Channel

logger = logging.getLogger(__name__)

#: After so many tries nobody waits for it any more; they take about three hours.
MOST_TRIES = 10


class Notifier:
    """Sends notifications that are due."""

    def __init__(self, database: Database, results: Results, channels: Channels, names: Mapping[str, str]) -> None:
        self._database = database
        self._results = results
        self._channels = channels
        self._names = names

    def send(self, notification_id: int) -> bool:
        """Send one if it is due; False when the channel has not taken it, which is tried again later, or given up."""
        told = self._database.transact(lambda tx: claim_notification(tx, notification_id))
        if told is None:
            return True
        if told.tries > MOST_TRIES:
            return self._give_up(told, None)
        try:
            problem = self._try(told)
        except NotSent as error:
            return self._not_sent(told, str(error))
        except DatabaseUnavailable:
            raise
        except Exception as error:  # whatever it is, it is why nobody is told
            logger.exception("could not tell of %s", told.event, extra=_names_for_logs(told))
            return self._not_sent(told, redacted(f"{type(error).__name__}: {error}"))
        self._database.transact(lambda tx: note_sent(tx, notification_id, problem))
        names = _names_for_logs(told)
        logger.info("told of %s", told.event, extra=names)
        if problem is not None:
            logger.warning("told of %s, but: %s", told.event, problem, extra=names)
        return True

    def _try(self, told: ClaimedNotification) -> str | None:
        message = message_of(self._database, self._results, told, self._names)
        return self._channels.send(Channel.model_validate(told.channel), message)

    def _not_sent(self, told: ClaimedNotification, problem: str) -> bool:
        if told.tries >= MOST_TRIES:
            return self._give_up(told, problem)
        self._database.transact(lambda tx: note_not_sent(tx, told.notification_id, told.tries, problem))
        said = "could not tell of %s, try %s; trying again later: %s"
        logger.warning(said, told.event, told.tries, problem, extra=_names_for_logs(told))
        return False

    def _give_up(self, told: ClaimedNotification, problem: str | None) -> bool:
        self._database.transact(lambda tx: give_up(tx, told.notification_id, told.tries, problem))
        said = "nobody was told of %s, given up after %s tries: %s"
        logger.error(
            said, told.event, min(told.tries, MOST_TRIES), problem or "the worker died", extra=_names_for_logs(told)
        )
        return False


def _names_for_logs(told: ClaimedNotification) -> dict[str, str]:
    names = {"workflow": told.workflow, "batch": told.batch.batch_id}
    return names if told.task is None else {**names, "task": told.task}


def tell_again(tx: Transaction, notification_id: int, who: Who) -> None:
    """Have a notification sent with the next sweep, whatever has become of it; raises Missing."""
    about = send_again(tx, notification_id)
    if about is None:
        raise Missing(f"there is no notification {notification_id}")
    details = {"notification": notification_id}
    write_audit(tx, who.actor, "send", f"batch {' '.join(about)}", reason=who.reason, details=details)
