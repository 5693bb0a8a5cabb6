"""Jobs of Cloud Run as the Admin API shows them: an execution runs until a test ends it, or is a real process.

https://docs.cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs/run
https://docs.cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.executions
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.servers.wire import Answered, Asked, WireServer

JOB = "projects/local/locations/europe-west1/jobs/extract"
_PATH = re.compile(r"/v2/(?P<job>projects/[^/]+/locations/[^/]+/jobs/[^/:]+)(?P<rest>.*)")
_OVERRIDES = {"containerOverrides", "taskCount", "timeout"}
_CONTAINER = {"name", "args", "env", "clearArgs"}


@dataclass
class Job:
    """A job; with a `command` its executions are processes of that command, which see only `env`."""

    env: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ()


class CloudRun(WireServer):
    """`jobs` by their full names. `ends` is what becomes of executions when they begin: None goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Job] = {JOB: Job()}
        self.executions: dict[str, dict[str, Any]] = {}
        self.ends: str | None = None
        #: Whether an execution shows with which variables it was started.
        self.shows_overrides = True
        #: So many requests to cancel are accepted before anything ends.
        self.slow_to_cancel = 0
        #: How much later it is by our clock.
        self.behind = timedelta(0)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def answer(self, asked: Asked) -> Answered:
        found = _PATH.fullmatch(asked.path)
        if found is None or found["job"] not in self.jobs:
            return _error(404, "NOT_FOUND", f"Resource '{asked.path.rpartition('/')[2]}' was not found")
        match asked.method, found["rest"].strip("/").split("/"):
            case "POST", [":run"]:
                return self._run(found["job"], asked.json)
            case "GET", ["executions"]:
                return self._list(found["job"], asked.query)
            case method, ["executions", name, *rest]:
                return self._execution(method, f"{found['job']}/executions/{name}", rest)
        return _error(404, "NOT_FOUND", "not a path of this service")

    def begin(self, job: str = JOB, overrides: Mapping[str, Any] | None = None) -> str:
        """Start an execution, as a person may; its name."""
        container = ((overrides or {}).get("containerOverrides") or [{}])[0]
        env = {**self.jobs[job].env, **{one["name"]: one["value"] for one in container.get("env", ())}}
        name = f"{job}/executions/{job.rpartition('/')[2]}-{len(self.executions):05}"
        shown = env if self.shows_overrides else self.jobs[job].env
        self.executions[name] = {
            "name": name,
            "job": job.rpartition("/")[2],
            "createTime": (datetime.now(UTC) - self.behind).strftime("%Y-%m-%dT%H:%M:%S.%f789Z"),
            "taskCount": (overrides or {}).get("taskCount", 1),
            "template": {
                "containers": [{"image": "image", "env": [{"name": key, "value": shown[key]} for key in shown]}]
            },
            "conditions": [{"type": "Started", "state": "CONDITION_SUCCEEDED"}, _completed("CONDITION_RECONCILING")],
            "logUri": f"https://console.cloud.google.com/logs/{name}",
        }
        if self.jobs[job].command:
            self._processes[name] = subprocess.Popen(self.jobs[job].command, env=env)
        if self.ends:
            self.end(name, self.ends)
        return name

    def end(self, name: str, how: str = "succeeded") -> None:
        """Let it end: succeeded, failed or cancelled."""
        execution = self.executions[name]
        tasks = execution["taskCount"]
        execution["completionTime"] = execution["createTime"]
        state = "CONDITION_SUCCEEDED" if how == "succeeded" else "CONDITION_FAILED"
        reason = {"failed": "NON_ZERO_EXIT_CODE", "cancelled": "CANCELLED"}.get(how)
        message = {"failed": f"Task {name}-task0 failed with message: boom"}.get(how, "")
        execution["conditions"][1] = _completed(state, executionReason=reason, message=message)
        counts = {"succeeded": tasks} if how == "succeeded" else {how: 1, "succeeded": tasks - 1, "retried": 3}
        execution |= {f"{what}Count": count for what, count in counts.items() if count}

    def running(self) -> list[str]:
        """The executions that are not over."""
        return [name for name, one in self.executions.items() if "completionTime" not in one]

    def _run(self, job: str, body: Any) -> Answered:
        overrides = (body or {}).get("overrides", {})
        unknown = set(body or {}) - {"overrides", "etag", "validateOnly"} | set(overrides) - _OVERRIDES
        for container in overrides.get("containerOverrides", ()):
            unknown |= set(container) - _CONTAINER
            unknown |= {key for one in container.get("env", ()) for key in set(one) - {"name", "value"}}
            if not all(isinstance(one["value"], str) for one in container.get("env", ())):
                return _error(400, "INVALID_ARGUMENT", "Invalid value at 'overrides.container_overrides[0].env'")
        if unknown:
            return _error(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. Unknown name {sorted(unknown)}")
        if not re.fullmatch(r"\d+s", overrides.get("timeout", "1s")):
            return _error(400, "INVALID_ARGUMENT", "Invalid value at 'overrides.timeout'")
        return self._operation(self.begin(job, overrides))

    def _operation(self, name: str) -> Answered:
        metadata = {"@type": "type.googleapis.com/google.cloud.run.v2.Execution", **self.executions[name]}
        place = name.partition("/jobs/")[0]
        return Answered(200, {"name": f"{place}/operations/op-{len(self.executions)}", "metadata": metadata})

    def _list(self, job: str, query: Mapping[str, str]) -> Answered:
        names = [name for name in reversed(self.executions) if name.startswith(f"{job}/executions/")]
        first, size = int(query.get("pageToken", 0)), int(query.get("pageSize", 100))
        page = {"executions": [self._seen(name) for name in names[first : first + size]]}
        more = {"nextPageToken": str(first + size)} if len(names) > first + size else {}
        return Answered(200, {**page, **more} if names else {})

    def _execution(self, method: str, name: str, rest: list[str]) -> Answered:
        is_cancel = name.endswith(":cancel")
        name = name.removesuffix(":cancel")
        if name not in self.executions:
            return _error(404, "NOT_FOUND", f"Resource '{name.rpartition('/')[2]}' was not found")
        if method == "GET":
            return Answered(200, self._tasks(name) if rest == ["tasks"] else self._seen(name))
        if not is_cancel:
            return _error(404, "NOT_FOUND", "not a path of this service")
        if name not in self.running():
            return _error(400, "FAILED_PRECONDITION", "the execution has completed")
        if self.slow_to_cancel:
            self.slow_to_cancel -= 1
        else:
            self.end(name, "cancelled")
        return self._operation(name)

    def _seen(self, name: str) -> dict[str, Any]:
        process = self._processes.get(name)
        if process is not None and process.poll() is not None and name in self.running():
            self.end(name, "failed" if process.returncode else "succeeded")
        seen: dict[str, Any] = json.loads(json.dumps(self.executions[name]))
        return seen

    def _tasks(self, name: str) -> dict[str, Any]:
        execution = self.executions[name]
        failed = execution.get("failedCount", 0)
        result = {"exitCode": 3, "status": {"code": 2, "message": "boom"}}
        tasks = [{"name": f"{name}/tasks/t{n}", "index": n} for n in range(execution["taskCount"])]
        for n, task in enumerate(tasks):
            if not n:
                del task["index"]
            if n < failed:
                task |= {"conditions": [_completed("CONDITION_FAILED")], "lastAttemptResult": result}
        return {"tasks": tasks}


def _completed(state: str, **more: Any) -> dict[str, Any]:
    return {"type": "Completed", "state": state, **{key: value for key, value in more.items() if value}}


def _error(code: int, status: str, message: str) -> Answered:
    return Answered(code, {"error": {"code": code, "status": status, "message": message}})
