"""What happens: batches, the tasks of each, and the history of their attempts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.orm import Mapped, mapped_column

from database.models.row import Row, now, one_of
from database.statuses import BatchStatus, SkipCause, Status


def element_column() -> Mapped[int]:
    """The number of an element; -1 is the task itself."""
    return mapped_column(Integer, primary_key=True, server_default="-1", autoincrement=False)


class TaskBatch(Row):
    """One execution of a workflow."""

    __tablename__ = "task_batch"
    __table_args__ = (
        CheckConstraint(one_of("status", BatchStatus), name="status"),
        CheckConstraint("(status = 'PROCESSING') = (ended_at IS NULL)", name="ended_at"),
        CheckConstraint("batch_id <> ''", name="batch_id"),
        UniqueConstraint("workflow_id", "trigger_key"),
        ForeignKeyConstraint(
            ["version_id", "workflow_id"], ["workflow_version.version_id", "workflow_version.workflow_id"]
        ),
        Index("ix_task_batch_created_at", "created_at"),
        Index(
            "ix_task_batch_deadline",
            "deadline_at",
            postgresql_where=text("status = 'PROCESSING' AND deadline_missed_at IS NULL AND deadline_at IS NOT NULL"),
        ),
    )

    workflow_id: Mapped[int] = mapped_column(ForeignKey("workflow.workflow_id"), primary_key=True)
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[int]
    #: Tells this batch from one of the same name in another database: what it starts outside is known by this.
    uid: Mapped[str] = mapped_column(UUID(as_uuid=False), server_default=func.gen_random_uuid())
    status: Mapped[str] = mapped_column(server_default=BatchStatus.PROCESSING)
    params: Mapped[dict[str, Any]]
    #: What opened a batch of its own (a message, a file): the same trigger again finds it and opens no second one.
    trigger_key: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    ended_at: Mapped[datetime | None]
    #: When the batch should have ended; None when its workflow sets no deadline.
    deadline_at: Mapped[datetime | None]
    #: When it was seen that it had not.
    deadline_missed_at: Mapped[datetime | None]
    #: How often it has ended.
    outcomes: Mapped[int] = mapped_column(server_default="0")


class BatchNumber(Row):
    """The last number given to a batch id that counts the batches of its day."""

    __tablename__ = "batch_number"

    workflow_id: Mapped[int] = mapped_column(ForeignKey("workflow.workflow_id"), primary_key=True)
    stem: Mapped[str] = mapped_column(primary_key=True)
    last: Mapped[int]


class BatchTask(Row):
    """The one truth about one task of one batch: what is locked, judged and claimed."""

    __tablename__ = "batch_task"
    __table_args__ = (
        ForeignKeyConstraint(["workflow_id", "batch_id"], ["task_batch.workflow_id", "task_batch.batch_id"]),
        CheckConstraint(one_of("status", Status), name="status"),
        CheckConstraint("(status = 'NEW') = (publish_after IS NOT NULL)", name="publish_after"),
        # An open attempt is in somebody's hands, or due, or its elements end it: one of the three.
        CheckConstraint(
            "status <> 'PROCESSING' OR num_nonnulls(lease_until, due_at, NULLIF(awaits_elements, false)) = 1",
            name="open_attempt",
        ),
        CheckConstraint("awaits_elements = (status = 'PROCESSING' AND elements IS NOT NULL)", name="awaits_elements"),
        CheckConstraint("elements IS NULL OR status NOT IN ('WAITING', 'NEW')", name="elements_of_open"),
        CheckConstraint("elements IS NULL OR (elements >= 0 AND element = -1)", name="elements"),
        CheckConstraint("element >= -1 AND (element >= 0) = (item IS NOT NULL)", name="element"),
        CheckConstraint("(token IS NOT NULL) = (lease_until IS NOT NULL)", name="token"),
        CheckConstraint("lease_until IS NULL OR status = 'PROCESSING'", name="lease_until"),
        CheckConstraint("status <> 'NEW' OR (due_at IS NULL AND NOT ending)", name="ready"),
        CheckConstraint(
            "NOT awaits_completion OR (status = 'PROCESSING' AND due_at IS NOT NULL)", name="awaits_completion"
        ),
        CheckConstraint("(status = 'SKIPPED') = (skip_cause IS NOT NULL)", name="skipped"),
        CheckConstraint(f"skip_cause IS NULL OR {one_of('skip_cause', SkipCause)}", name="skip_cause"),
        CheckConstraint("status <> 'PROCESSING' OR attempt >= 1", name="attempt"),
        CheckConstraint(
            "attempt >= 0 AND takeovers >= 0 AND publishes >= 0 AND polls >= 0 AND retried >= 0", name="counts"
        ),
        CheckConstraint("NOT reset OR status = 'PROCESSING'", name="reset"),
        CheckConstraint("NOT (status = 'NEW' AND awaits_file)", name="awaits_file"),
        CheckConstraint("quiet_at IS NULL OR awaits_file", name="quiet_at"),
        CheckConstraint(
            "(skip_cause IS NOT DISTINCT FROM 'upstream_failed') = (skipped_because_of IS NOT NULL)", name="culprit"
        ),
        ForeignKeyConstraint(["workflow_id", "task_id"], ["task.workflow_id", "task.task_id"]),
        Index(
            "ix_batch_task_open",
            "workflow_id",
            "batch_id",
            "task_id",
            "element",
            postgresql_where=text("status IN ('WAITING', 'NEW', 'PROCESSING')"),
        ),
        Index("ix_batch_task_to_publish", "publish_after", postgresql_where=text("status = 'NEW'")),
        Index("ix_batch_task_leased", "lease_until", postgresql_where=text("lease_until IS NOT NULL")),
        Index("ix_batch_task_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_batch_task_quiet", "quiet_at", postgresql_where=text("quiet_at IS NOT NULL")),
    )

    workflow_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    #: -1 is the task itself; the elements of a mapped task count from 0.
    element: Mapped[int] = element_column()
    #: The place in the order of locks: elements stand right before their task.
    position: Mapped[int]
    #: The version of its batch, once more: a claim that has waited while the batch moved to another sees it here.
    version_id: Mapped[int | None]
    status: Mapped[str]
    #: The attempt that is open, or the last one; 0 before the first claim.
    attempt: Mapped[int] = mapped_column(server_default="0")
    #: Who may write the outcome of the open attempt.
    token: Mapped[str | None] = mapped_column(UUID(as_uuid=False))
    lease_until: Mapped[datetime | None]
    #: When the sweep goes on: with a retry (WAITING), with a poll, with an attempt that was handed back, or with one
    #: whose completion message has not come in time (PROCESSING).
    due_at: Mapped[datetime | None]
    #: What `poll` and `cancel` need to know of the work that goes on outside.
    handle: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    #: How often the open attempt has been let go of.
    polls: Mapped[int] = mapped_column(server_default="0")
    #: Whether the open attempt ends with a completion message.
    awaits_completion: Mapped[bool] = mapped_column(server_default="false")
    #: How many retries of ours it has had since it last waited for its parents.
    retried: Mapped[int] = mapped_column(server_default="0")
    #: Whether the outside work of an attempt that was taken away is not confirmed to have ended.
    ending: Mapped[bool] = mapped_column(server_default="false")
    #: One open parent of many, or one open element: as long as it is, another one's success decides nothing.
    waits_on: Mapped[int | None]
    #: Whether the open attempt ends with the last of its elements.
    awaits_elements: Mapped[bool] = mapped_column(server_default="false")
    #: How many elements its list had when it was last read; what lies beyond is left from a longer one.
    elements: Mapped[int | None]
    #: What an element is for: one item of the list.
    item: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    takeovers: Mapped[int] = mapped_column(server_default="0")
    #: Whether its file is still missing or, if it takes many, some of them may be.
    awaits_file: Mapped[bool] = mapped_column(server_default="false")
    #: When the many files that it takes are all there, unless another one comes before.
    quiet_at: Mapped[datetime | None]
    #: Whether it waits again once its open attempt has ended, because what it is built on has changed.
    reset: Mapped[bool] = mapped_column(server_default="false")
    publish_after: Mapped[datetime | None]
    publishes: Mapped[int] = mapped_column(server_default="0")
    skip_cause: Mapped[str | None]
    #: The task that failed, for a row that is SKIPPED because of a failure above it.
    skipped_because_of: Mapped[int | None] = mapped_column(ForeignKey("task.task_id"))
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class TaskLog(Row):
    """History: one row per attempt, opened by its claim, closed by its outcome, never opened again."""

    __tablename__ = "task_log"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workflow_id", "batch_id", "task_id", "element"],
            ["batch_task.workflow_id", "batch_task.batch_id", "batch_task.task_id", "batch_task.element"],
        ),
        CheckConstraint("status IN ('PROCESSING', 'SUCCESS', 'ERROR', 'SKIPPED', 'CANCELLED')", name="status"),
        CheckConstraint("(status = 'PROCESSING') = (ended_at IS NULL)", name="ended_at"),
        CheckConstraint("(status = 'ERROR') = (error IS NOT NULL)", name="error"),
        CheckConstraint("attempt >= 1", name="attempt"),
        CheckConstraint("result IS NULL OR result_place IS NULL", name="result"),
        Index(
            "uq_task_log_open",
            "workflow_id",
            "batch_id",
            "task_id",
            "element",
            unique=True,
            postgresql_where=text("status = 'PROCESSING'"),
        ),
    )

    workflow_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    element: Mapped[int] = element_column()
    attempt: Mapped[int] = mapped_column(primary_key=True)
    #: The task's own file as the attempt began: whoever takes the attempt over reads the same generation.
    file_log_id: Mapped[int | None] = mapped_column(ForeignKey("file_log.file_log_id"))
    status: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=now())
    ended_at: Mapped[datetime | None]
    error: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    #: What a success has returned, any JSON value; where nothing is said, the details are the result.
    result: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    #: The object that holds it instead, when it is too large for a row.
    result_place: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class AttemptFile(Row):
    """The files of an attempt whose task takes many, as it began: whoever takes the attempt over reads the same."""

    __tablename__ = "attempt_file"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workflow_id", "batch_id", "task_id", "element", "attempt"],
            [f"task_log.{column}" for column in ("workflow_id", "batch_id", "task_id", "element", "attempt")],
        ),
    )

    workflow_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True)
    element: Mapped[int] = element_column()
    attempt: Mapped[int] = mapped_column(primary_key=True)
    file_log_id: Mapped[int] = mapped_column(ForeignKey("file_log.file_log_id"), primary_key=True)


class Chore(Row):
    """What the sweep does only now and then, and when it is due."""

    __tablename__ = "chore"

    name: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[datetime]
    #: How far one that takes several sweeps has come; None before its beginning and after its end.
    cursor: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
