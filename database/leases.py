"""The lease of an attempt, renewed while somebody works on it."""

from __future__ import annotations

from sqlalchemy import Connection, text

from database.attempts import STARTED_AT
from database.keys import TaskKey
from database.prepared import Prepared
from database.statuses import GO_ON, any_of

# A row that somebody holds for long must not keep the other leases of this process from being renewed.
_WAIT_BRIEFLY = text("SET LOCAL lock_timeout = '2s'")

# Work that lasts longer than it may is not kept alive: whoever takes it over ends it.
_RENEW = Prepared(
    "renew",
    f"""
    UPDATE batch_task bt SET lease_until = clock_timestamp() + :lease_seconds * interval '1 second'
     WHERE bt.workflow_id = :workflow_id AND bt.batch_id = :batch_id AND bt.task_id = :task_id
       AND bt.element = :element
       AND bt.status IN {any_of(GO_ON.sources)} AND bt.token = :token
       AND COALESCE(clock_timestamp() < {STARTED_AT} + :timeout_seconds * interval '1 second', true)
    RETURNING bt.task_id
""",
)


def renew_lease(tx: Connection, key: TaskKey, token: str, lease_seconds: int, timeout_seconds: int | None) -> bool:
    """Whether the attempt is still this token's, and may go on; its lease then runs from now."""
    tx.execute(_WAIT_BRIEFLY)
    given = {"token": token, "lease_seconds": lease_seconds, "timeout_seconds": timeout_seconds}
    return bool(_RENEW.execute(tx, {**key.columns, **given}))
