"""Results between tasks: small ones stay in the database, large ones go to an object of their own."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Protocol

from database.attempts import Claimed
from database.keys import TaskKey
from database.results import ResultOfElements, StoredResult, results_of_elements, results_of_parents
from database.sessions import Database, Transaction
from run.engine.outcomes import Outcome
from run.errors import PermanentFailure
from run.workflows.results import too_large

#: The largest result that the database keeps, in bytes of JSON.
MOST_BYTES_IN_DATABASE = 64 * 1024
MOST_BYTES = 64 * 1024 * 1024
#: How many results of elements are read at once.
ELEMENTS_AT_ONCE = 1000


class LargeResults(Protocol):
    """Where results go that are too large for a row; both raise TaskFailure or Unavailable."""

    def write(self, name: str, content: bytes) -> Mapping[str, Any]:
        """Write the content under this name; what it is found by (JSON values only)."""

    def read(self, place: Mapping[str, Any]) -> bytes:
        """The content that was written there."""


class Results:
    """Keeps what tasks return, and hands it to those that come after them."""

    def __init__(self, database: Database, large: LargeResults | None = None) -> None:
        self._database = database
        self._large = large

    def of_former(self, claimed: Claimed) -> dict[str, Any]:
        """What the parents that this attempt reads had returned when it began, whatever has become of them since."""
        return self._of(claimed, claimed.reads_results, claimed.attempt, with_gaps=True)

    def of(self, claimed: Claimed, names: Collection[str]) -> dict[str, Any]:
        """What these parents have returned; those that did not succeed are left out.

        Whoever goes on with an attempt gets what it has had from its begin.
        """
        is_first_look = claimed.takeovers == 0 and claimed.polls == 0 and claimed.handle is None
        begun = None if is_first_look else claimed.attempt
        return self._of(claimed, names, begun, with_gaps=claimed.handle is not None)

    def _of(self, claimed: Claimed, names: Collection[str], begun: int | None, *, with_gaps: bool) -> dict[str, Any]:
        if not names:
            return {}

        def read(tx: Transaction) -> Mapping[str, StoredResult | ResultOfElements]:
            wanted = sorted(names)
            return results_of_parents(tx, claimed.key, claimed.version_id, wanted, begun=begun, with_gaps=with_gaps)

        stored = self._database.transact(read)
        return {
            task: self._value(result) if isinstance(result, StoredResult) else self._joined(task, result)
            for task, result in stored.items()
        }

    def _value(self, result: StoredResult) -> Any:
        return result.value if result.place is None else json.loads(self._places().read(result.place))

    def _joined(self, task: str, result: ResultOfElements) -> list[Any]:
        joined: list[Any] = []
        size = _allowed(result.size, task, result.elements)
        for first in range(0, result.elements, ELEMENTS_AT_ONCE):
            last = min(first + ELEMENTS_AT_ONCE, result.elements) - 1
            for one in self._of_elements(result.task, first, last):
                # How large one is that is not in the database shows when it is read.
                content = None if one.place is None else self._places().read(one.place)
                size = _allowed(size + len(content or b""), task, result.elements)
                joined.append(one.value if content is None else json.loads(content))
        return joined

    def _of_elements(self, task: TaskKey, first: int, last: int) -> list[StoredResult]:
        return self._database.transact(lambda tx: results_of_elements(tx, task, first, last))

    def kept(self, outcome: Outcome, claimed: Claimed) -> Outcome:
        """The outcome with its result where it belongs."""
        if outcome.result is None:
            return outcome
        content = outcome.result.encode()
        if len(content) <= MOST_BYTES_IN_DATABASE:
            return outcome
        if reason := too_large(len(content)):
            raise PermanentFailure(reason)
        return replace(outcome, result=None, result_place=self._places().write(_name(claimed), content))

    def _places(self) -> LargeResults:
        if self._large is None:
            raise PermanentFailure(f"results of more than {MOST_BYTES_IN_DATABASE:,} bytes have no place here")
        return self._large


def _allowed(size: int, task: str, elements: int) -> int:
    """The size of what elements have returned together; raises PermanentFailure when that is too much for one value."""
    if size > MOST_BYTES:
        raise PermanentFailure(
            f"the results of the {elements:,} elements of '{task}' have more than {MOST_BYTES:,} bytes of JSON "
            "together, and these are the most; let each write to a table, and return where that is"
        )
    return size


def _name(claimed: Claimed) -> str:
    # The token keeps a worker that lost its lease from writing over what the next one has written.
    element = f"{claimed.key.element}/" if claimed.key.is_element else ""
    return f"{claimed.batch_uid}/{claimed.task}/{element}{claimed.attempt}-{claimed.token}.json"
