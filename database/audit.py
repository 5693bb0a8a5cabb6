"""What people did, and why; nothing is ever taken out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

_WRITE = text("""
    INSERT INTO audit (actor, action, subject, reason, details) VALUES (:actor, :action, :subject, :reason, :details)
""").bindparams(bindparam("details", type_=JSONB))


def write_audit(
    tx: Connection,
    actor: str,
    action: str,
    subject: str,
    *,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write down who did what to whom, in the transaction that does it."""
    given = {"actor": actor, "action": action, "subject": subject, "reason": reason, "details": dict(details or {})}
    tx.execute(_WRITE, given)
