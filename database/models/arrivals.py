"""What comes in: files, messages that were rejected, and what people did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from database.models.row import Row, now, one_of
from database.statuses import LIVE_IN_COLLECTION, FileDecision, any_of

_OF_A_TASK = (FileDecision.TAKEN, *LIVE_IN_COLLECTION)
_NEEDS_NO_REASON = (FileDecision.TAKEN, FileDecision.COLLECTED, FileDecision.MARKER)


class FileLog(Row):
    """One row per (bucket, object, generation, event, task): which files came, and what became of them."""

    __tablename__ = "file_log"
    __table_args__ = (
        UniqueConstraint("bucket", "object", "generation", "task_id", "event_type", postgresql_nulls_not_distinct=True),
        ForeignKeyConstraint(["workflow_id", "batch_id"], ["task_batch.workflow_id", "task_batch.batch_id"]),
        CheckConstraint(one_of("decision", FileDecision), name="decision"),
        CheckConstraint(
            f"decision NOT IN {any_of(_OF_A_TASK)} "
            "OR (workflow_id IS NOT NULL AND batch_id IS NOT NULL AND task_id IS NOT NULL)",
            name="taken",
        ),
        CheckConstraint(f"decision IN {any_of(_NEEDS_NO_REASON)} OR reason IS NOT NULL", name="reason"),
        CheckConstraint("generation >= 0", name="generation"),
        CheckConstraint("(place_bucket IS NULL) = (place_object IS NULL)", name="place"),
        CheckConstraint("(place_bucket IS NULL) = (place_generation IS NULL)", name="place_generation"),
        Index(
            "uq_file_log_taken",
            "workflow_id",
            "batch_id",
            "task_id",
            unique=True,
            postgresql_where=text("decision = 'TAKEN'"),
        ),
        Index(
            "uq_file_log_collected",
            "workflow_id",
            "batch_id",
            "task_id",
            "bucket",
            "object",
            unique=True,
            postgresql_where=text(f"decision IN {any_of(LIVE_IN_COLLECTION)}"),
        ),
        Index(
            "ix_file_log_place",
            "place_bucket",
            "place_object",
            postgresql_where=text("place_bucket IS NOT NULL"),
        ),
        Index("ix_file_log_received_at", "received_at"),
        Index("ix_file_log_batch", "workflow_id", "batch_id"),
    )

    file_log_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    bucket: Mapped[str]
    object: Mapped[str]
    generation: Mapped[int]
    event_type: Mapped[str]
    size: Mapped[int | None]
    decision: Mapped[str]
    reason: Mapped[str | None]
    workflow_id: Mapped[int | None]
    batch_id: Mapped[str | None]
    task_id: Mapped[int | None] = mapped_column(ForeignKey("task.task_id"))
    #: What the pattern's named groups caught, dates as {"date": "2024-03-01"}.
    groups: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    message_id: Mapped[str | None]
    received_at: Mapped[datetime] = mapped_column(server_default=now())
    #: Where the object is now, once a task has moved it.
    place_bucket: Mapped[str | None]
    place_object: Mapped[str | None]
    place_generation: Mapped[int | None]


class RejectedMessage(Row):
    """A message that can never succeed, whole, with its reason; it may be replayed."""

    __tablename__ = "rejected_message"
    __table_args__ = (
        CheckConstraint("deliveries >= 1", name="deliveries"),
        CheckConstraint("replays >= 0 AND (replays = 0) = (replayed_at IS NULL)", name="replays"),
        Index("ix_rejected_message_received_at", "received_at"),
    )

    rejected_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    #: The message's id, or a digest of its body: the same message again is the same row.
    message_key: Mapped[str] = mapped_column(unique=True)
    reason: Mapped[str]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes]
    deliveries: Mapped[int] = mapped_column(server_default="1")
    received_at: Mapped[datetime] = mapped_column(server_default=now())
    replays: Mapped[int] = mapped_column(server_default="0")
    replayed_at: Mapped[datetime | None]


class Audit(Row):
    """What people did, and why."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_at", "at"),)

    audit_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=now())
    actor: Mapped[str]
    action: Mapped[str]
    #: What it was done to, e.g. "workflow monthly_profit" or "batch monthly_profit 2024-03".
    subject: Mapped[str]
    reason: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
