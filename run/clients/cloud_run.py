"""Jobs of Cloud Run and their executions, over its REST API.

https://docs.cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs/run
https://docs.cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.executions
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from run.clients.rest import Answer, Rest
from run.errors import PermanentFailure, Unavailable

_ROLE = "roles/run.developer"
_PAGE = 100
_MOST_TOLD_TASKS = 5
_SUCCEEDED, _FAILED = "CONDITION_SUCCEEDED", "CONDITION_FAILED"
#: An execution that is over cannot be cancelled; which of them is said is not documented.
_OVER_ALREADY = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT})


@dataclass(frozen=True)
class Execution:
    """One execution of a job, as it was when it was asked for."""

    name: str
    created: datetime
    env: Mapping[str, str]
    is_over: bool
    has_succeeded: bool
    was_cancelled: bool
    message: str
    tasks: int
    succeeded: int
    failed: int
    retried: int
    log_uri: str | None

    @property
    def seconds(self) -> float:
        """How long ago it was created."""
        return (datetime.now(UTC) - self.created).total_seconds()


class CloudRun:
    """Starts, finds and ends executions; `job` and `execution` are full resource names."""

    def __init__(self, project: str, rest: Rest) -> None:
        self.project = project
        self._rest = rest

    def run(self, job: str, overrides: Mapping[str, Any]) -> str:
        """Start an execution and return its name.

        Raises PermanentFailure when Cloud Run refuses it, Unavailable when it may or may not have begun: no key of ours
        is taken, so look for it before this is called again.
        """
        operation = self._call("POST", f"/v2/{job}:run", f"running {job}", json={"overrides": dict(overrides)}).body
        try:
            return str(operation["metadata"]["name"])
        except (TypeError, KeyError):
            raise Unavailable(f"Cloud Run did not say which execution of {job} it has begun") from None

    def execution(self, execution: str) -> Execution | None:
        """The execution; None when there is none of this name."""
        answer = self._call("GET", f"/v2/{execution}", f"asking for {execution}", may_miss=True)
        return _execution(answer.body) if answer.is_good else None

    def executions(self, job: str, since: datetime) -> Iterator[Execution]:
        """The executions of the job that were created since then, newest first, as Cloud Run lists them."""
        params: dict[str, Any] = {"pageSize": _PAGE}
        while True:
            doing = f"listing the executions of {job}"
            answer = self._call("GET", f"/v2/{job}/executions", doing, params=params, may_miss=True)
            page = answer.body if answer.is_good else {}
            for one in map(_execution, page.get("executions", ())):
                if one.created < since:
                    return
                yield one
            if not page.get("nextPageToken"):
                return
            params["pageToken"] = page["nextPageToken"]

    def failed_tasks(self, execution: str) -> list[str]:
        """Why tasks of the execution failed, a sentence for each of the first few."""
        path, doing = f"/v2/{execution}/tasks", f"listing the tasks of {execution}"
        tasks = self._call("GET", path, doing, params={"pageSize": _PAGE}).body.get("tasks", ())
        return [_why(task) for task in tasks if _condition(task).get("state") == _FAILED][:_MOST_TOLD_TASKS]

    def cancel(self, execution: str) -> None:
        """Ask for its end; whether it has ended is for `execution` to say."""
        self._call("POST", f"/v2/{execution}:cancel", f"cancelling {execution}", json={}, may_be_over=True)

    def _call(
        self, method: str, path: str, doing: str, *, may_miss: bool = False, may_be_over: bool = False, **options: Any
    ) -> Answer:
        answer = self._rest.call(method, path, **options)
        is_missing = answer.status == HTTPStatus.NOT_FOUND and (may_miss or may_be_over)
        if answer.is_good or is_missing or (may_be_over and answer.status in _OVER_ALREADY):
            return answer
        raise _problem(doing, answer)


def _problem(doing: str, answer: Answer) -> Exception:
    error = answer.body.get("error", {}) if isinstance(answer.body, dict) else {}
    text = f"{doing}: {error.get('message') or f'Cloud Run answered {answer.status}'}"
    is_busy = answer.status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    if is_busy or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(text)
    if answer.status == HTTPStatus.FORBIDDEN:
        text += f"; the service account may lack {_ROLE} on the job"
    return PermanentFailure(text)


def _execution(body: Mapping[str, Any]) -> Execution:
    condition = _condition(body)
    containers = body.get("template", {}).get("containers", [{}])
    return Execution(
        name=body["name"],
        created=datetime.fromisoformat(body["createTime"]),
        env={one["name"]: one.get("value", "") for container in containers for one in container.get("env", ())},
        is_over=condition.get("state") in {_SUCCEEDED, _FAILED},
        has_succeeded=condition.get("state") == _SUCCEEDED,
        was_cancelled=condition.get("executionReason") == "CANCELLED",
        message=condition.get("message", ""),
        # A count that is zero is left out.
        tasks=body.get("taskCount", 0),
        succeeded=body.get("succeededCount", 0),
        failed=body.get("failedCount", 0),
        retried=body.get("retriedCount", 0),
        log_uri=body.get("logUri"),
    )


def _condition(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((one for one in body.get("conditions", ()) if one.get("type") == "Completed"), {})


def _why(task: Mapping[str, Any]) -> str:
    result = task.get("lastAttemptResult", {})
    exit_code = f" with exit code {result['exitCode']}" if "exitCode" in result else ""
    message = result.get("status", {}).get("message") or _condition(task).get("message", "")
    return f"task {task.get('index', 0)} failed{exit_code}" + (f": {message}" if message else "")
