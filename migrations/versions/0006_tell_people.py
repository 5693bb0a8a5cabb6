"""Tell people how batches and tasks have ended.

While this migration runs, the revision of the service before it is still serving: it must go on working with the
tables before, during and after. It knows no workflow that notifies anybody: batches that it ends are told by nobody,
so such workflows are applied when it serves no more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.add_column("task_batch", sa.Column("outcomes", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("workflow_version", sa.Column("notify", postgresql.JSONB(), nullable=True))
    op.add_column("task_version", sa.Column("notify", postgresql.JSONB(), nullable=True))
    op.create_table(
        "notification",
        sa.Column("notification_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=True),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("outcome", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("happened_at", _TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("status", sa.Text(), server_default="DUE", nullable=False),
        sa.Column("due_at", _TIME, nullable=True),
        sa.Column("tries", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("sent_at", _TIME, nullable=True),
        sa.CheckConstraint("event IN ('failure', 'success', 'missed_deadline')", name=op.f("ck_notification_event")),
        sa.CheckConstraint("status IN ('DUE', 'SENT', 'GIVEN_UP')", name=op.f("ck_notification_status")),
        sa.CheckConstraint("(status = 'DUE') = (due_at IS NOT NULL)", name=op.f("ck_notification_due_at")),
        sa.CheckConstraint("(status = 'SENT') = (sent_at IS NOT NULL)", name=op.f("ck_notification_sent_at")),
        sa.CheckConstraint("outcome >= 0 AND channel >= 0 AND tries >= 0", name=op.f("ck_notification_counts")),
        sa.ForeignKeyConstraint(["task_id"], ["task.task_id"], name=op.f("fk_notification_task_id")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["workflow_version.version_id"], name=op.f("fk_notification_version_id")
        ),
        sa.ForeignKeyConstraint(
            ["workflow_id", "batch_id"],
            ["task_batch.workflow_id", "task_batch.batch_id"],
            name=op.f("fk_notification_workflow_id_batch_id"),
        ),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_notification")),
        sa.UniqueConstraint(
            "workflow_id", "batch_id", "task_id", "event", "outcome", "channel",
            name=op.f("uq_notification_workflow_id_batch_id_task_id_event_outcome_channel"),
            postgresql_nulls_not_distinct=True,
        ),
    )  # fmt: skip
    op.create_index("ix_notification_due", "notification", ["due_at"], postgresql_where=sa.text("status = 'DUE'"))
    op.create_index("ix_notification_happened_at", "notification", ["happened_at"])


def downgrade() -> None:
    op.drop_table("notification")
    op.drop_column("task_version", "notify")
    op.drop_column("workflow_version", "notify")
    op.drop_column("task_batch", "outcomes")
