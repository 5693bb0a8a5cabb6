"""How staged rows come into the table that they are for, while others write to it too."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from itertools import count

from run.clients.bigquery import BigQuery, Column, FinishedJob
from run.errors import PassingFailure, TaskFailure, Unavailable
from run.kinds.bigquery_names import TableName
from run.kinds.load_plan import LoadPlan
from run.kinds.staging import additions

#: BigQuery undoes a transaction when another one changes the table meanwhile. After so many tries the attempt is
#: handed back, and goes on later with the next job id.
_TRIES = 8
_LONGEST_PAUSE_SECONDS = 20.0

_PREPARE, _WRITE = "prepare", "write"


class TargetTable:
    """The target of one attempt. Every try of a step is a job with a number of its own, which all workers count alike.

    `until`, a moment of the monotonic clock, is how long all of it may take. Raises Unavailable when the table is so
    busy that no try got through.
    """

    def __init__(self, bigquery: BigQuery, plan: LoadPlan, staging: TableName, until: float) -> None:
        self._bigquery = bigquery
        self._plan = plan
        self._staging = staging
        self._until = until

    def written(self) -> FinishedJob | None:
        """The job of this attempt that brought the rows into the table, if one did; waits for one that runs."""
        return self._past(_WRITE)[0]

    def write(self, *, is_new: bool) -> FinishedJob:
        """Make the table fit and bring the rows into it; `is_new` says that nobody had begun that when we did."""
        try:
            columns = self._prepare(1 if is_new else self._past(_PREPARE)[1])
        except PassingFailure:
            # A worker that lost the attempt may have gone on, been faster, and dropped the staging table.
            done = self.written()
            if done is None:
                raise
            return done
        done, first_number = (None, 1) if is_new else self._past(_WRITE)
        if done is not None:
            return done
        sql = self._plan.write_sql(self._staging, columns)
        pauses = _Pauses(self._until)
        for number in count(first_number):
            try:
                return self._run(f"{_WRITE}-{number}", sql)
            except PassingFailure as failure:
                pauses.wait(failure)
        raise AssertionError  # Counting has no end.

    def _prepare(self, first_number: int) -> list[str]:
        """The columns of the staged rows, which the target can take when this returns."""
        pauses = _Pauses(self._until)
        for number in count(first_number):
            loaded, target = self._schemas()
            added = additions(loaded, target, self._plan.marks, str(self._plan.target))
            names = [column.name for column in loaded]
            if target is not None and not added:
                return names
            try:
                if target is not None:
                    self._run(f"{_PREPARE}-{number}", self._plan.add_columns_sql(added))
                    return names
                # Another worker may have made it at the same moment and otherwise, so the schema is read again.
                self._run(f"{_PREPARE}-{number}", self._plan.create_sql(self._staging))
            except TaskFailure as failure:
                if not _is_passing(failure):
                    raise
                pauses.wait(failure)
        raise AssertionError  # Counting has no end.

    def _schemas(self) -> tuple[Sequence[Column], Sequence[Column] | None]:
        loaded = self._bigquery.columns(str(self._staging))
        if loaded is None:
            raise PassingFailure(f"the staging table {self._staging} is gone; a new attempt loads the file again")
        return loaded, self._bigquery.columns(str(self._plan.target))

    def _past(self, step: str) -> tuple[FinishedJob | None, int]:
        """The last job of the step that did it, and the first number that no job has."""
        done: FinishedJob | None = None
        for number in count(1):
            try:
                found = self._bigquery.find_job(self._plan.id_of(f"{step}-{number}"), self._until)
            except TaskFailure as failure:
                if not _is_passing(failure):
                    raise
                continue
            if found is None:
                return done, number
            done = found
        raise AssertionError  # Counting has no end.

    def _run(self, step: str, sql: str) -> FinishedJob:
        configuration = {"query": {"query": sql, "useLegacySql": False}, "labels": self._plan.labels}
        return self._bigquery.query(self._plan.id_of(step), configuration, self._until)


class _Pauses:
    """Pauses of a random length, so that those who disturbed each other do not meet again."""

    def __init__(self, until: float) -> None:
        self._until = until
        self._tries = 0

    def wait(self, failure: TaskFailure) -> None:
        self._tries += 1
        seconds = random.uniform(0, min(2.0**self._tries, _LONGEST_PAUSE_SECONDS))  # noqa: S311  # No secret.
        if self._tries == _TRIES or time.monotonic() + seconds > self._until:
            raise Unavailable(f"the table is busy, tried {self._tries} times: {failure}") from failure
        time.sleep(seconds)


def _is_passing(failure: TaskFailure) -> bool:
    # Two who make one table at the same moment: the second is told so, and then finds it.
    return isinstance(failure, PassingFailure) or failure.details.get("reason") == "duplicate"
