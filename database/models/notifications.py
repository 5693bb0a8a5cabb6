"""What people are told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Identity, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from database.models.row import Row, now, one_of
from database.statuses import NotificationEvent, NotificationStatus


class Notification(Row):
    """One outcome to be told by one channel: written in the transaction of the outcome, sent by the sweep."""

    __tablename__ = "notification"
    __table_args__ = (
        ForeignKeyConstraint(["workflow_id", "batch_id"], ["task_batch.workflow_id", "task_batch.batch_id"]),
        UniqueConstraint(
            "workflow_id", "batch_id", "task_id", "event", "outcome", "channel", postgresql_nulls_not_distinct=True
        ),
        CheckConstraint(one_of("event", NotificationEvent), name="event"),
        CheckConstraint(one_of("status", NotificationStatus), name="status"),
        CheckConstraint("(status = 'DUE') = (due_at IS NOT NULL)", name="due_at"),
        CheckConstraint("(status = 'SENT') = (sent_at IS NOT NULL)", name="sent_at"),
        CheckConstraint("outcome >= 0 AND channel >= 0 AND tries >= 0", name="counts"),
        Index("ix_notification_due", "due_at", postgresql_where=text("status = 'DUE'")),
        Index("ix_notification_happened_at", "happened_at"),
    )

    notification_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    workflow_id: Mapped[int]
    batch_id: Mapped[str]
    #: The task whose own channels these are; None when they are the batch's.
    task_id: Mapped[int | None] = mapped_column(ForeignKey("task.task_id"))
    event: Mapped[str]
    #: Which outcome of the batch it tells, from 1; of a task, which attempt; of a deadline, how many were before it.
    outcome: Mapped[int]
    #: The channel's place among those of the version, from 0.
    channel: Mapped[int]
    version_id: Mapped[int] = mapped_column(ForeignKey("workflow_version.version_id"))
    #: How everything stood then: a batch that goes on meanwhile changes nothing about what is told.
    facts: Mapped[dict[str, Any]]
    happened_at: Mapped[datetime] = mapped_column(server_default=now())
    status: Mapped[str] = mapped_column(server_default=NotificationStatus.DUE)
    due_at: Mapped[datetime | None]
    tries: Mapped[int] = mapped_column(server_default="0")
    #: What was last said instead of accepting it.
    problem: Mapped[str | None]
    sent_at: Mapped[datetime | None]
