"""Let a task know whether its success can be written alone, because each of its children has many parents.

While this migration runs, the revision of the service before it is still serving: it must go on working with the
tables before, during and after. Versions of workflows that it stores, like those that are there, end their tasks in the
longer way until they are changed and applied again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("task_version", sa.Column("may_end_unwatched", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    op.drop_column("task_version", "may_end_unwatched")
