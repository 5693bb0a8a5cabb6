"""What the database knows the outside work of an attempt by, while a worker has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from database.attempts import Claimed, store_handle
from database.sessions import Database
from run.errors import Unavailable


class StoredHandle:
    """The handle of an attempt that this process works on."""

    def __init__(self, database: Database, claimed: Claimed) -> None:
        self._database = database
        self._claimed = claimed
        self._known = claimed.handle

    def is_known(self, handle: Mapping[str, Any]) -> bool:
        """Whether the database has this handle; stored unless it is there, and False when others have the attempt."""
        return handle == self._known or self._stores(handle)

    def store(self, handle: Mapping[str, Any]) -> None:
        """Store it, and ask even when it is there whether the attempt is ours; raises Unavailable when it is not."""
        if not self._stores(handle):
            raise Unavailable(f"attempt {self._claimed.attempt} is in other hands")

    def _stores(self, handle: Mapping[str, Any]) -> bool:
        claimed = self._claimed
        stored = self._database.transact(lambda tx: store_handle(tx, claimed.key, claimed.token, handle))
        if stored:
            self._known = handle
        return stored
