"""Keep what a task returns, and what a task's condition and results are.

While this migration runs, the revision of the service before it is still serving: it must go on working with the
tables before, during and after. Add columns with a default or nullable; remove in a later migration what nobody reads
any more. Do not hold locks for long: build indexes on large tables CONCURRENTLY, in a migration of their own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("task_log", sa.Column("result", postgresql.JSONB(), nullable=True))
    op.add_column("task_log", sa.Column("result_place", postgresql.JSONB(), nullable=True))
    op.create_check_constraint(op.f("ck_task_log_result"), "task_log", "result IS NULL OR result_place IS NULL")
    op.add_column("task_version", sa.Column("condition", sa.Text(), nullable=True))
    op.add_column(
        "task_version",
        sa.Column("reads_results", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("task_version", "reads_results")
    op.drop_column("task_version", "condition")
    op.drop_constraint(op.f("ck_task_log_result"), "task_log", type_="check")
    op.drop_column("task_log", "result_place")
    op.drop_column("task_log", "result")
