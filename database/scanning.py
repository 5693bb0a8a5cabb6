"""Which of many objects were never announced, and how far the daily look at all of them has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import bindparam

from database.files import is_open_again


@dataclass(frozen=True)
class WantedObject:
    """One generation of an object, and a task that wants it."""

    object: str
    generation: int
    task_id: int


# A rejection is an answer too: it waits in the inbox. What was ignored because of a batch that runs again is not.
# What one of our own tasks has put there is no file.
_NEVER_ANNOUNCED = text(f"""
    SELECT v.object, v.generation, v.task_id
      FROM unnest(CAST(:objects AS text[]), CAST(:generations AS bigint[]), CAST(:task_ids AS bigint[]))
           AS v (object, generation, task_id)
     WHERE NOT EXISTS (
               SELECT FROM file_log f
                WHERE f.bucket = :bucket AND f.object = v.object AND f.generation = v.generation
                  AND f.task_id = v.task_id AND f.event_type = 'OBJECT_FINALIZE'
                  AND (f.decision = 'REJECTED' OR NOT {is_open_again("f")})
           )
       AND NOT EXISTS (
               SELECT FROM file_log p
                WHERE p.place_bucket = :bucket AND p.place_object = v.object AND p.place_generation = v.generation
           )
""")


def never_announced(tx: Connection, bucket: str, wanted: Sequence[WantedObject]) -> set[WantedObject]:
    """Those of a bucket's objects about which nothing is decided for the task that wants them."""
    given = {
        "bucket": bucket,
        "objects": [one.object for one in wanted],
        "generations": [one.generation for one in wanted],
        "task_ids": [one.task_id for one in wanted],
    }
    return {WantedObject(*row) for row in tx.execute(_NEVER_ANNOUNCED, given)}


@dataclass(frozen=True)
class ScanCursor:
    """Up to where the buckets have been looked through, in the order of buckets and of names."""

    bucket: str
    name: str


_READ_CURSOR = text("SELECT cursor FROM chore WHERE name = 'scan'")

_STORE_CURSOR = text("""
    INSERT INTO chore (name, due_at, cursor) VALUES ('scan', clock_timestamp(), :cursor)
    ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor
""").bindparams(bindparam("cursor", type_=JSONB(none_as_null=True)))


def read_cursor(tx: Connection) -> ScanCursor | None:
    """How far today's look has come; None when it is to begin."""
    cursor = tx.execute(_READ_CURSOR).scalar_one_or_none()
    return None if cursor is None else ScanCursor(**cursor)


def store_cursor(tx: Connection, cursor: ScanCursor | None) -> None:
    """Remember how far it has come, for the sweep that goes on with it; None when it has been through."""
    tx.execute(_STORE_CURSOR, {"cursor": None if cursor is None else vars(cursor)})
