"""Add retries, long work, completion messages, cancellations and deadlines.

While this migration runs, the revision of the service before it is still serving: it must go on working with the
tables before, during and after. Add columns with a default or nullable; remove in a later migration what nobody reads
any more. Do not hold locks for long: build indexes on large tables CONCURRENTLY, in a migration of their own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


#: (table, name of the check, condition): what revision 0001 did not have, and what it said instead.
NEW_CHECKS = (
    ("batch_task", "open_attempt", "status <> 'PROCESSING' OR (lease_until IS NULL) <> (due_at IS NULL)"),
    ("batch_task", "token", "(token IS NOT NULL) = (lease_until IS NOT NULL)"),
    ("batch_task", "lease_until", "lease_until IS NULL OR status = 'PROCESSING'"),
    ("batch_task", "awaits_completion", "NOT awaits_completion OR (status = 'PROCESSING' AND due_at IS NOT NULL)"),
    ("batch_task", "counts", "attempt >= 0 AND takeovers >= 0 AND publishes >= 0 AND polls >= 0 AND retried >= 0"),
    # The revision before this one does not know what keeps such a task waiting; it is refused, and a newer one does it.
    ("batch_task", "ready", "status <> 'NEW' OR (due_at IS NULL AND NOT ending)"),
    ("workflow_version", "deadline_seconds", "deadline_seconds > 0"),
    ("workflow_version", "on_missed_deadline", "on_missed_deadline IN ('warn', 'cancel')"),
    ("task_version", "retries", "retries >= 0 AND max_takeovers > 0"),
    ("task_version", "retry_delay", "retry_delay_seconds >= 0 AND retry_max_delay_seconds >= 0"),
    ("task_version", "timeout_seconds", "timeout_seconds > 0"),
)
OLD_CHECKS = (
    ("batch_task", "token", "(status = 'PROCESSING') = (token IS NOT NULL)"),
    ("batch_task", "lease_until", "(status = 'PROCESSING') = (lease_until IS NOT NULL)"),
    ("batch_task", "counts", "attempt >= 0 AND takeovers >= 0 AND publishes >= 0"),
)


def upgrade() -> None:
    op.create_table(
        "chore",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("cursor", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chore")),
    )
    op.execute("INSERT INTO chore (name, due_at) VALUES ('invariant', clock_timestamp()), ('scan', clock_timestamp())")
    op.create_table(
        "completion",
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("result", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "received_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("status IN ('SUCCESS', 'ERROR')", name=op.f("ck_completion_status")),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_completion_attempt")),
        sa.ForeignKeyConstraint(
            ["workflow_id", "batch_id", "task_id"],
            ["batch_task.workflow_id", "batch_task.batch_id", "batch_task.task_id"],
            name=op.f("fk_completion_workflow_id_batch_id_task_id"),
        ),
        sa.PrimaryKeyConstraint("workflow_id", "batch_id", "task_id", "attempt", name=op.f("pk_completion")),
    )
    op.create_table(
        "cancellation",
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("handle", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column(
            "requested_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("tries", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.CheckConstraint("tries >= 0", name=op.f("ck_cancellation_tries")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["workflow_version.version_id"], name=op.f("fk_cancellation_version_id")
        ),
        sa.ForeignKeyConstraint(
            ["workflow_id", "batch_id", "task_id", "attempt"],
            ["task_log.workflow_id", "task_log.batch_id", "task_log.task_id", "task_log.attempt"],
            name=op.f("fk_cancellation_workflow_id_batch_id_task_id_attempt"),
        ),
        sa.PrimaryKeyConstraint("workflow_id", "batch_id", "task_id", "attempt", name=op.f("pk_cancellation")),
    )
    op.create_index("ix_cancellation_due_at", "cancellation", ["due_at"], unique=False)
    op.add_column("batch_task", sa.Column("version_id", sa.BigInteger(), nullable=True))
    op.add_column("batch_task", sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column(
        "batch_task", sa.Column("handle", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True)
    )
    op.add_column("batch_task", sa.Column("polls", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("batch_task", sa.Column("awaits_completion", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("batch_task", sa.Column("retried", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("batch_task", sa.Column("ending", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("batch_task", sa.Column("waits_on", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_batch_task_due", "batch_task", ["due_at"], unique=False, postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.add_column("task_batch", sa.Column("deadline_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("task_batch", sa.Column("deadline_missed_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.create_index(
        "ix_task_batch_deadline",
        "task_batch",
        ["deadline_at"],
        unique=False,
        postgresql_where=sa.text("status = 'PROCESSING' AND deadline_missed_at IS NULL AND deadline_at IS NOT NULL"),
    )
    op.add_column("task_version", sa.Column("max_takeovers", sa.BigInteger(), server_default="3", nullable=False))
    op.add_column("task_version", sa.Column("parents", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("task_version", sa.Column("retries", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column(
        "task_version", sa.Column("retry_delay_seconds", sa.BigInteger(), server_default="30", nullable=False)
    )
    op.add_column(
        "task_version", sa.Column("retry_max_delay_seconds", sa.BigInteger(), server_default="900", nullable=False)
    )
    op.add_column("task_version", sa.Column("timeout_seconds", sa.BigInteger(), nullable=True))
    op.add_column("task_version", sa.Column("awaits_completion", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("workflow_version", sa.Column("deadline_seconds", sa.BigInteger(), nullable=True))
    op.add_column("workflow_version", sa.Column("on_missed_deadline", sa.Text(), server_default="warn", nullable=False))
    for table, name, _ in OLD_CHECKS:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    for table, name, condition in NEW_CHECKS:
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)
    op.drop_index("ix_batch_task_leased", table_name="batch_task")
    op.create_index(
        "ix_batch_task_leased", "batch_task", ["lease_until"], postgresql_where=sa.text("lease_until IS NOT NULL")
    )


def downgrade() -> None:
    op.execute(
        "UPDATE batch_task SET token = gen_random_uuid(), lease_until = 'epoch', due_at = NULL, "
        "awaits_completion = false WHERE status = 'PROCESSING' AND lease_until IS NULL"
    )
    op.drop_index("ix_batch_task_leased", table_name="batch_task")
    op.create_index(
        "ix_batch_task_leased", "batch_task", ["lease_until"], postgresql_where=sa.text("status = 'PROCESSING'")
    )
    for table, name, _ in NEW_CHECKS:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    for table, name, condition in OLD_CHECKS:
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)
    op.drop_column("workflow_version", "on_missed_deadline")
    op.drop_column("workflow_version", "deadline_seconds")
    op.drop_column("task_version", "awaits_completion")
    op.drop_column("task_version", "timeout_seconds")
    op.drop_column("task_version", "retry_max_delay_seconds")
    op.drop_column("task_version", "retry_delay_seconds")
    op.drop_column("task_version", "retries")
    op.drop_column("task_version", "parents")
    op.drop_column("task_version", "max_takeovers")
    op.drop_index(
        "ix_task_batch_deadline",
        table_name="task_batch",
        postgresql_where=sa.text("status = 'PROCESSING' AND deadline_missed_at IS NULL AND deadline_at IS NOT NULL"),
    )
    op.drop_column("task_batch", "deadline_missed_at")
    op.drop_column("task_batch", "deadline_at")
    op.drop_index("ix_batch_task_due", table_name="batch_task", postgresql_where=sa.text("due_at IS NOT NULL"))
    op.drop_column("batch_task", "waits_on")
    op.drop_column("batch_task", "ending")
    op.drop_column("batch_task", "retried")
    op.drop_column("batch_task", "awaits_completion")
    op.drop_column("batch_task", "polls")
    op.drop_column("batch_task", "handle")
    op.drop_column("batch_task", "due_at")
    op.drop_column("batch_task", "version_id")
    op.drop_index("ix_cancellation_due_at", table_name="cancellation")
    op.drop_table("cancellation")
    op.drop_table("completion")
    op.drop_table("chore")
