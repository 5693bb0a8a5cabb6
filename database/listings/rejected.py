"""Rejected messages without their bodies, to look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True)
class ListedRejected:
    """A rejected message without its body; `size` is the body's, in bytes."""

    rejected_id: int
    reason: str
    message_key: str
    size: int
    deliveries: int
    received_at: datetime
    replays: int
    replayed_at: datetime | None


_REJECTED = text("""
    SELECT rejected_id, reason, message_key, octet_length(body) AS size, deliveries, received_at, replays, replayed_at
      FROM rejected_message WHERE :replayed_too OR replays = 0
     ORDER BY received_at DESC, rejected_id DESC LIMIT :most
""")


def list_rejected_messages(tx: Connection, *, replayed_too: bool, most: int) -> list[ListedRejected]:
    """The newest rejected messages; those that were replayed only when asked for."""
    rows = tx.execute(_REJECTED, {"replayed_too": replayed_too, "most": most})
    return [ListedRejected(**row._asdict()) for row in rows]
