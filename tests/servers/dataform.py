"""Dataform's compilation results, workflow invocations and release configs, over their REST protocol.

https://cloud.google.com/dataform/reference/rest. As the real one, it names projects by their id where it names a
resource itself and by their number where it refers to one, answers 200 for code that does not compile, takes no id of
the caller's, and ends a cancelled invocation only after a while.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from tests.servers.dataform_code import NUMBER, PROJECT, SOURCES, Code, Refusal, refuse, refuse_unknown, target
from tests.servers.wire import Answered, Asked, WireServer

_REPOSITORY = r"(?P<repository>projects/[^/]+/locations/[^/]+/repositories/[^/:]+)"
_Kept = TypeVar("_Kept")
_Act = Callable[[Code, str, Asked], dict[str, Any]]
_RESULT, _INVOCATION = "/compilationResults/[^/:]+", "/workflowInvocations/[^/:]+"


class DataformServer(WireServer):
    """Has the repositories that the test adds; invocations run until the test says `end`."""

    def __init__(self) -> None:
        super().__init__()
        #: Repositories, compilation results and invocations by their full names, the actions of each invocation too.
        self.code: dict[str, Code] = {}
        self.compilations: dict[str, dict[str, Any]] = {}
        self.invocations: dict[str, dict[str, Any]] = {}
        self.done: dict[str, list[dict[str, Any]]] = {}
        #: The service accounts that the caller may act as; None is all of them.
        self.may_act_as: set[str] | None = None
        #: A page has no more entries than that, however many are asked for.
        self.page = 1000
        #: How many looks an invocation stays CANCELING.
        self.looks_until_cancelled = 1
        #: How many lists do not show the newest invocation yet.
        self.late_lists = 0
        #: How long ago invocations seem to have begun.
        self.age = timedelta(0)
        #: Called before the server acts; the request waits for it, others do not.
        self.before: Callable[[Asked], object] = bool
        self._ids = count(1)

    def repository(self, name: str = "sales", **code: Any) -> Code:
        """Add a repository in europe-west1 of acme."""
        path = f"projects/{PROJECT}/locations/europe-west1/repositories/{name}"
        self.code[path] = Code(path, **code)
        return self.code[path]

    def begin(self, compilation: str, config: Mapping[str, Any] | None = None) -> str:
        """Let somebody begin an invocation; its name."""
        path = compilation.rpartition("/compilationResults/")[0]
        began = datetime.now(UTC) - self.age
        name = f"{path}/workflowInvocations/{int(began.timestamp())}-{next(self._ids):012d}"
        self.invocations[name] = {
            "name": name,
            "compilationResult": _by_number(compilation),
            "resolvedCompilationResult": _by_number(compilation),
            **({"invocationConfig": config} if config else {}),
            "state": "RUNNING",
            "invocationTiming": {"startTime": _written(began)},
        }
        chosen = self.code[path].chosen(config or {})
        self.done[name] = [
            {"target": target(one), "canonicalTarget": target(one), "state": "RUNNING"} for one in chosen
        ]
        return name

    def end(self, state: str = "SUCCEEDED", reasons: Mapping[str, str] | None = None) -> None:
        """End all that runs; actions with a reason have failed, and those that need them are skipped."""
        for name, invocation in self.invocations.items():
            if invocation["state"] == "RUNNING":
                self._end(name, state, reasons or {})

    def states(self) -> list[str]:
        """The state of every invocation, in the order of their beginning."""
        return [one["state"] for one in self.invocations.values()]

    def ran(self) -> list[list[str]]:
        """The actions of every invocation, in the order of their beginning."""
        return [[one["target"]["name"] for one in self.done[name]] for name in self.invocations]

    def take(self, asked: Asked) -> Answered | None:
        self.before(asked)
        return super().take(asked)

    def answer(self, asked: Asked) -> Answered:
        for method, resource, verb, act in self._calls():
            found = re.fullmatch(f"/v1/(?P<name>{_REPOSITORY}{resource}){verb}", asked.path)
            if method == asked.method and found:
                try:
                    return Answered(200, act(_found(self.code, found["repository"]), found["name"], asked))
                except Refusal as refusal:
                    return refusal.answered
        return Answered(404, "not a path of this service")

    def _calls(self) -> tuple[tuple[str, str, str, _Act], ...]:
        return (
            ("POST", "/compilationResults", "", self._compile),
            ("GET", _RESULT, "", lambda _code, name, _asked: _found(self.compilations, name)),
            ("GET", _RESULT, ":query", self._compiled_actions),
            ("GET", "/releaseConfigs/[^/:]+", "", lambda code, name, _asked: code.release(name)),
            ("POST", "/workflowInvocations", "", self._invoke),
            ("GET", "/workflowInvocations", "", self._list),
            ("GET", _INVOCATION, "", lambda _code, name, _asked: self._looked_at(_found(self.invocations, name))),
            ("GET", _INVOCATION, ":query", self._done_actions),
            ("POST", _INVOCATION, ":cancel", self._cancel),
        )

    def _compile(self, code: Code, _name: str, asked: Asked) -> dict[str, Any]:
        wanted = asked.json
        commit, settings = code.resolved(wanted)
        name = f"{code.path}/compilationResults/{next(self._ids):08d}-5a74-41e5-8f8e-68bc5d62892f"
        self.compilations[name] = {
            "name": name,
            **{source: _by_number(wanted[source]) for source in SOURCES if source in wanted},
            **({"codeCompilationConfig": settings} if settings else {}),
            **({"resolvedGitCommitSha": commit} if commit else {}),
            "dataformCoreVersion": "3.0.0",
            **({"compilationErrors": code.errors} if code.errors else {}),
            "createTime": _written(datetime.now(UTC)),
        }
        return self.compilations[name]

    def _compiled_actions(self, code: Code, name: str, asked: Asked) -> dict[str, Any]:
        actions = code.compiled(_suffix(_found(self.compilations, name)))
        return self._paged("compilationResultActions", actions, asked)

    def _invoke(self, code: Code, _name: str, asked: Asked) -> dict[str, Any]:
        wanted = asked.json
        refuse_unknown(wanted, {"compilationResult", "workflowConfig", "invocationConfig"})
        if len({"compilationResult", "workflowConfig"} & wanted.keys()) != 1:
            refuse(400, "INVALID_ARGUMENT", "oneof field 'compilation_source' must have exactly one value")
        compilation = _found(self.compilations, wanted.get("compilationResult", ""))
        if "compilationErrors" in compilation:
            refuse(400, "FAILED_PRECONDITION", "Cannot invoke a compilation result with compilation errors")
        config = wanted.get("invocationConfig", {})
        code.refuse_wrong(config, _suffix(compilation))
        runner = config.get("serviceAccount", f"{NUMBER}-compute@developer.gserviceaccount.com")
        if self.may_act_as is not None and runner not in self.may_act_as:
            refuse(403, "PERMISSION_DENIED", f"The caller does not have permission to act as {runner}")
        return self.invocations[self.begin(compilation["name"], config)]

    def _list(self, code: Code, _name: str, asked: Asked) -> dict[str, Any]:
        own = [self._looked_at(one) for name, one in self.invocations.items() if name.startswith(f"{code.path}/")]
        if self.late_lists and own:
            self.late_lists -= 1
            own = own[:-1]
        return self._paged("workflowInvocations", own, asked)

    def _looked_at(self, invocation: dict[str, Any]) -> dict[str, Any]:
        """The invocation as it is told; a cancelled one ends with the looks at it."""
        told = dict(invocation)
        if told["state"] == "CANCELING":
            self.looks_until_cancelled -= 1
            if self.looks_until_cancelled < 0:
                self._end(told["name"], "CANCELLED", {})
                return dict(invocation)
        return told

    def _done_actions(self, _code: Code, name: str, asked: Asked) -> dict[str, Any]:
        return self._paged("workflowInvocationActions", _found(self.done, name), asked)

    def _cancel(self, _code: Code, name: str, _asked: Asked) -> dict[str, Any]:
        invocation = _found(self.invocations, name)
        if invocation["state"] not in {"RUNNING", "CANCELING"}:
            refuse(400, "FAILED_PRECONDITION", f"Workflow invocation is {invocation['state']}")
        invocation["state"] = "CANCELING"
        return {}

    def _end(self, name: str, state: str, reasons: Mapping[str, str]) -> None:
        invocation = self.invocations[name]
        invocation["state"] = state
        invocation["invocationTiming"] = {**invocation["invocationTiming"], "endTime": _written(datetime.now(UTC))}
        needs = self.code[name.rpartition("/workflowInvocations/")[0]].runnable
        stopped: set[str] = set()
        for action in self.done[name]:
            one = action["target"]["name"]
            if one in reasons:
                action |= {"state": "FAILED", "failureReason": reasons[one], "bigqueryAction": {"jobId": f"job-{one}"}}
                stopped.add(one)
            elif stopped & set(needs[one]):
                action["state"] = "SKIPPED"
                stopped.add(one)
            else:
                action["state"] = "CANCELLED" if state == "CANCELLED" else "SUCCEEDED"
                action["bigqueryAction"] = {"jobId": f"job-{one}", "sqlScript": "SELECT 1"}

    def _paged(self, key: str, entries: list[dict[str, Any]], asked: Asked) -> dict[str, Any]:
        if unknown := asked.query.keys() - {"pageSize", "pageToken"}:
            refuse(400, "INVALID_ARGUMENT", f"Cannot bind query parameter {sorted(unknown)}")
        size = min(int(asked.query.get("pageSize", 50)) or 50, self.page)
        first = int(asked.query.get("pageToken", 0))
        more = {"nextPageToken": str(first + size)} if first + size < len(entries) else {}
        # As all of Google's services, it leaves out what is empty.
        return {**({key: entries[first : first + size]} if entries else {}), **more}


def _found(kept: Mapping[str, _Kept], name: str) -> _Kept:
    if name not in kept:
        refuse(404, "NOT_FOUND", f"Resource {name} not found")
    return kept[name]


def _suffix(compilation: Mapping[str, Any]) -> str | None:
    suffix: str | None = compilation.get("codeCompilationConfig", {}).get("schemaSuffix")
    return suffix


def _by_number(name: str) -> str:
    return name.replace(f"projects/{PROJECT}/", f"projects/{NUMBER}/")


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
