"""Create all tables.

While this migration runs, the revision of the service before it is still serving: it must go on working with the
tables before, during and after. Add columns with a default or nullable; remove in a later migration what nobody reads
any more. Do not hold locks for long: build indexes on large tables CONCURRENTLY, in a migration of their own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "audit",
        sa.Column("audit_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_at", "audit", ["at"], unique=False)
    op.create_table(
        "rejected_message",
        sa.Column("rejected_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("message_key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("deliveries", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column(
            "received_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("replays", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("replayed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("deliveries >= 1", name=op.f("ck_rejected_message_deliveries")),
        sa.CheckConstraint(
            "replays >= 0 AND (replays = 0) = (replayed_at IS NULL)", name=op.f("ck_rejected_message_replays")
        ),
        sa.PrimaryKeyConstraint("rejected_id", name=op.f("pk_rejected_message")),
        sa.UniqueConstraint("message_key", name=op.f("uq_rejected_message_message_key")),
    )
    op.create_index("ix_rejected_message_received_at", "rejected_message", ["received_at"], unique=False)
    op.create_table(
        "workflow",
        sa.Column("workflow_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("version >= 0", name=op.f("ck_workflow_version")),
        sa.PrimaryKeyConstraint("workflow_id", name=op.f("pk_workflow")),
        sa.UniqueConstraint("name", name=op.f("uq_workflow_name")),
    )
    op.create_table(
        "batch_number",
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("stem", sa.Text(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["workflow_id"], ["workflow.workflow_id"], name=op.f("fk_batch_number_workflow_id")),
        sa.PrimaryKeyConstraint("workflow_id", "stem", name=op.f("pk_batch_number")),
    )
    op.create_table(
        "task",
        sa.Column("task_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["workflow_id"], ["workflow.workflow_id"], name=op.f("fk_task_workflow_id")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_task")),
        sa.UniqueConstraint("workflow_id", "name", name=op.f("uq_task_workflow_id_name")),
        sa.UniqueConstraint("workflow_id", "task_id", name=op.f("uq_task_workflow_id_task_id")),
    )
    op.create_table(
        "workflow_version",
        sa.Column("version_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("batch_template", sa.Text(), nullable=False),
        sa.Column("has_files", sa.Boolean(), nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("version >= 1", name=op.f("ck_workflow_version_version")),
        sa.ForeignKeyConstraint(
            ["workflow_id"], ["workflow.workflow_id"], name=op.f("fk_workflow_version_workflow_id")
        ),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_workflow_version")),
        sa.UniqueConstraint("version_id", "workflow_id", name=op.f("uq_workflow_version_version_id_workflow_id")),
        sa.UniqueConstraint("workflow_id", "version", name=op.f("uq_workflow_version_workflow_id_version")),
    )
    op.create_table(
        "task_batch",
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.UUID(as_uuid=False), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("status", sa.Text(), server_default="PROCESSING", nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("trigger_key", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'PROCESSING') = (ended_at IS NULL)", name=op.f("ck_task_batch_ended_at")),
        sa.CheckConstraint("batch_id <> ''", name=op.f("ck_task_batch_batch_id")),
        sa.CheckConstraint(
            "status IN ('PROCESSING', 'SUCCESS', 'ERROR', 'CANCELLED')", name=op.f("ck_task_batch_status")
        ),
        sa.ForeignKeyConstraint(
            ["version_id", "workflow_id"],
            ["workflow_version.version_id", "workflow_version.workflow_id"],
            name=op.f("fk_task_batch_version_id_workflow_id"),
        ),
        sa.ForeignKeyConstraint(["workflow_id"], ["workflow.workflow_id"], name=op.f("fk_task_batch_workflow_id")),
        sa.PrimaryKeyConstraint("workflow_id", "batch_id", name=op.f("pk_task_batch")),
        sa.UniqueConstraint("workflow_id", "trigger_key", name=op.f("uq_task_batch_workflow_id_trigger_key")),
    )
    op.create_index("ix_task_batch_created_at", "task_batch", ["created_at"], unique=False)
    op.create_table(
        "task_version",
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("allow_failure", sa.Boolean(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("success_may_skip", sa.Boolean(), nullable=False),
        sa.Column("lease_seconds", sa.BigInteger(), nullable=False),
        sa.Column("file", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("lease_seconds > 0", name=op.f("ck_task_version_lease_seconds")),
        sa.CheckConstraint("position >= 0", name=op.f("ck_task_version_position")),
        sa.ForeignKeyConstraint(["task_id"], ["task.task_id"], name=op.f("fk_task_version_task_id")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["workflow_version.version_id"], name=op.f("fk_task_version_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "task_id", name=op.f("pk_task_version")),
        sa.UniqueConstraint("version_id", "position", name=op.f("uq_task_version_version_id_position")),
        sa.UniqueConstraint(
            "version_id", "task_id", "position", name=op.f("uq_task_version_version_id_task_id_position")
        ),
    )
    op.create_index(
        "ix_task_version_with_file",
        "task_version",
        ["version_id"],
        unique=False,
        postgresql_where=sa.text("file IS NOT NULL"),
    )
    op.create_table(
        "batch_task",
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("token", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("takeovers", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("awaits_file", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("reset", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("publish_after", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("publishes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("skip_cause", sa.Text(), nullable=True),
        sa.Column("skipped_because_of", sa.BigInteger(), nullable=True),
        sa.Column(
            "changed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(skip_cause IS NOT DISTINCT FROM 'upstream_failed') = (skipped_because_of IS NOT NULL)",
            name=op.f("ck_batch_task_culprit"),
        ),
        sa.CheckConstraint("(status = 'NEW') = (publish_after IS NOT NULL)", name=op.f("ck_batch_task_publish_after")),
        sa.CheckConstraint(
            "(status = 'PROCESSING') = (lease_until IS NOT NULL)", name=op.f("ck_batch_task_lease_until")
        ),
        sa.CheckConstraint("(status = 'PROCESSING') = (token IS NOT NULL)", name=op.f("ck_batch_task_token")),
        sa.CheckConstraint("(status = 'SKIPPED') = (skip_cause IS NOT NULL)", name=op.f("ck_batch_task_skipped")),
        sa.CheckConstraint("NOT (status = 'NEW' AND awaits_file)", name=op.f("ck_batch_task_awaits_file")),
        sa.CheckConstraint("NOT reset OR status = 'PROCESSING'", name=op.f("ck_batch_task_reset")),
        sa.CheckConstraint(
            "skip_cause IS NULL OR skip_cause IN ('upstream_failed', 'rule', 'branch', 'raised', 'marked', 'disabled')",
            name=op.f("ck_batch_task_skip_cause"),
        ),
        sa.CheckConstraint("status <> 'PROCESSING' OR attempt >= 1", name=op.f("ck_batch_task_attempt")),
        sa.CheckConstraint(
            "status IN ('WAITING', 'NEW', 'PROCESSING', 'SUCCESS', 'ERROR', 'SKIPPED', 'CANCELLED')",
            name=op.f("ck_batch_task_status"),
        ),
        sa.CheckConstraint("attempt >= 0 AND takeovers >= 0 AND publishes >= 0", name=op.f("ck_batch_task_counts")),
        sa.ForeignKeyConstraint(
            ["skipped_because_of"], ["task.task_id"], name=op.f("fk_batch_task_skipped_because_of")
        ),
        sa.ForeignKeyConstraint(
            ["workflow_id", "batch_id"],
            ["task_batch.workflow_id", "task_batch.batch_id"],
            name=op.f("fk_batch_task_workflow_id_batch_id"),
        ),
        sa.ForeignKeyConstraint(
            ["workflow_id", "task_id"],
            ["task.workflow_id", "task.task_id"],
            name=op.f("fk_batch_task_workflow_id_task_id"),
        ),
        sa.PrimaryKeyConstraint("workflow_id", "batch_id", "task_id", name=op.f("pk_batch_task")),
    )
    op.create_index(
        "ix_batch_task_leased",
        "batch_task",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("status = 'PROCESSING'"),
    )
    op.create_index(
        "ix_batch_task_open",
        "batch_task",
        ["workflow_id", "batch_id", "task_id"],
        unique=False,
        postgresql_where=sa.text("status IN ('WAITING', 'NEW', 'PROCESSING')"),
    )
    op.create_index(
        "ix_batch_task_to_publish",
        "batch_task",
        ["publish_after"],
        unique=False,
        postgresql_where=sa.text("status = 'NEW'"),
    )
    op.create_table(
        "file_log",
        sa.Column("file_log_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("workflow_id", sa.BigInteger(), nullable=True),
        sa.Column("batch_id", sa.Text(), nullable=True),
        sa.Column("task_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "groups", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column(
            "received_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("place_bucket", sa.Text(), nullable=True),
        sa.Column("place_object", sa.Text(), nullable=True),
        sa.Column("place_generation", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "decision <> 'TAKEN' OR (workflow_id IS NOT NULL AND batch_id IS NOT NULL AND task_id IS NOT NULL)",
            name=op.f("ck_file_log_taken"),
        ),
        sa.CheckConstraint("decision = 'TAKEN' OR reason IS NOT NULL", name=op.f("ck_file_log_reason")),
        sa.CheckConstraint(
            "decision IN ('TAKEN', 'UNWANTED', 'IGNORED', 'SUPERSEDED', 'REJECTED')", name=op.f("ck_file_log_decision")
        ),
        sa.CheckConstraint(
            "(place_bucket IS NULL) = (place_generation IS NULL)", name=op.f("ck_file_log_place_generation")
        ),
        sa.CheckConstraint("(place_bucket IS NULL) = (place_object IS NULL)", name=op.f("ck_file_log_place")),
        sa.CheckConstraint("generation >= 0", name=op.f("ck_file_log_generation")),
        sa.ForeignKeyConstraint(["task_id"], ["task.task_id"], name=op.f("fk_file_log_task_id")),
        sa.ForeignKeyConstraint(
            ["workflow_id", "batch_id"],
            ["task_batch.workflow_id", "task_batch.batch_id"],
            name=op.f("fk_file_log_workflow_id_batch_id"),
        ),
        sa.PrimaryKeyConstraint("file_log_id", name=op.f("pk_file_log")),
        sa.UniqueConstraint(
            "bucket",
            "object",
            "generation",
            "task_id",
            "event_type",
            name=op.f("uq_file_log_bucket_object_generation_task_id_event_type"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index("ix_file_log_batch", "file_log", ["workflow_id", "batch_id"], unique=False)
    op.create_index(
        "ix_file_log_place",
        "file_log",
        ["place_bucket", "place_object"],
        unique=False,
        postgresql_where=sa.text("place_bucket IS NOT NULL"),
    )
    op.create_index("ix_file_log_received_at", "file_log", ["received_at"], unique=False)
    op.create_index(
        "uq_file_log_taken",
        "file_log",
        ["workflow_id", "batch_id", "task_id"],
        unique=True,
        postgresql_where=sa.text("decision = 'TAKEN'"),
    )
    op.create_table(
        "task_dependency",
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=False),
        sa.Column("child_id", sa.BigInteger(), nullable=False),
        sa.Column("parent_position", sa.BigInteger(), nullable=False),
        sa.Column("child_position", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("parent_position < child_position", name=op.f("ck_task_dependency_acyclic")),
        sa.ForeignKeyConstraint(
            ["version_id", "child_id", "child_position"],
            ["task_version.version_id", "task_version.task_id", "task_version.position"],
            name="fk_task_dependency_child",
        ),
        sa.ForeignKeyConstraint(
            ["version_id", "parent_id", "parent_position"],
            ["task_version.version_id", "task_version.task_id", "task_version.position"],
            name="fk_task_dependency_parent",
        ),
        sa.PrimaryKeyConstraint("version_id", "parent_id", "child_id", name=op.f("pk_task_dependency")),
    )
    op.create_index(
        "ix_task_dependency_child", "task_dependency", ["version_id", "child_id", "parent_id"], unique=False
    )
    op.create_table(
        "task_log",
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("file_log_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "started_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.CheckConstraint("(status = 'ERROR') = (error IS NOT NULL)", name=op.f("ck_task_log_error")),
        sa.CheckConstraint("(status = 'PROCESSING') = (ended_at IS NULL)", name=op.f("ck_task_log_ended_at")),
        sa.CheckConstraint(
            "status IN ('PROCESSING', 'SUCCESS', 'ERROR', 'SKIPPED', 'CANCELLED')", name=op.f("ck_task_log_status")
        ),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_task_log_attempt")),
        sa.ForeignKeyConstraint(["file_log_id"], ["file_log.file_log_id"], name=op.f("fk_task_log_file_log_id")),
        sa.ForeignKeyConstraint(
            ["workflow_id", "batch_id", "task_id"],
            ["batch_task.workflow_id", "batch_task.batch_id", "batch_task.task_id"],
            name=op.f("fk_task_log_workflow_id_batch_id_task_id"),
        ),
        sa.PrimaryKeyConstraint("workflow_id", "batch_id", "task_id", "attempt", name=op.f("pk_task_log")),
    )
    op.create_index(
        "uq_task_log_open",
        "task_log",
        ["workflow_id", "batch_id", "task_id"],
        unique=True,
        postgresql_where=sa.text("status = 'PROCESSING'"),
    )


def downgrade() -> None:

    op.drop_index("uq_task_log_open", table_name="task_log", postgresql_where=sa.text("status = 'PROCESSING'"))
    op.drop_table("task_log")
    op.drop_index("ix_task_dependency_child", table_name="task_dependency")
    op.drop_table("task_dependency")
    op.drop_index("uq_file_log_taken", table_name="file_log", postgresql_where=sa.text("decision = 'TAKEN'"))
    op.drop_index("ix_file_log_received_at", table_name="file_log")
    op.drop_index("ix_file_log_place", table_name="file_log", postgresql_where=sa.text("place_bucket IS NOT NULL"))
    op.drop_index("ix_file_log_batch", table_name="file_log")
    op.drop_table("file_log")
    op.drop_index("ix_batch_task_to_publish", table_name="batch_task", postgresql_where=sa.text("status = 'NEW'"))
    op.drop_index(
        "ix_batch_task_open",
        table_name="batch_task",
        postgresql_where=sa.text("status IN ('WAITING', 'NEW', 'PROCESSING')"),
    )
    op.drop_index("ix_batch_task_leased", table_name="batch_task", postgresql_where=sa.text("status = 'PROCESSING'"))
    op.drop_table("batch_task")
    op.drop_index("ix_task_version_with_file", table_name="task_version", postgresql_where=sa.text("file IS NOT NULL"))
    op.drop_table("task_version")
    op.drop_index("ix_task_batch_created_at", table_name="task_batch")
    op.drop_table("task_batch")
    op.drop_table("workflow_version")
    op.drop_table("task")
    op.drop_table("batch_number")
    op.drop_table("workflow")
    op.drop_index("ix_rejected_message_received_at", table_name="rejected_message")
    op.drop_table("rejected_message")
    op.drop_index("ix_audit_at", table_name="audit")
    op.drop_table("audit")
