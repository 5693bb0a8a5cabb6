"""Dataform's REST API, as far as a run needs it: https://cloud.google.com/dataform/reference/rest"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from run.clients.rest import Answer, google_rest
from run.errors import PermanentFailure, Unavailable

#: As many entries as are asked for on a page; Dataform may give fewer.
_PAGE = 1000
#: A compilation takes up to 30 s (https://docs.cloud.google.com/dataform/docs/quotas), and its answer comes after that.
_COMPILE_SECONDS = 90.0
#: Answers after which nothing is known, or nothing has happened yet; 409 is a call that met another one.
_PASSING = frozenset({408, 409, 429})
_OVER = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
_EDITOR = "; the service account may lack roles/dataform.editor on the repository"


@dataclass(frozen=True)
class Repository:
    """A repository of Dataform: where the code is that is compiled and invoked."""

    project: str
    location: str
    id: str

    @property
    def path(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/repositories/{self.id}"

    def __str__(self) -> str:
        return f"repository {self.id} in {self.location} of {self.project}"


@dataclass(frozen=True)
class Compilation:
    """A compilation result. `config` is a REST CodeCompilationConfig, `errors` are REST CompilationErrors."""

    name: str
    commit: str | None
    config: Mapping[str, Any]
    errors: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Release:
    """A release config; `compilation_result` is the name of its latest one, None when there is none yet."""

    name: str
    commitish: str
    config: Mapping[str, Any]
    compilation_result: str | None


@dataclass(frozen=True)
class Action:
    """What a compilation result could run; `canonical` is its name without the suffixes and prefixes of a release."""

    target: Mapping[str, str]
    canonical: Mapping[str, str]
    tags: frozenset[str]


@dataclass(frozen=True)
class Invocation:
    """One run of a compilation result, as Dataform tells it."""

    name: str
    state: str
    began: datetime | None
    ended: datetime | None

    @property
    def is_over(self) -> bool:
        return self.state in _OVER


@dataclass(frozen=True)
class DoneAction:
    """What has become of one action of an invocation."""

    target: str
    state: str
    reason: str = ""
    job_id: str | None = None


class Dataform:
    """A thin client; no method waits for an invocation. Threads may share it.

    Every method raises PermanentFailure when Dataform refuses, and Unavailable when it does not answer or is busy: what
    was asked for may then have happened.
    """

    def __init__(self, url: str) -> None:
        self._rest = google_rest(url)

    def compile(self, repository: Repository, source: Mapping[str, Any]) -> Compilation:
        """Compile; `source` is a REST CompilationResult. Errors in the code are in what is returned."""
        doing = f"compiling {repository}"
        path = f"{repository.path}/compilationResults"
        return _compilation(doing, self._good(doing, "POST", path, json=dict(source), seconds=_COMPILE_SECONDS))

    def compilation(self, name: str) -> Compilation:
        """The compilation result of this name."""
        doing = f"reading {name}"
        return _compilation(doing, self._good(doing, "GET", name))

    def release(self, repository: Repository, release: str) -> Release:
        """The release config of this id."""
        name = f"{repository.path}/releaseConfigs/{release}"
        doing = f"reading release {release} of {repository}"
        told = self._good(doing, "GET", name)
        with _understood(doing):
            result = told.get("releaseCompilationResult") or None
            return Release(name, str(told["gitCommitish"]), told.get("codeCompilationConfig") or {}, result)

    def actions(self, compilation_result: str) -> list[Action]:
        """What this compilation result could run: all its actions but the declarations of data that is there."""
        doing = f"reading the actions of {compilation_result}"
        told = self._all_pages(doing, f"{compilation_result}:query", "compilationResultActions")
        with _understood(doing):
            return [_action(one) for one in told if "declaration" not in one]

    def invoke(self, compilation_result: str, config: Mapping[str, Any]) -> Invocation:
        """Begin an invocation, which Dataform does every time; `config` is a REST InvocationConfig."""
        doing = f"invoking {compilation_result}"
        runner = config.get("serviceAccount") or "the service account that the repository runs as"
        advice = f"{_EDITOR}, or iam.serviceAccounts.actAs (roles/iam.serviceAccountUser) on {runner}"
        body = {"compilationResult": compilation_result, "invocationConfig": dict(config)}
        path = f"{_repository_of(compilation_result)}/workflowInvocations"
        told = self._good(doing, "POST", path, json=body, forbidden=advice)
        with _understood(doing):
            return _invocation(told)

    def invocations(self, compilation_result: str) -> list[Invocation]:
        """All invocations of this compilation result, in no order, whoever began them.

        Dataform does not say how its list could be filtered, so all of the repository are read.
        """
        doing = f"looking for invocations of {compilation_result}"
        told = self._all_pages(
            doing, f"{_repository_of(compilation_result)}/workflowInvocations", "workflowInvocations"
        )
        with _understood(doing):
            wanted = _id(compilation_result)
            return [_invocation(one) for one in told if _id(one.get("compilationResult", "")) == wanted]

    def find_invocation(self, name: str) -> Invocation | None:
        """The invocation of this name; None when there is none."""
        doing = f"asking for {name}"
        answer = self._rest.call("GET", f"/v1/{name}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        with _understood(doing):
            return _invocation(_told(doing, answer))

    def done_actions(self, invocation: str) -> list[DoneAction]:
        """The actions of an invocation."""
        doing = f"reading the actions of {invocation}"
        told = self._all_pages(doing, f"{invocation}:query", "workflowInvocationActions")
        with _understood(doing):
            return [_done_action(one) for one in told]

    def cancel(self, invocation: str) -> None:
        """Ask for the end of an invocation; one that is over already, or gone, stays as it is."""
        answer = self._rest.call("POST", f"/v1/{invocation}:cancel", json={})
        if not answer.is_good and answer.status not in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
            raise _problem(f"cancelling {invocation}", answer, _EDITOR)

    def _all_pages(self, doing: str, path: str, key: str) -> list[Mapping[str, Any]]:
        entries: list[Mapping[str, Any]] = []
        params: dict[str, Any] = {"pageSize": _PAGE}
        while True:
            told = self._good(doing, "GET", path, params=params)
            entries += told.get(key) or ()
            if not told.get("nextPageToken"):
                return entries
            params["pageToken"] = told["nextPageToken"]

    def _good(self, doing: str, method: str, path: str, *, forbidden: str = _EDITOR, **more: Any) -> Mapping[str, Any]:
        return _told(doing, self._rest.call(method, f"/v1/{path}", **more), forbidden)


def _told(doing: str, answer: Answer, forbidden: str = _EDITOR) -> Mapping[str, Any]:
    if not answer.is_good:
        raise _problem(doing, answer, forbidden)
    if not isinstance(answer.body, dict):
        raise Unavailable(f"{doing}: the answer is not Dataform's")
    return answer.body


def _problem(doing: str, answer: Answer, forbidden: str) -> Exception:
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    said = error.get("message") if isinstance(error, dict) else str(answer.body or "")[:500]
    text = f"{doing}: {said or 'Dataform gave no message'} (status {answer.status})"
    if answer.status in _PASSING or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(text)
    return PermanentFailure(text + forbidden if answer.status == HTTPStatus.FORBIDDEN else text)


@contextmanager
def _understood(doing: str) -> Iterator[None]:
    """What is no answer of Dataform's says nothing about what it has done."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable(f"{doing}: the answer is not understood ({type(error).__name__}: {error})") from error


def _id(name: str) -> str:
    """The last part of a name: what is before it has the project's id in one answer and its number in another."""
    return name.rpartition("/")[2]


def _repository_of(compilation_result: str) -> str:
    return compilation_result.rpartition("/compilationResults/")[0]


def _name(told: Mapping[str, Any]) -> str:
    if not isinstance(told["name"], str):
        raise TypeError("a name is a text")
    return told["name"]


def _compilation(doing: str, told: Mapping[str, Any]) -> Compilation:
    with _understood(doing):
        return Compilation(
            name=_name(told),
            commit=told.get("resolvedGitCommitSha"),
            config=told.get("codeCompilationConfig") or {},
            errors=tuple(dict(one) for one in told.get("compilationErrors") or ()),
        )


def _action(told: Mapping[str, Any]) -> Action:
    # Its tags are where the kind of action is told: under `relation`, `operations`, `assertion`, `notebook`, ...
    tags = [part.get("tags") or () for part in told.values() if isinstance(part, dict)]
    target = told["target"]
    return Action(target, told.get("canonicalTarget") or target, frozenset(tag for some in tags for tag in some))


def _invocation(told: Mapping[str, Any]) -> Invocation:
    timing = told.get("invocationTiming") or {}
    return Invocation(
        name=_name(told),
        state=str(told.get("state", "")),
        began=_moment(timing.get("startTime")),
        ended=_moment(timing.get("endTime")),
    )


def _done_action(told: Mapping[str, Any]) -> DoneAction:
    return DoneAction(
        target=dotted(told["target"]),
        state=str(told.get("state", "")),
        reason=str(told.get("failureReason") or ""),
        job_id=(told.get("bigqueryAction") or {}).get("jobId"),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def dotted(target: Mapping[str, str]) -> str:
    """The name of an action as people write it: project.dataset.name."""
    return ".".join(target[part] for part in ("database", "schema", "name") if target.get(part))
