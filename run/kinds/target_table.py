"""How staged rows come into the table that they are for, while others write to it too."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import count

from run.clients.bigquery import BigQuery, Column, End, FinishedJob
from run.errors import PassingFailure, TaskFailure
from run.kinds.bigquery_names import TableName, job_id, labels
from run.kinds.job_steps import Later, Step, finished, seconds_until_next_try
from run.kinds.kind import Work
from run.kinds.load_plan import LoadPlan
from run.kinds.staging import additions

logger = logging.getLogger(__name__)

_PREPARE, _WRITE = "prepare", "write"
#: Where an attempt goes on that has its rows in the staging table.
FIRST_STEP = Step(_PREPARE, 1)


class TargetTable:
    """The target of one attempt. Every try of a step is a job with a number of its own, which all workers count alike.

    BigQuery undoes a transaction when another one changes the table meanwhile. The next number is used only when
    the job before it is known to have done nothing. Raises Later while a job runs, and for the pause before a try.
    """

    def __init__(self, bigquery: BigQuery, plan: LoadPlan, staging: TableName) -> None:
        self._bigquery = bigquery
        self._plan = plan
        self._staging = staging

    def written(self) -> FinishedJob | None:
        """The job of this attempt that brought the rows into the table, if one did."""
        return self._past(_WRITE, 1)[0]

    def go_on(self, at: Step) -> FinishedJob:
        """Make the table fit and bring the rows into it, from that step on."""
        number = 1
        if at.name == _WRITE:
            done, number = self._past(_WRITE, at.number, pauses=True)
            if done is not None:
                return done
        columns = self._prepared(at)
        # Without a handle the tries of earlier workers are counted now.
        done, number = self._past(_WRITE, number)
        return done or self._run(Step(_WRITE, number), self._plan.write_sql(self._staging, columns))

    def _prepared(self, at: Step) -> list[str]:
        """The columns of the staged rows, which the target can take when this returns."""
        resumed = at.name == _PREPARE
        _, first_number = self._past(_PREPARE, at.number if resumed else 1, pauses=resumed)
        for number in count(first_number):
            loaded, target = self._schemas()
            added = additions(loaded, target, self._plan.marks, str(self._plan.target))
            names = [column.name for column in loaded]
            if target is not None and not added:
                return names
            if target is not None:
                self._run(Step(_PREPARE, number), self._plan.add_columns_sql(added))
                return names
            # Another worker may have made it at the same moment and otherwise, so the schema is read again.
            self._run(Step(_PREPARE, number), self._plan.create_sql(self._staging))
        raise AssertionError  # Counting has no end.

    def _schemas(self) -> tuple[Sequence[Column], Sequence[Column] | None]:
        loaded = self._bigquery.columns(str(self._staging))
        if loaded is None:
            raise PassingFailure(f"the staging table {self._staging} is gone; a new attempt loads the file again")
        return loaded, self._bigquery.columns(str(self._plan.target))

    def _past(self, name: str, first: int, *, pauses: bool = False) -> tuple[FinishedJob | None, int]:
        """The last try of a step that did it, from number `first` on, and the first number that no job has.

        `pauses` before that number when the try before it has failed.
        """
        done: FinishedJob | None = None
        failure: TaskFailure | None = None
        for number in count(first):
            step = Step(name, number)
            try:
                found = self._bigquery.find_job(self._plan.id_of(str(step)))
            except TaskFailure as error:
                failure = _passing(error)
                continue
            if found is None and failure and pauses:
                raise _later(step, failure)
            if found is None:
                return done, number
            done = finished(step, found)
        raise AssertionError  # Counting has no end.

    def _run(self, step: Step, sql: str) -> FinishedJob:
        configuration = {"query": {"query": sql, "useLegacySql": False}, "labels": self._plan.labels}
        try:
            return finished(step, self._bigquery.query(self._plan.id_of(str(step)), configuration))
        except TaskFailure as failure:
            raise _later(Step(step.name, step.number + 1), _passing(failure)) from failure


def end_tries(bigquery: BigQuery, work: Work) -> bool:
    """End every try of an attempt to bring rows into its table, and prevent further ones; whether that is confirmed."""
    # Both are asked to end at once.
    prepared, written = (_ended(bigquery, work, name) for name in (_PREPARE, _WRITE))
    return prepared and written


def _ended(bigquery: BigQuery, work: Work, name: str) -> bool:
    for number in count(1):
        end = bigquery.end_job(job_id(work, str(Step(name, number))), labels(work))
        if end is End.not_yet:
            return False
        if end is End.prevented or (end is End.succeeded and name == _WRITE):
            return True
    raise AssertionError  # Counting has no end.


def _passing(failure: TaskFailure) -> TaskFailure:
    """The failure of a try after which another one may do it; raises any other failure."""
    # Two who make one table at the same moment: the second is told so, and then finds it.
    if isinstance(failure, PassingFailure) or failure.details.get("reason") == "duplicate":
        return failure
    raise failure


def _later(step: Step, failure: TaskFailure) -> Later:
    seconds = seconds_until_next_try(step.number, failure)
    logger.info("%s in %.1f s, because %s", step, seconds, failure)
    return Later(step, seconds)
