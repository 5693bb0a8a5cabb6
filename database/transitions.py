"""The statements that move tasks from outside their attempts, and the batch: release, skip, reset, end, reopen.

The caller has locked the tasks. The batch row is always locked last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from database.keys import WHOLE, BatchKey, TaskKey
from database.notifications import note_batch_outcome
from database.prepared import Prepared, one_or_none
from database.statuses import BRING_BACK, END, OPEN, RELEASE, REOPEN, RESET, SKIP, SkipCause, Status, any_of

#: How long a message may be on its way before the sweep publishes it again, in seconds; doubled each time.
FIRST_REPUBLISH_SECONDS = 60


@dataclass
class Decisions:
    """What a dependency check has decided: which tasks may start, and which never will."""

    released: list[int] = field(default_factory=list)
    #: Task id to its cause and, if a failure is to blame, the failed task.
    skipped: dict[int, tuple[SkipCause, int | None]] = field(default_factory=dict)


_SETTLE = Prepared(
    "settle",
    f"""
    UPDATE batch_task t
       SET status = v.status, skip_cause = v.cause, skipped_because_of = v.culprit,
           publish_after = CASE WHEN v.status = '{RELEASE.target}'
                                THEN clock_timestamp() + {FIRST_REPUBLISH_SECONDS} * interval '1 second' END,
           publishes = 0, due_at = NULL, waits_on = NULL, changed_at = clock_timestamp()
      FROM unnest(CAST(:task_ids AS bigint[]), CAST(:statuses AS text[]),
                  CAST(:causes AS text[]), CAST(:culprits AS bigint[])) AS v (task_id, status, cause, culprit)
     WHERE t.workflow_id = :workflow_id AND t.batch_id = :batch_id AND t.task_id = v.task_id
       AND t.element = {WHOLE} AND t.status IN {any_of(RELEASE.sources)} AND t.status IN {any_of(SKIP.sources)}
""",
)


def settle(tx: Connection, batch: BatchKey, decisions: Decisions) -> None:
    """Release and skip what was decided about tasks that the caller has locked."""
    rows: list[tuple[int, str, str | None, int | None]] = [
        *((task_id, RELEASE.target, None, None) for task_id in decisions.released),
        *((task_id, SKIP.target, cause, culprit) for task_id, (cause, culprit) in decisions.skipped.items()),
    ]
    if rows:
        task_ids, statuses, causes, culprits = (list(column) for column in zip(*rows, strict=True))
        given = {"task_ids": task_ids, "statuses": statuses, "causes": causes, "culprits": culprits}
        _SETTLE.execute(tx, {**batch.columns, **given})


_RESET = text(f"""
    UPDATE batch_task
       SET reset = (status = 'PROCESSING'),
           status = CASE WHEN status = 'PROCESSING' THEN status ELSE '{RESET.target}' END,
           skip_cause = NULL, skipped_because_of = NULL, publish_after = NULL, publishes = 0,
           due_at = CASE WHEN status = 'PROCESSING' THEN due_at END,
           waits_on = CASE WHEN awaits_elements THEN waits_on END,
           elements = CASE WHEN status = 'PROCESSING' THEN elements END,
           retried = CASE WHEN status = 'PROCESSING' THEN retried ELSE 0 END,
           changed_at = clock_timestamp()
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = ANY(:task_ids)
       AND element = {WHOLE} AND (status IN {any_of((*RESET.sources, Status.PROCESSING))} OR due_at IS NOT NULL)
""")


_FORGET = text(f"""
    UPDATE batch_task SET waits_on = NULL
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = ANY(:task_ids) AND element = {WHOLE}
       AND waits_on IS NOT NULL
""")


def forget_watched(tx: Connection, batch: BatchKey, task_ids: Sequence[int]) -> None:
    """Let these locked tasks, which were judged and still wait, look for an open parent anew."""
    tx.execute(_FORGET, {**batch.columns, "task_ids": list(task_ids)})


def reset(tx: Connection, batch: BatchKey, task_ids: Sequence[int]) -> None:
    """Let these locked tasks wait again for a new attempt; one that is PROCESSING does so when its attempt ends."""
    tx.execute(_RESET, {**batch.columns, "task_ids": list(task_ids)})


_BRING_BACK = text(f"""
    UPDATE batch_task
       SET status = '{BRING_BACK.target}', skip_cause = NULL, skipped_because_of = NULL, retried = 0, waits_on = NULL,
           changed_at = clock_timestamp()
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = ANY(:task_ids)
       AND element = {WHOLE} AND status IN {any_of(BRING_BACK.sources)}
       AND skip_cause IN ('{SkipCause.UPSTREAM_FAILED}', '{SkipCause.RULE}')
""")


def bring_back(tx: Connection, batch: BatchKey, task_ids: Sequence[int]) -> None:
    """Let those of these locked tasks wait again that were skipped because of how something above them had ended."""
    tx.execute(_BRING_BACK, {**batch.columns, "task_ids": list(task_ids)})


_FILE_ARRIVED = text(f"""
    UPDATE batch_task SET awaits_file = false, quiet_at = NULL
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = {WHOLE}
       AND awaits_file
""")


def stop_awaiting_file(tx: Connection, key: TaskKey) -> None:
    """The locked task has its file, or all of its files."""
    tx.execute(_FILE_ARRIVED, key.columns)


_LOCK_BATCH = Prepared(
    "lock_batch",
    """
    SELECT status FROM task_batch WHERE workflow_id = :workflow_id AND batch_id = :batch_id FOR NO KEY UPDATE
""",
)

_END_BATCH = Prepared(
    "end_batch",
    f"""
    UPDATE task_batch b
       SET ended_at = clock_timestamp(), outcomes = b.outcomes + 1,
           status = CASE WHEN EXISTS (
               SELECT FROM batch_task t
                 JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = t.task_id
                WHERE t.workflow_id = b.workflow_id AND t.batch_id = b.batch_id AND t.element = {WHOLE}
                  AND t.status = 'CANCELLED'
           ) THEN 'CANCELLED' WHEN EXISTS (
               SELECT FROM batch_task t
                 JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = t.task_id
                WHERE t.workflow_id = b.workflow_id AND t.batch_id = b.batch_id AND t.element = {WHOLE}
                  AND t.status = 'ERROR' AND NOT tv.allow_failure
           ) THEN 'ERROR' ELSE 'SUCCESS' END
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id AND b.status IN {any_of(END.sources)}
       AND (
           SELECT t.task_id FROM batch_task t
            WHERE t.workflow_id = b.workflow_id AND t.batch_id = b.batch_id AND t.element = {WHOLE}
              AND t.status IN {any_of(OPEN)}
            LIMIT 1
       ) IS NULL
    RETURNING status, (SELECT v.notify IS NOT NULL FROM workflow_version v WHERE v.version_id = b.version_id) AS tells
""",
)

_REOPEN_BATCH = text(f"""
    UPDATE task_batch b
       SET status = 'PROCESSING', ended_at = NULL, deadline_missed_at = NULL,
           deadline_at = clock_timestamp() + v.deadline_seconds * interval '1 second'
      FROM workflow_version v
     WHERE b.workflow_id = :workflow_id AND b.batch_id = :batch_id AND b.status IN {any_of(REOPEN.sources)}
       AND v.version_id = b.version_id
""")


def end_batch_if_done(tx: Connection, batch: BatchKey) -> str | None:
    """Lock the batch, and end it if no task is open; its outcome, or None when it goes on or had ended before.

    It is CANCELLED if a task of its version is, else ERROR if one that must not fail is, else SUCCESS. Where people are
    to be told, that is written too.
    """
    _LOCK_BATCH.execute(tx, batch.columns)
    row = one_or_none(_END_BATCH.execute(tx, batch.columns))
    if row is None:
        return None
    if row.tells:
        note_batch_outcome(tx, batch)
    return str(row.status)


def reopen_batch(tx: Connection, batch: BatchKey) -> None:
    """Lock the batch, and open it again, with a new deadline, if it had ended; call it after the last task is locked.

    The lock is a statement of its own: an end that is being committed at this moment is waited for, and then seen.
    """
    _LOCK_BATCH.execute(tx, batch.columns)
    tx.execute(_REOPEN_BATCH, batch.columns)
