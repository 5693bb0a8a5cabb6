"""What shall happen: workflows, their versions, tasks and dependencies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from database.models.row import Row, now


class Workflow(Row):
    """A named DAG; `version` is the newest one, which new batches get."""

    __tablename__ = "workflow"
    __table_args__ = (CheckConstraint("version >= 0", name="version"),)

    workflow_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    version: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class WorkflowVersion(Row):
    """What was applied, for ever; batches keep theirs."""

    __tablename__ = "workflow_version"
    __table_args__ = (
        UniqueConstraint("workflow_id", "version"),
        UniqueConstraint("version_id", "workflow_id"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("deadline_seconds > 0", name="deadline_seconds"),
        CheckConstraint("on_missed_deadline IN ('warn', 'cancel')", name="on_missed_deadline"),
    )

    version_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    workflow_id: Mapped[int] = mapped_column(ForeignKey("workflow.workflow_id"))
    version: Mapped[int]
    batch_template: Mapped[str]
    #: Whether any of its tasks takes a file, so that the attempts of its batches must know them.
    has_files: Mapped[bool]
    #: How long a batch may take, in seconds, and what happens when it takes longer.
    deadline_seconds: Mapped[int | None]
    on_missed_deadline: Mapped[str] = mapped_column(server_default="warn")
    params: Mapped[dict[str, Any]]
    definition: Mapped[dict[str, Any]]
    digest: Mapped[str]
    #: The channels by which people are told of its batches; None where nobody is.
    notify: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Task(Row):
    """One step of a workflow; its id belongs to (workflow, name) and is the same in every version."""

    __tablename__ = "task"
    __table_args__ = (UniqueConstraint("workflow_id", "name"), UniqueConstraint("workflow_id", "task_id"))

    task_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    workflow_id: Mapped[int] = mapped_column(ForeignKey("workflow.workflow_id"))
    name: Mapped[str]


class TaskVersion(Row):
    """A task as one version of its workflow configures it; `position` numbers the tasks topologically."""

    __tablename__ = "task_version"
    __table_args__ = (
        UniqueConstraint("version_id", "position"),
        # The target of task_dependency's references; the primary key alone could not carry the position.
        UniqueConstraint("version_id", "task_id", "position"),
        CheckConstraint("position >= 0", name="position"),
        CheckConstraint("lease_seconds > 0", name="lease_seconds"),
        CheckConstraint("retries >= 0 AND max_takeovers > 0", name="retries"),
        CheckConstraint("retry_delay_seconds >= 0 AND retry_max_delay_seconds >= 0", name="retry_delay"),
        CheckConstraint("timeout_seconds > 0", name="timeout_seconds"),
        Index("ix_task_version_with_file", "version_id", postgresql_where=text("file IS NOT NULL")),
    )

    version_id: Mapped[int] = mapped_column(ForeignKey("workflow_version.version_id"), primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.task_id"), primary_key=True)
    position: Mapped[int]
    kind: Mapped[str]
    rule: Mapped[str]
    #: How many parents it has; a task of many remembers one that is open instead of counting them.
    parents: Mapped[int] = mapped_column(server_default="0")
    allow_failure: Mapped[bool]
    disabled: Mapped[bool]
    #: Whether even the success of this task can make a child SKIPPED, which decides what its completion locks.
    success_may_skip: Mapped[bool]
    #: Whether its success decides nothing as long as each of its children waits for another parent.
    may_end_unwatched: Mapped[bool] = mapped_column(server_default="false")
    lease_seconds: Mapped[int]
    #: After so many dead workers an attempt is ERROR: it would kill the next one too.
    max_takeovers: Mapped[int] = mapped_column(server_default="3")
    retries: Mapped[int] = mapped_column(server_default="0")
    retry_delay_seconds: Mapped[int] = mapped_column(server_default="30")
    retry_max_delay_seconds: Mapped[int] = mapped_column(server_default="900")
    #: How long an attempt may last; None is without end.
    timeout_seconds: Mapped[int | None]
    #: Whether a completion message from outside may end its attempts.
    awaits_completion: Mapped[bool] = mapped_column(server_default="false")
    #: The channels by which people are told of this task itself; None where nobody is.
    notify: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    #: What a mapped task is mapped over.
    map: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    file: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    #: The CEL condition without which the task is skipped.
    condition: Mapped[str | None]
    #: The parents whose results its work needs.
    reads_results: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    config: Mapped[dict[str, Any]]


class TaskDependency(Row):
    """An edge of one version. A parent stands before its child, so that no row can close a cycle."""

    __tablename__ = "task_dependency"
    __table_args__ = (
        ForeignKeyConstraint(
            ["version_id", "parent_id", "parent_position"],
            ["task_version.version_id", "task_version.task_id", "task_version.position"],
            name="fk_task_dependency_parent",
        ),
        ForeignKeyConstraint(
            ["version_id", "child_id", "child_position"],
            ["task_version.version_id", "task_version.task_id", "task_version.position"],
            name="fk_task_dependency_child",
        ),
        CheckConstraint("parent_position < child_position", name="acyclic"),
        Index("ix_task_dependency_child", "version_id", "child_id", "parent_id"),
    )

    version_id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(primary_key=True)
    child_id: Mapped[int] = mapped_column(primary_key=True)
    parent_position: Mapped[int]
    child_position: Mapped[int]
