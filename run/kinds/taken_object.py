"""The object that a task has taken, as it is now."""

from __future__ import annotations

from run.clients.storage import Storage, StoredObject
from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.kinds.kind import ObjectVersion


def current_object(storage: Storage, wanted: ObjectVersion, use: str) -> StoredObject:
    """The object of this generation, which was to be `use` ("loaded").

    Raises PassingFailure when it is gone, PermanentFailure when another generation is there, Unavailable when Cloud
    Storage does not answer.
    """
    try:
        found = storage.find(wanted.bucket, wanted.name)
    except PassingFailure as failure:
        raise Unavailable(str(failure)) from failure
    if found is None:
        raise PassingFailure(
            f"{wanted.uri} is gone; its generation {wanted.generation} was to be {use}. "
            "A new attempt looks for it where it was moved to"
        )
    if found.generation != wanted.generation:
        raise PermanentFailure(
            f"{wanted.uri} has changed: its generation is {found.generation}, and {wanted.generation} was to be "
            f"{use}; the newer one has a notification of its own",
            {"wanted_generation": wanted.generation, "found_generation": found.generation},
        )
    return found
