"""The statements of an attempt: it is claimed, renewed, taken over, and finished by whoever holds its token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.keys import TaskKey
from database.statuses import CLAIM, FAIL, RESET_AFTER_ATTEMPT, SUCCEED, TAKE_OVER, Status, any_of

#: The lease of an attempt that its living worker has given back: long over, and told from one that ran out.
HANDED_BACK = "CAST('epoch' AS timestamptz)"


@dataclass(frozen=True)
class Claimed:
    """An attempt that is ours until its lease is lost."""

    key: TaskKey
    token: str
    attempt: int
    #: How many times a worker of this attempt died before.
    takeovers: int
    workflow: str
    task: str
    kind: str
    config: Mapping[str, Any]
    lease_seconds: int
    version_id: int
    batch_uid: str
    batch_template: str
    #: Whether the workflow's version takes files.
    has_files: bool
    params: Mapping[str, Any]
    #: Whether even the success of this task can make a child SKIPPED.
    success_may_skip: bool


_CLAIMED_COLUMNS = """
    bt.workflow_id, bt.batch_id, bt.task_id, bt.attempt, bt.takeovers,
    tv.kind, tv.file IS NOT NULL AS takes_file, tv.config, tv.lease_seconds, tv.success_may_skip,
    b.version_id, b.uid AS batch_uid, b.params
"""

_CLAIMED_SOURCE = """
      FROM task_batch b, task_version tv
     WHERE bt.workflow_id = :workflow_id AND bt.batch_id = :batch_id AND bt.task_id = :task_id
       AND b.workflow_id = bt.workflow_id AND b.batch_id = bt.batch_id
       AND tv.version_id = b.version_id AND tv.task_id = bt.task_id AND tv.kind = ANY(:kinds)
"""

_CLAIMED_NAMES = """
    SELECT claimed.*, w.name AS workflow, t.name AS task, v.batch_template, v.has_files
      FROM claimed
      JOIN workflow w ON w.workflow_id = :workflow_id
      JOIN task t ON t.task_id = :task_id
      JOIN workflow_version v ON v.version_id = claimed.version_id
"""

_CLAIM = text(f"""
    WITH claimed AS (
        UPDATE batch_task bt
           SET status = '{CLAIM.target}', attempt = bt.attempt + 1, token = CAST(:token AS uuid), takeovers = 0,
               lease_until = clock_timestamp() + tv.lease_seconds * interval '1 second',
               publish_after = NULL, publishes = 0, changed_at = clock_timestamp()
        {_CLAIMED_SOURCE} AND bt.status IN {any_of(CLAIM.sources)}
        RETURNING {_CLAIMED_COLUMNS}
    )
    {_CLAIMED_NAMES}
""")

# A statement of its own: a claim may have waited for a transaction that has just brought a newer file, and only the
# statements after the wait see it.
_OPEN_LOG = text("""
    INSERT INTO task_log (workflow_id, batch_id, task_id, attempt, status, file_log_id)
    VALUES (:workflow_id, :batch_id, :task_id, :attempt, 'PROCESSING', CASE WHEN :takes_file THEN (
               SELECT f.file_log_id FROM file_log f
                WHERE f.workflow_id = :workflow_id AND f.batch_id = :batch_id AND f.task_id = :task_id
                  AND f.decision = 'TAKEN'
           ) END)
""")

_TAKE_OVER = text(f"""
    WITH claimed AS (
        UPDATE batch_task bt
           SET token = CAST(:token AS uuid),
               takeovers = bt.takeovers + CASE WHEN bt.lease_until = {HANDED_BACK} THEN 0 ELSE 1 END,
               lease_until = clock_timestamp() + tv.lease_seconds * interval '1 second',
               changed_at = clock_timestamp()
        {_CLAIMED_SOURCE} AND bt.status IN {any_of(TAKE_OVER.sources)} AND bt.lease_until < clock_timestamp()
        RETURNING {_CLAIMED_COLUMNS}
    )
    {_CLAIMED_NAMES}
""")


def claim(tx: Connection, key: TaskKey, token: str, kinds: Sequence[str]) -> Claimed | None:
    """Open the next attempt of a NEW task of one of `kinds`; None when it is not NEW any more."""
    row = tx.execute(_CLAIM, {**key.columns, "token": token, "kinds": list(kinds)}).one_or_none()
    if row is None:
        return None
    tx.execute(_OPEN_LOG, {**key.columns, "attempt": row.attempt, "takes_file": row.takes_file})
    return _claimed(row, key, token)


def take_over(tx: Connection, key: TaskKey, token: str, kinds: Sequence[str]) -> Claimed | None:
    """Go on with the open attempt of a worker whose lease has run out; None when there is no such attempt."""
    row = tx.execute(_TAKE_OVER, {**key.columns, "token": token, "kinds": list(kinds)}).one_or_none()
    return None if row is None else _claimed(row, key, token)


def _claimed(row: Row[Any], key: TaskKey, token: str) -> Claimed:
    return Claimed(
        key=key,
        token=token,
        attempt=row.attempt,
        takeovers=row.takeovers,
        workflow=row.workflow,
        task=row.task,
        kind=row.kind,
        config=row.config,
        lease_seconds=row.lease_seconds,
        version_id=row.version_id,
        batch_uid=str(row.batch_uid),
        batch_template=row.batch_template,
        has_files=row.has_files,
        params=row.params,
        success_may_skip=row.success_may_skip,
    )


# A row that somebody holds for long must not keep the other leases of this process from being renewed.
_WAIT_BRIEFLY = text("SET LOCAL lock_timeout = '2s'")

_RENEW = text(f"""
    UPDATE batch_task SET lease_until = clock_timestamp() + :lease_seconds * interval '1 second'
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id
       AND status IN {any_of(TAKE_OVER.sources)} AND token = CAST(:token AS uuid)
""")


def renew_lease(tx: Connection, key: TaskKey, token: str, lease_seconds: int) -> bool:
    """Whether the attempt is still this token's; its lease then runs from now."""
    tx.execute(_WAIT_BRIEFLY)
    result = tx.execute(_RENEW, {**key.columns, "token": token, "lease_seconds": lease_seconds})
    return bool(result.rowcount)


_HAND_BACK = text(f"""
    UPDATE batch_task SET lease_until = {HANDED_BACK}
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id
       AND status IN {any_of(TAKE_OVER.sources)} AND token = CAST(:token AS uuid)
""")


def hand_back(tx: Connection, key: TaskKey, token: str) -> None:
    """Let somebody else go on with the attempt at once; its worker lives, so the takeover counts as no death."""
    tx.execute(_HAND_BACK, {**key.columns, "token": token})


_FINISH = text(f"""
    WITH own AS (
        UPDATE batch_task
           SET status = CASE WHEN reset THEN '{RESET_AFTER_ATTEMPT.target}' ELSE :status END, reset = false,
               token = NULL, lease_until = NULL, changed_at = clock_timestamp()
         WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id
           AND status IN {any_of(SUCCEED.sources)} AND status IN {any_of(FAIL.sources)}
           AND token = CAST(:token AS uuid)
        RETURNING workflow_id, batch_id, task_id, attempt, status
    ), closed AS (
        UPDATE task_log l
           SET status = :status, ended_at = clock_timestamp(), error = :error, details = :details
          FROM own
         WHERE l.workflow_id = own.workflow_id AND l.batch_id = own.batch_id AND l.task_id = own.task_id
           AND l.attempt = own.attempt AND l.status = 'PROCESSING'
    )
    SELECT status FROM own
""").bindparams(bindparam("details", type_=JSONB))


def finish(
    tx: Connection, key: TaskKey, token: str, status: Status, error: str | None, details: Mapping[str, Any]
) -> Status | None:
    """Write the outcome of the attempt that `token` owns, and lock its row.

    Returns the task's status from now on: WAITING when a reset was asked for meanwhile. None, and nothing has changed,
    when the attempt is not this token's any more.
    """
    given = {**key.columns, "token": token, "status": status, "error": error, "details": dict(details)}
    row = tx.execute(_FINISH, given).one_or_none()
    return None if row is None else Status(row.status)
