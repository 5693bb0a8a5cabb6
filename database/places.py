"""Where files have gone since they landed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from database.files import Arrival


@dataclass(frozen=True)
class NewPlace:
    """Where a file has gone."""

    file_log_id: int
    bucket: str
    object: str
    generation: int


_MOVE = text("""
    WITH same AS (
        SELECT f.file_log_id, v.bucket, v.object, v.generation
          FROM unnest(CAST(:file_log_ids AS bigint[]), CAST(:buckets AS text[]), CAST(:objects AS text[]),
                      CAST(:generations AS bigint[])) AS v (file_log_id, bucket, object, generation)
          JOIN file_log moved ON moved.file_log_id = v.file_log_id
          JOIN file_log f ON f.bucket = moved.bucket AND f.object = moved.object AND f.generation = moved.generation
                         AND f.task_id IS NOT NULL
         ORDER BY f.file_log_id FOR NO KEY UPDATE OF f
    )
    UPDATE file_log f
       SET place_bucket = same.bucket, place_object = same.object, place_generation = same.generation
      FROM same WHERE f.file_log_id = same.file_log_id
""")


def store_places(tx: Connection, places: Sequence[NewPlace]) -> None:
    """Remember where files have gone: every later attempt of every task that took them reads them there.

    Rows of the file log are locked after all batch tasks and the batch, in the order of their ids.
    """
    if places:
        given = {
            "file_log_ids": [place.file_log_id for place in places],
            "buckets": [place.bucket for place in places],
            "objects": [place.object for place in places],
            "generations": [place.generation for place in places],
        }
        tx.execute(_MOVE, given)


_IS_OUR_PLACE = text("""
    SELECT EXISTS (
        SELECT FROM file_log
         WHERE place_bucket = :bucket AND place_object = :object AND place_generation = :generation
    )
""")


def is_place_of_a_file(tx: Connection, arrival: Arrival) -> bool:
    """Whether this object is where one of our own tasks has put a file."""
    ours: bool = tx.execute(_IS_OUR_PLACE, vars(arrival)).scalar_one()
    return ours
