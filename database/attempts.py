"""The statements of an attempt: it is claimed, let go of, and gone on with; how one ends stands in `endings`.

An open attempt is either leased to the holder of a token, or due: the sweep goes on with it then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.collecting import keep_files_of_attempt
from database.keys import TaskKey
from database.prepared import Prepared, one_or_none
from database.statuses import CLAIM, GO_ON, any_of

#: How long somebody outside may take when neither the task nor its kind says so, in seconds.
LONGEST_WAIT_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Claimed:
    """An attempt that is ours until its lease is lost."""

    key: TaskKey
    token: str
    attempt: int
    #: How many times a worker of this attempt died before.
    takeovers: int
    #: How many retries of ours the task has had, this attempt included.
    retried: int
    #: What its outside work is known by, once it has been begun.
    handle: Mapping[str, Any] | None
    polls: int
    #: Whether it has lasted longer than it may.
    timed_out: bool
    workflow: str
    task: str
    kind: str
    config: Mapping[str, Any]
    lease_seconds: int
    max_takeovers: int
    retries: int
    retry_delay_seconds: int
    retry_max_delay_seconds: int
    timeout_seconds: int | None
    #: Whether a completion message may end it.
    awaits_completion: bool
    version_id: int
    batch_uid: str
    batch_template: str
    #: Whether the workflow's version takes files.
    has_files: bool
    params: Mapping[str, Any]
    #: Whether even the success of this task can make a child SKIPPED.
    success_may_skip: bool
    #: Whether its success decides nothing as long as each of its children waits for another parent.
    may_end_unwatched: bool
    #: What must hold for the work to be done at all, as a CEL expression.
    condition: str | None
    #: The parents whose results its work needs.
    reads_results: Sequence[str]
    #: Whether people are told how this task itself has ended.
    tells: bool
    #: What a mapped task is mapped over; None of other tasks.
    map: Mapping[str, Any] | None
    #: The item of the list that an element is for; None of whole tasks.
    item: Any


_OWN = "workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element"

VERSION_COLUMNS = """
    tv.kind, tv.file IS NOT NULL AS takes_file, tv.file -> 'until' IS NOT NULL AS takes_many, tv.config,
    tv.lease_seconds, tv.max_takeovers, tv.retries,
    tv.retry_delay_seconds, tv.retry_max_delay_seconds, tv.timeout_seconds, tv.awaits_completion, tv.success_may_skip,
    tv.may_end_unwatched, tv.condition, tv.reads_results, tv.map, tv.notify IS NOT NULL AS tells,
    b.version_id, b.uid AS batch_uid, b.params
"""

_CLAIMED_COLUMNS = f"""
    bt.workflow_id, bt.batch_id, bt.task_id, bt.element, bt.item, bt.attempt, bt.takeovers, bt.retried, bt.handle,
    bt.polls,
    {VERSION_COLUMNS}
"""

_CLAIMED_SOURCE = """
      FROM task_batch b, task_version tv
     WHERE bt.workflow_id = :workflow_id AND bt.batch_id = :batch_id AND bt.task_id = :task_id
       AND bt.element = :element AND b.workflow_id = bt.workflow_id AND b.batch_id = bt.batch_id
       AND tv.version_id = b.version_id AND tv.task_id = bt.task_id AND tv.kind = ANY(:kinds)
"""

CLAIMED_NAMES = """
    SELECT claimed.*, w.name AS workflow, t.name AS task, v.batch_template, v.has_files
      FROM claimed
      JOIN workflow w ON w.workflow_id = claimed.workflow_id
      JOIN task t ON t.task_id = claimed.task_id
      JOIN workflow_version v ON v.version_id = claimed.version_id
"""

_LEASE = """
    token = CAST(:token AS uuid), lease_until = clock_timestamp() + tv.lease_seconds * interval '1 second',
    due_at = NULL, changed_at = clock_timestamp()
"""


def _claim_of(which: str, opened: str = "true") -> str:
    return f"""
        WITH claimed AS (
            UPDATE batch_task bt
               SET status = '{CLAIM.target}', attempt = bt.attempt + 1, takeovers = 0, polls = 0, handle = NULL,
                   publish_after = NULL, publishes = 0, {_LEASE}
            {_CLAIMED_SOURCE} AND bt.status IN {any_of(CLAIM.sources)}
              AND (bt.version_id IS NULL OR bt.version_id = b.version_id) AND {which}
            RETURNING {_CLAIMED_COLUMNS}, false AS timed_out
        ), opened AS (
            INSERT INTO task_log (workflow_id, batch_id, task_id, element, attempt, status)
            SELECT workflow_id, batch_id, task_id, element, attempt, 'PROCESSING' FROM claimed WHERE {opened}
        )
        {CLAIMED_NAMES}
    """


_CLAIM = Prepared("claim", _claim_of("true", "NOT takes_file"))
_CLAIM_WITHOUT_FILE = Prepared("claim_without_file", _claim_of("tv.file IS NULL"))

# A statement of its own: a claim may have waited for a transaction that has just brought a newer file, and only the
# statements after the wait see it.
_OPEN_LOG_WITH_FILE = text("""
    INSERT INTO task_log (workflow_id, batch_id, task_id, element, attempt, status, file_log_id)
    VALUES (:workflow_id, :batch_id, :task_id, :element, :attempt, 'PROCESSING', (
               SELECT f.file_log_id FROM file_log f
                WHERE f.workflow_id = :workflow_id AND f.batch_id = :batch_id AND f.task_id = :task_id
                  AND f.decision = 'TAKEN'
           ))
""")

STARTED_AT = """(
    SELECT l.started_at FROM task_log l
     WHERE l.workflow_id = bt.workflow_id AND l.batch_id = bt.batch_id AND l.task_id = bt.task_id
       AND l.element = bt.element AND l.attempt = bt.attempt
)"""

_TIMED_OUT = f"""
    COALESCE(clock_timestamp() >= {STARTED_AT} + tv.timeout_seconds * interval '1 second', false) AS timed_out
"""


def _go_on(which: str) -> str:
    return f"""
        WITH claimed AS (
            UPDATE batch_task bt
               SET takeovers = bt.takeovers + CASE WHEN bt.lease_until IS NULL THEN 0 ELSE 1 END, {_LEASE}
            {_CLAIMED_SOURCE} AND bt.status IN {any_of(GO_ON.sources)} AND NOT bt.awaits_completion AND ({which})
            RETURNING {_CLAIMED_COLUMNS}, {_TIMED_OUT}
        )
        {CLAIMED_NAMES}
    """


# What goes on outside is the sweep's to ask for; a message goes on with what a worker has left, dead or alive.
_TAKE_OVER = Prepared(
    "take_over", _go_on("bt.lease_until < clock_timestamp() OR (bt.due_at IS NOT NULL AND bt.handle IS NULL)")
)
_PICK_UP = text(_go_on("bt.due_at <= clock_timestamp()"))


def claim(tx: Connection, key: TaskKey, token: str, kinds: Sequence[str]) -> Claimed | None:
    """Open the next attempt of a NEW task of one of `kinds`.

    None when it is not NEW any more, or when it was waited for while its batch moved to another version: then the next
    claim reads that one.
    """
    row = one_or_none(_CLAIM.execute(tx, {**key.columns, "token": token, "kinds": list(kinds)}))
    if row is None:
        return None
    if row.takes_file:
        tx.execute(_OPEN_LOG_WITH_FILE, {**key.columns, "attempt": row.attempt})
    if row.takes_many:
        keep_files_of_attempt(tx, key, row.attempt)
    return claimed_of(row, key, token)


def claim_without_file(tx: Connection, key: TaskKey, token: str, kinds: Sequence[str]) -> Claimed | None:
    """The same, in one statement, for a task that takes no file; None of one that does."""
    row = one_or_none(_CLAIM_WITHOUT_FILE.execute(tx, {**key.columns, "token": token, "kinds": list(kinds)}))
    return None if row is None else claimed_of(row, key, token)


def take_over(tx: Connection, key: TaskKey, token: str, kinds: Sequence[str]) -> Claimed | None:
    """Go on with the open attempt of a worker that died or gave it back; None when there is no such attempt."""
    row = one_or_none(_TAKE_OVER.execute(tx, {**key.columns, "token": token, "kinds": list(kinds)}))
    return None if row is None else claimed_of(row, key, token)


def pick_up(tx: Connection, key: TaskKey, token: str, kinds: Sequence[str]) -> Claimed | None:
    """Go on with an open attempt that is due; None when it is not, or somebody has it."""
    row = tx.execute(_PICK_UP, {**key.columns, "token": token, "kinds": list(kinds)}).one_or_none()
    return None if row is None else claimed_of(row, key, token)


def claimed_of(row: Any, key: TaskKey, token: str) -> Claimed:
    """An attempt from the row of a statement that ends in CLAIMED_NAMES."""
    columns = row._asdict()
    for name in ("workflow_id", "batch_id", "task_id", "element", "takes_file", "takes_many"):
        del columns[name]
    return Claimed(key=key, token=token, **{**columns, "batch_uid": str(row.batch_uid)})


_STORE_HANDLE = text(f"""
    UPDATE batch_task SET handle = :handle, changed_at = clock_timestamp()
     WHERE {_OWN} AND status IN {any_of(GO_ON.sources)} AND token = CAST(:token AS uuid)
""").bindparams(bindparam("handle", type_=JSONB))


def store_handle(tx: Connection, key: TaskKey, token: str, handle: Mapping[str, Any]) -> bool:
    """Whether the attempt is still this token's; what it has begun outside is then known to whoever goes on with it."""
    return bool(tx.execute(_STORE_HANDLE, {**key.columns, "token": token, "handle": dict(handle)}).rowcount)


_LET_GO = text(f"""
    UPDATE batch_task bt
       SET token = NULL, lease_until = NULL, polls = bt.polls + 1, awaits_completion = :awaits_completion,
           handle = COALESCE(:handle, bt.handle),
           due_at = CASE WHEN :awaits_completion
                         THEN COALESCE({STARTED_AT} + tv.timeout_seconds * interval '1 second',
                                       clock_timestamp() + CAST(:seconds AS float8) * interval '1 second')
                         ELSE LEAST(clock_timestamp() + CAST(:seconds AS float8) * interval '1 second',
                                    {STARTED_AT} + tv.timeout_seconds * interval '1 second') END,
           changed_at = clock_timestamp()
      FROM task_batch b, task_version tv
     WHERE bt.workflow_id = :workflow_id AND bt.batch_id = :batch_id AND bt.task_id = :task_id
       AND bt.element = :element AND b.workflow_id = bt.workflow_id AND b.batch_id = bt.batch_id
       AND tv.version_id = b.version_id AND tv.task_id = bt.task_id
       AND bt.status IN {any_of(GO_ON.sources)} AND bt.token = CAST(:token AS uuid)
""").bindparams(bindparam("handle", type_=JSONB(none_as_null=True)))


def let_go(tx: Connection, key: TaskKey, token: str, seconds: float, handle: Mapping[str, Any] | None) -> bool:
    """Whether the attempt was this token's; it is due in `seconds`, or when it times out if that is sooner.

    `handle` takes the place of the one that it has, if it is given.
    """
    known = None if handle is None else dict(handle)
    given = {**key.columns, "token": token, "seconds": seconds, "awaits_completion": False, "handle": known}
    return bool(tx.execute(_LET_GO, given).rowcount)


def await_completion(tx: Connection, key: TaskKey, token: str) -> bool:
    """Whether the attempt was this token's; from now on a completion message ends it, or its timeout."""
    given = {"token": token, "seconds": LONGEST_WAIT_SECONDS, "awaits_completion": True, "handle": None}
    given |= key.columns
    return bool(tx.execute(_LET_GO, given).rowcount)
