"""`cloud_run_job`: runs a job of Cloud Run to its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from run.clients.cloud_run import CloudRun, Execution
from run.errors import PassingFailure, PermanentFailure
from run.kinds.filling import filled_text
from run.kinds.kind import Finished, GoesOn, Kind, KindConfig, Progress, Work
from run.workflows.durations import TimeLimit
from run.workflows.scope import Scope
from run.workflows.templates import template_problems

#: The variable by which an execution tells whose it is.
KEY = "CLOUD_ACCELERATOR_KEY"
_PART, _SHORTEST_SECONDS, _LONGEST_SECONDS = 0.25, 5.0, 30.0
#: How far our clock and Google's may be apart.
_CLOCKS = timedelta(minutes=1)
#: https://docs.cloud.google.com/run/docs/create-jobs
_MOST_TASKS, _LONGEST_TASK_SECONDS = 10_000, 7 * 24 * 3600


def _no_secret(value: Any) -> Any:
    if isinstance(value, dict) and "secret" in value:
        raise ValueError(
            "a secret would be shown to everybody who can see the job's executions; give the job itself a variable "
            "that refers to it (gcloud run jobs update JOB --update-secrets NAME=SECRET:latest)"
        )
    return value


def _variable(name: str) -> str:
    if name == KEY or name.startswith("CLOUD_RUN_"):
        raise ValueError(f"{name} is set for every execution already")
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a variable")
    return name


def _no_longer_than_a_task(seconds: int) -> int:
    if seconds > _LONGEST_TASK_SECONDS:
        raise ValueError("a task of Cloud Run lasts 7d at most")
    return seconds


class CloudRunJobConfig(KindConfig):
    """Which job, and in what its execution differs from what the job says."""

    job: str = Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
    location: str = Field(pattern=r"^[a-z]+-[a-z]+[0-9]+$")
    project: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9.:-]{1,61}[a-z0-9]$")
    args: list[str] | None = None
    env: dict[Annotated[str, AfterValidator(_variable)], Annotated[str, BeforeValidator(_no_secret)]] = Field(
        default_factory=dict
    )
    tasks: int | None = Field(default=None, ge=1, le=_MOST_TASKS)
    task_timeout: Annotated[TimeLimit, AfterValidator(_no_longer_than_a_task)] | None = None


class CloudRunJob(Kind[CloudRunJobConfig]):
    """Runs the job with a variable that says whose execution it is, so that one whose answer was lost is found."""

    name = "cloud_run_job"
    config = CloudRunJobConfig
    #: What the client did not understand says nothing of the execution, so it must not begin another attempt.
    passing: ClassVar[tuple[type[Exception], ...]] = ()

    def problems(self, config: CloudRunJobConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        for text in config.args or ():
            for reason in template_problems(text, scope.names):
                yield "args", reason
        for name, text in config.env.items():
            for reason in template_problems(text, scope.names):
                yield "env", f"{name}: {reason}"

    def start(self, config: CloudRunJobConfig, work: Work) -> Progress:
        """Start an execution; nobody has before, because that it may begin is stored first."""
        return self._run(config, work, datetime.now(UTC))

    def poll(self, config: CloudRunJobConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        """Ask for the execution, or look for it when nobody has heard its name."""
        if "execution" not in handle:
            return self._adopted_or_run(config, work, datetime.fromisoformat(handle["since"]))
        execution = self._cloud_run.execution(handle["execution"])
        if execution is None:
            raise PermanentFailure(f"{handle['execution']} is gone, so nobody knows how it ended")
        if not execution.is_over:
            return GoesOn(handle, _seconds_until_next_look(execution))
        return self._ended(execution)

    def cancel(self, config: CloudRunJobConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:
        """Have every execution of this attempt cancelled; confirmed when all are over."""
        if handle is None:
            # The handle is stored before anything begins.
            return True
        running = {one.name: one for one in self._of_attempt(config, work, handle) if not one.is_over}
        for name in running:
            self._cloud_run.cancel(name)
        return not running

    def _run(self, config: CloudRunJobConfig, work: Work, since: datetime) -> Progress:
        overrides, handle = _overrides(config, work), {"since": since.isoformat()}
        work.store_handle(handle)
        execution = self._cloud_run.run(self._job(config), overrides)
        return GoesOn({**handle, "execution": execution}, _SHORTEST_SECONDS)

    def _adopted_or_run(self, config: CloudRunJobConfig, work: Work, since: datetime) -> Progress:
        nobodys: Execution | None = None
        for one in self._executions(config, since):
            if one.env.get(KEY) == work.key:
                handle = {"since": since.isoformat(), "execution": one.name}
                return GoesOn(handle, _SHORTEST_SECONDS)
            nobodys = one if KEY not in one.env else nobodys
        if nobodys is not None:
            raise PermanentFailure(
                f"outcome unknown: nobody heard whether an execution was begun, and {nobodys.name}, which began since, "
                "does not say whose it is. Look at what it did: mark the task as a success, or run it again"
            )
        return self._run(config, work, since)

    def _executions(self, config: CloudRunJobConfig, since: datetime) -> Iterator[Execution]:
        return self._cloud_run.executions(self._job(config), since - _CLOCKS)

    def _of_attempt(self, config: CloudRunJobConfig, work: Work, handle: Mapping[str, Any]) -> Iterator[Execution]:
        known = self._cloud_run.execution(handle["execution"]) if "execution" in handle else None
        if known is not None:
            yield known
        for one in self._executions(config, datetime.fromisoformat(handle["since"])):
            if one.env.get(KEY) == work.key:
                yield one

    def _ended(self, execution: Execution) -> Finished:
        details: dict[str, Any] = {
            "execution": execution.name,
            "tasks": execution.tasks,
            "succeeded": execution.succeeded,
            "failed": execution.failed,
            "retried": execution.retried,
            "log": execution.log_uri,
        }
        if execution.has_succeeded:
            return Finished(details)
        if execution.was_cancelled:
            raise PermanentFailure(f"{execution.name} was cancelled", details)
        reasons = self._cloud_run.failed_tasks(execution.name)
        why = "; ".join(reasons) or execution.message or "Cloud Run gave no reason"
        raise PassingFailure(
            f"{execution.failed} of {execution.tasks} tasks of {execution.name} failed: {why}",
            {**details, "reasons": reasons},
        )

    def _job(self, config: CloudRunJobConfig) -> str:
        project = config.project or self._cloud_run.project
        return f"projects/{project}/locations/{config.location}/jobs/{config.job}"

    @property
    def _cloud_run(self) -> CloudRun:
        return self.clients.cloud_run


def _overrides(config: CloudRunJobConfig, work: Work) -> dict[str, Any]:
    env = {name: filled_text(text, work.values) for name, text in config.env.items()}
    container: dict[str, Any] = {
        "env": [{"name": name, "value": value} for name, value in {**env, KEY: work.key}.items()]
    }
    if config.args is not None:
        container["args"] = [filled_text(text, work.values) for text in config.args]
        container["clearArgs"] = not config.args
    overrides: dict[str, Any] = {"containerOverrides": [container]}
    if config.tasks is not None:
        overrides["taskCount"] = config.tasks
    if config.task_timeout is not None:
        overrides["timeout"] = f"{config.task_timeout}s"
    return overrides


def _seconds_until_next_look(execution: Execution) -> float:
    return min(max(execution.seconds * _PART, _SHORTEST_SECONDS), _LONGEST_SECONDS)
