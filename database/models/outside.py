"""Work outside: what was said about it, and what of it is to be ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from database.models.executions import element_column
from database.models.row import Row, now


class Completion(Row):
    """What an outside system has said about one attempt, once for ever."""

    __tablename__ = "completion"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workflow_id", "batch_id", "task_id", "element"],
            ["batch_task.workflow_id", "batch_task.batch_id", "batch_task.task_id", "batch_task.element"],
        ),
        CheckConstraint("status IN ('SUCCESS', 'ERROR')", name="status"),
        CheckConstraint("attempt >= 1", name="attempt"),
    )

    workflow_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    element: Mapped[int] = element_column()
    attempt: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    result: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    error: Mapped[str | None]
    received_at: Mapped[datetime] = mapped_column(server_default=now())


class Cancellation(Row):
    """An attempt that was taken away while its work might go on outside, until that is confirmed to have ended."""

    __tablename__ = "cancellation"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workflow_id", "batch_id", "task_id", "element", "attempt"],
            [f"task_log.{column}" for column in ("workflow_id", "batch_id", "task_id", "element", "attempt")],
        ),
        CheckConstraint("tries >= 0", name="tries"),
        Index("ix_cancellation_due_at", "due_at"),
    )

    workflow_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    element: Mapped[int] = element_column()
    attempt: Mapped[int] = mapped_column(primary_key=True)
    #: The version whose configuration the attempt had.
    version_id: Mapped[int] = mapped_column(ForeignKey("workflow_version.version_id"))
    #: The item that it had, if it was an element's.
    item: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    handle: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    requested_at: Mapped[datetime] = mapped_column(server_default=now())
    due_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(server_default="0")
    #: What the other side last said instead of confirming it.
    problem: Mapped[str | None]
