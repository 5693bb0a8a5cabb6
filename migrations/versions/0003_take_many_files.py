"""Let one task take many files.

While this migration runs, the revision of the service before it is still serving: it must go on working with the
tables before, during and after. Add columns with a default or nullable; remove in a later migration what nobody reads
any more. Do not hold locks for long: build indexes on large tables CONCURRENTLY, in a migration of their own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


_BELONGS = "workflow_id IS NOT NULL AND batch_id IS NOT NULL AND task_id IS NOT NULL"

#: (table, name of the check, condition): what revision 0002 did not have, and what it said instead.
NEW_CHECKS = (
    ("batch_task", "quiet_at", "quiet_at IS NULL OR awaits_file"),
    (
        "file_log",
        "decision",
        "decision IN ('TAKEN', 'COLLECTED', 'MARKER', 'SET_ASIDE', 'UNWANTED', 'IGNORED', 'SUPERSEDED', 'REJECTED')",
    ),
    (
        "file_log",
        "taken",
        f"decision NOT IN ('TAKEN', 'COLLECTED', 'SET_ASIDE', 'MARKER') OR ({_BELONGS})",
    ),
    ("file_log", "reason", "decision IN ('TAKEN', 'COLLECTED', 'MARKER') OR reason IS NOT NULL"),
)
OLD_CHECKS = (
    ("file_log", "decision", "decision IN ('TAKEN', 'UNWANTED', 'IGNORED', 'SUPERSEDED', 'REJECTED')"),
    (
        "file_log",
        "taken",
        f"decision <> 'TAKEN' OR ({_BELONGS})",
    ),
    ("file_log", "reason", "decision = 'TAKEN' OR reason IS NOT NULL"),
)


def upgrade() -> None:
    op.create_table(
        "attempt_file",
        sa.Column("workflow_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("file_log_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["file_log_id"], ["file_log.file_log_id"], name=op.f("fk_attempt_file_file_log_id")),
        sa.ForeignKeyConstraint(
            ["workflow_id", "batch_id", "task_id", "attempt"],
            ["task_log.workflow_id", "task_log.batch_id", "task_log.task_id", "task_log.attempt"],
            name=op.f("fk_attempt_file_workflow_id_batch_id_task_id_attempt"),
        ),
        sa.PrimaryKeyConstraint(
            "workflow_id", "batch_id", "task_id", "attempt", "file_log_id", name=op.f("pk_attempt_file")
        ),
    )
    op.add_column("batch_task", sa.Column("quiet_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    # No row fits these two yet, so all that they cost is one look at the table.
    op.create_index("ix_batch_task_quiet", "batch_task", ["quiet_at"], postgresql_where=sa.text("quiet_at IS NOT NULL"))
    op.create_index(
        "uq_file_log_collected",
        "file_log",
        ["workflow_id", "batch_id", "task_id", "bucket", "object"],
        unique=True,
        postgresql_where=sa.text("decision IN ('COLLECTED', 'SET_ASIDE', 'MARKER')"),
    )
    for table, name, _ in OLD_CHECKS:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    for table, name, condition in NEW_CHECKS:
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)


def downgrade() -> None:
    op.execute(
        "UPDATE file_log SET reason = COALESCE(reason, 'it was one of many files of its task'), decision = 'IGNORED' "
        "WHERE decision IN ('COLLECTED', 'SET_ASIDE', 'MARKER')"
    )
    for table, name, _ in NEW_CHECKS:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    for table, name, condition in OLD_CHECKS:
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)
    op.drop_index("uq_file_log_collected", table_name="file_log")
    op.drop_index("ix_batch_task_quiet", table_name="batch_task")
    op.drop_column("batch_task", "quiet_at")
    op.drop_table("attempt_file")
