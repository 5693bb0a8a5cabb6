"""${message}

While this migration runs, the revision of the service before it is still serving: it must go on working with the
tables before, during and after. Add columns with a default or nullable; remove in a later migration what nobody reads
any more. Do not hold locks for long: build indexes on large tables CONCURRENTLY, in a migration of their own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
