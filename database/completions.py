"""What outside systems have said about attempts: once for each, and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.keys import TaskKey


@dataclass(frozen=True)
class StoredCompletion:
    """One completion; `result` is any JSON value."""

    status: str
    result: Any
    error: str | None


_FIND = text("""
    SELECT status, result, error FROM completion
     WHERE workflow_id = :workflow_id AND batch_id = :batch_id AND task_id = :task_id AND element = :element
       AND attempt = :attempt
""")

_STORE = text("""
    INSERT INTO completion (workflow_id, batch_id, task_id, element, attempt, status, result, error)
    VALUES (:workflow_id, :batch_id, :task_id, :element, :attempt, :status, :result, :error)
""").bindparams(bindparam("result", type_=JSONB(none_as_null=True)))


def find_completion(tx: Connection, key: TaskKey, attempt: int) -> StoredCompletion | None:
    """What was said about this attempt."""
    row = tx.execute(_FIND, {**key.columns, "attempt": attempt}).one_or_none()
    return None if row is None else StoredCompletion(*row)


def store_completion(tx: Connection, key: TaskKey, attempt: int, completion: StoredCompletion) -> None:
    """Keep what is said about an attempt; the caller has locked the task and found nothing said before."""
    tx.execute(_STORE, {**key.columns, **vars(completion), "attempt": attempt})


@dataclass(frozen=True)
class TaskTerms:
    """What a task's version says about its completion and its retries, and how many it has had."""

    task: str
    awaits_completion: bool
    version_id: int
    retried: int
    retries: int
    retry_delay_seconds: int
    retry_max_delay_seconds: int
    success_may_skip: bool
    #: Whether people are told how this task itself has ended.
    tells: bool
    map: Mapping[str, Any] | None


_TERMS = text("""
    SELECT t.name AS task, tv.awaits_completion, b.version_id, bt.retried, tv.retries, tv.retry_delay_seconds,
           tv.retry_max_delay_seconds, tv.success_may_skip, tv.notify IS NOT NULL AS tells, tv.map
      FROM batch_task bt
      JOIN task_batch b ON b.workflow_id = bt.workflow_id AND b.batch_id = bt.batch_id
      JOIN task t ON t.task_id = bt.task_id
      JOIN task_version tv ON tv.version_id = b.version_id AND tv.task_id = bt.task_id
     WHERE bt.workflow_id = :workflow_id AND bt.batch_id = :batch_id AND bt.task_id = :task_id
       AND bt.element = :element
""")


def find_terms(tx: Connection, key: TaskKey) -> TaskTerms | None:
    """The terms of this batch task; None when its batch's version has no such task."""
    row = tx.execute(_TERMS, key.columns).one_or_none()
    return None if row is None else TaskTerms(*row)
