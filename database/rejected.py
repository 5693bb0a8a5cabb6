"""The inbox of rejected messages: kept whole, with the reason, until a person replays them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

_STORE = text("""
    INSERT INTO rejected_message (message_key, reason, headers, body) VALUES (:message_key, :reason, :headers, :body)
    ON CONFLICT (message_key) DO UPDATE
       SET deliveries = rejected_message.deliveries + 1, reason = excluded.reason
    RETURNING rejected_id
""").bindparams(bindparam("headers", type_=JSONB))


def store_rejected(tx: Connection, message_key: str, reason: str, headers: Mapping[str, str], body: bytes) -> int:
    """Keep a message that can never succeed; the same message again only counts up its deliveries."""
    given = {"message_key": message_key, "reason": reason, "headers": dict(headers), "body": body}
    rejected_id: int = tx.execute(_STORE, given).scalar_one()
    return rejected_id


@dataclass(frozen=True)
class RejectedMessage:
    """A rejected message as it is stored."""

    rejected_id: int
    message_key: str
    reason: str
    headers: Mapping[str, Any]
    body: bytes
    deliveries: int
    received_at: datetime
    replays: int
    replayed_at: datetime | None


_COLUMNS = "rejected_id, message_key, reason, headers, body, deliveries, received_at, replays, replayed_at"
_FIND = text(f"SELECT {_COLUMNS} FROM rejected_message WHERE rejected_id = :rejected_id")
_REPLAYED = text("""
    UPDATE rejected_message SET replays = replays + 1, replayed_at = clock_timestamp() WHERE rejected_id = :rejected_id
""")


def find_rejected(tx: Connection, rejected_id: int) -> RejectedMessage | None:
    """The rejected message with this id."""
    row = tx.execute(_FIND, {"rejected_id": rejected_id}).one_or_none()
    return None if row is None else _from_row(row)


@dataclass(frozen=True)
class Rejection:
    """How often a message was rejected, and why the last time."""

    deliveries: int
    reason: str


_REJECTIONS = text("""
    SELECT rejected_id, deliveries, reason FROM rejected_message
     WHERE rejected_id = :rejected_id OR starts_with(message_key, :keys_begin)
     ORDER BY rejected_id
""")


def rejections(tx: Connection, rejected_id: int, keys_begin: str | None) -> dict[int, Rejection]:
    """The message with this id, and those whose keys begin so, by their ids."""
    rows = tx.execute(_REJECTIONS, {"rejected_id": rejected_id, "keys_begin": keys_begin})
    return {row.rejected_id: Rejection(row.deliveries, row.reason) for row in rows}


def mark_replayed(tx: Connection, rejected_id: int) -> None:
    """Count a replay, and take the message off the list of what waits for a person."""
    tx.execute(_REPLAYED, {"rejected_id": rejected_id})


def _from_row(row: Any) -> RejectedMessage:
    values = row._asdict()
    return RejectedMessage(**{**values, "body": bytes(values["body"])})
