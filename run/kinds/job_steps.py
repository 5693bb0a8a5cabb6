"""Where an attempt is among its jobs in BigQuery, and when it asks for them again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from run.clients.bigquery import FinishedJob, Job, RunningJob
from run.errors import TaskFailure
from run.kinds.kind import GoesOn

_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.2, 30.0
#: A job is asked for again after this part of the time that it has taken so far.
_PART = 0.25
_LONGEST_PAUSE_SECONDS = 20.0
#: A quota is refilled gradually, over a day: https://docs.cloud.google.com/bigquery/docs/troubleshoot-quotas
_PAUSE_FOR_QUOTA_SECONDS = 600.0


@dataclass(frozen=True)
class Step:
    """One job of an attempt: what it does and, where that may take several tries, which of them it is."""

    name: str
    number: int = 0

    def __str__(self) -> str:
        return f"{self.name}-{self.number}" if self.number else self.name

    @classmethod
    def of(cls, handle: Mapping[str, Any]) -> Step:
        """The step that a handle tells."""
        name, _, number = str(handle["step"]).partition("-")
        return cls(name, int(number or 0))


class Later(Exception):
    """No failure: the attempt goes on with that step after so many seconds."""

    def __init__(self, step: Step, seconds: float) -> None:
        super().__init__(f"{step} goes on in {seconds} s")
        self.step = step
        self.seconds = seconds


def goes_on(step: Step, job_id: str, seconds: float) -> GoesOn:
    """What the engine is told of a job that takes its time. The handle stays the same until the next job."""
    return GoesOn({"step": str(step), "job_id": job_id}, seconds)


def finished(step: Step, job: Job) -> FinishedJob:
    """The job if it is done; raises Later."""
    if isinstance(job, RunningJob):
        raise Later(step, seconds_until_next_look(job))
    return job


def seconds_until_next_look(job: RunningJob) -> float:
    """Short at first, longer the longer the job takes."""
    return min(max(job.seconds * _PART, _SHORTEST_SECONDS), _LONGEST_SECONDS)


def seconds_until_next_try(number: int, failure: TaskFailure) -> float:
    """How long to wait before that try: at random, so that those who disturbed each other do not meet again."""
    if failure.details.get("reason") == "quotaExceeded":
        return _PAUSE_FOR_QUOTA_SECONDS
    return random.uniform(0, min(2.0 ** min(number, 10), _LONGEST_PAUSE_SECONDS))  # noqa: S311  # No secret.
