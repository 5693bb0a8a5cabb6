"""What is in a repository of Dataform, and what it refuses: the part of the small server that knows no HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tests.servers.wire import Answered

PROJECT, NUMBER = "acme", "733328912700"
SOURCES = ("gitCommitish", "workspace", "releaseConfig")
SETTINGS = {"defaultDatabase", "defaultSchema", "defaultLocation", "assertionSchema", "vars"}
SETTINGS |= {"databaseSuffix", "schemaSuffix", "tablePrefix", "builtinAssertionNamePrefix"}
INVOCATION = {
    "includedTargets",
    "includedTags",
    "transitiveDependenciesIncluded",
    "transitiveDependentsIncluded",
    "fullyRefreshIncrementalTablesEnabled",
    "serviceAccount",
    "queryPriority",
}


class Refusal(Exception):
    """An error that is answered."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.answered = error(code, status, message)


def error(code: int, status: str, message: str) -> Answered:
    """An error as Google writes it."""
    return Answered(code, {"error": {"code": code, "status": status, "message": message}})


def refuse(code: int, status: str, message: str) -> NoReturn:
    raise Refusal(code, status, message)


def refuse_unknown(told: Mapping[str, Any], known: set[str]) -> None:
    for name in told.keys() - known:
        refuse(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. Unknown name {name!r}: Cannot find field.")


def target(name: str, suffix: str | None = None) -> dict[str, str]:
    """The target of an action; all are in the dataset `reports`."""
    return {"database": PROJECT, "schema": f"reports_{suffix}" if suffix else "reports", "name": name}


@dataclass
class Code:
    """One repository: its branches with their commits, its workspaces and releases, and what its code says."""

    #: Its full name.
    path: str
    commits: dict[str, str] = field(default_factory=lambda: {"main": "c0ffee"})
    workspaces: set[str] = field(default_factory=set)
    releases: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: The names of actions, each with what it needs; those without a list are declarations.
    actions: dict[str, list[str] | None] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def runnable(self) -> dict[str, list[str]]:
        return {name: needs for name, needs in self.actions.items() if needs is not None}

    def resolved(self, wanted: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
        """The commit, which a workspace has not, and the settings that a CompilationResult asks for."""
        refuse_unknown(wanted, {*SOURCES, "codeCompilationConfig"})
        settings = wanted.get("codeCompilationConfig", {})
        refuse_unknown(settings, SETTINGS)
        if not all(isinstance(value, str) for value in settings.get("vars", {}).values()):
            refuse(400, "INVALID_ARGUMENT", "Invalid value at 'compilation_result.code_compilation_config.vars'")
        match [source for source in SOURCES if source in wanted]:
            case ["gitCommitish"]:
                return self._commit(wanted["gitCommitish"]), settings
            case ["workspace"]:
                if wanted["workspace"] not in {f"{self.path}/workspaces/{one}" for one in self.workspaces}:
                    refuse(404, "NOT_FOUND", f"Workspace {wanted['workspace']} not found")
                return None, settings
            case ["releaseConfig"]:
                release = self.release(wanted["releaseConfig"])
                return self._commit(release["gitCommitish"]), release.get("codeCompilationConfig", {})
        refuse(400, "INVALID_ARGUMENT", "oneof field 'source' must have exactly one value")

    def release(self, name: str) -> dict[str, Any]:
        """The release config of this full name."""
        releases = {f"{self.path}/releaseConfigs/{one}": config for one, config in self.releases.items()}
        if name not in releases:
            refuse(404, "NOT_FOUND", f"Release config {name} not found")
        return {"name": name, **releases[name]}

    def _commit(self, commitish: str) -> str:
        if commitish not in {*self.commits, *self.commits.values()}:
            refuse(400, "FAILED_PRECONDITION", f"Could not resolve git commitish {commitish}")
        return self.commits.get(commitish, commitish)

    def compiled(self, suffix: str | None) -> list[dict[str, Any]]:
        """The CompilationResultActions with this schema suffix."""
        actions = []
        for name, needs in self.actions.items():
            what = {"declaration": {}} if needs is None else {"relation": {"tags": self.tags.get(name, [])}}
            actions.append({"target": target(name, suffix), "canonicalTarget": target(name), **what})
        return actions

    def refuse_wrong(self, config: Mapping[str, Any], suffix: str | None) -> None:
        """Refuse an InvocationConfig that does not fit."""
        refuse_unknown(config, INVOCATION)
        known = [target(name, suffix) for name in self.runnable]
        for wanted in config.get("includedTargets", []):
            if wanted not in known:
                refuse(400, "INVALID_ARGUMENT", f"Target {wanted} not found in the compilation result")
        if config.get("queryPriority", "BATCH") not in {"INTERACTIVE", "BATCH"}:
            refuse(400, "INVALID_ARGUMENT", "Invalid value at 'invocation_config.query_priority'")

    def chosen(self, config: Mapping[str, Any]) -> list[str]:
        """The actions that an InvocationConfig runs, in the order of the code."""
        targets, tags = config.get("includedTargets", []), set(config.get("includedTags", []))
        if not targets and not tags:
            return list(self.runnable)
        names = {one["name"] for one in targets} | {
            name for name in self.runnable if tags & set(self.tags.get(name, []))
        }
        below = {name: [one for one, needs in self.runnable.items() if name in needs] for name in self.runnable}
        chosen = set(names)
        if config.get("transitiveDependenciesIncluded"):
            chosen |= _reached(names, self.runnable)
        if config.get("transitiveDependentsIncluded"):
            chosen |= _reached(names, below)
        return [name for name in self.runnable if name in chosen]


def _reached(names: Iterable[str], edges: Mapping[str, list[str]]) -> set[str]:
    reached: set[str] = set()
    ahead = list(names)
    while ahead:
        for name in edges.get(ahead.pop(), []):
            if name in edges and name not in reached:
                reached.add(name)
                ahead.append(name)
    return reached
