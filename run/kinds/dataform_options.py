"""What a `dataform_run` task says, and what Dataform is asked for because of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from run.clients.dataform import Action, Dataform, Release, Repository, dotted
from run.errors import PermanentFailure
from run.kinds.bigquery_names import strict_template_problems
from run.kinds.kind import KindConfig
from run.workflows.problems import did_you_mean
from run.workflows.scope import Scope
from run.workflows.templates import TemplateError, Value, render, template_problems

_ID = (r"[A-Za-z0-9_-]+", "letters, digits, '_' and '-'")
#: What a value looks like when its template is filled, in a regular expression and in words.
_SHAPES: Mapping[str, tuple[str, str]] = {
    "project": (r"[a-z0-9][a-z0-9.:-]*", "the id of a project"),
    "location": (r"[a-z0-9-]+", "a location such as europe-west1"),
    "repository": _ID,
    "workspace": _ID,
    "release": _ID,
    "commit": (r"[^\s{}]+", "a branch, a tag or a commit"),
    "service_account": (r"[^@\s]+@[^@\s]+", "the e-mail of a service account"),
    "targets": (r"[^\s{}]+", "name, dataset.name or project.dataset.name"),
    "tags": (r"[^{}]+", "a tag"),
}
_MOST_SHOWN = 10


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class DataformRunConfig(KindConfig):
    """The keys of a `dataform_run` task; all texts are templates."""

    project: str = "{project}"
    location: str
    repository: str
    commit: str | None = None
    workspace: str | None = None
    release: str | None = None
    as_released: bool = False
    vars: dict[str, str] = Field(default_factory=dict)
    targets: _Names = ()
    tags: _Names = ()
    everything: bool = False
    dependencies: bool = False
    dependents: bool = False
    full_refresh: bool = False
    service_account: str | None = None
    priority: Literal["interactive", "batch"] | None = None

    @model_validator(mode="after")
    def _with_one_source(self) -> Self:
        if [self.commit, self.workspace, self.release].count(None) != 2:  # noqa: PLR2004 - all but one
            raise ValueError("write one of commit, workspace and release: what is compiled")
        if self.as_released and self.release is None:
            raise ValueError("as_released is for a release")
        return self

    @model_validator(mode="after")
    def _with_a_choice(self) -> Self:
        chosen = bool(self.targets or self.tags)
        if chosen == self.everything:
            raise ValueError("write targets, tags or both, or else everything: true")
        if self.everything and (self.dependencies or self.dependents):
            raise ValueError("everything has its dependencies and dependents already")
        return self


def problems_of(config: DataformRunConfig, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) for what is wrong with the templates."""
    for key, (shape, words) in _SHAPES.items():
        for template in _texts(config, key):
            problems = list(strict_template_problems(template, scope.names))
            if not problems and not re.fullmatch(shape, re.sub(r"\{[^{}]*\}", "x", template)):
                problems = [f"'{template}' is not {words}"]
            yield from ((key, problem) for problem in problems)
    for template in config.vars.values():
        yield from (("vars", problem) for problem in template_problems(template, scope.names))


def repository_of(config: DataformRunConfig, values: Mapping[str, Value]) -> Repository:
    """The repository with its templates filled; raises PermanentFailure."""
    project, location, repository = (_filled(config, key, values)[0] for key in ("project", "location", "repository"))
    return Repository(project, location, repository)


def source_of(
    config: DataformRunConfig, values: Mapping[str, Value], repository: Repository, dataform: Dataform
) -> dict[str, Any]:
    """The REST CompilationResult to ask for; raises what Dataform raises."""
    variables = {name: _rendered(template, values) for name, template in config.vars.items()}
    settings = {"codeCompilationConfig": {"vars": variables}} if variables else {}
    if config.commit is not None:
        return {"gitCommitish": _filled(config, "commit", values)[0], **settings}
    if config.workspace is not None:
        return {"workspace": f"{repository.path}/workspaces/{_filled(config, 'workspace', values)[0]}", **settings}
    [release] = _filled(config, "release", values)
    if not variables and not config.as_released:
        return {"releaseConfig": f"{repository.path}/releaseConfigs/{release}"}
    # Whether settings beside a release config replace its own is not documented, so they are put together here.
    found = dataform.release(repository, release)
    commit, released = _as_released(dataform, found) if config.as_released else (found.commitish, found.config)
    merged = {**released, "vars": {**(released.get("vars") or {}), **variables}}
    return {"gitCommitish": commit, "codeCompilationConfig": merged}


def _as_released(dataform: Dataform, release: Release) -> tuple[str, Mapping[str, Any]]:
    if release.compilation_result is None:
        raise PermanentFailure(f"{release.name} has no compilation result yet")
    latest = dataform.compilation(release.compilation_result)
    if not latest.commit:
        raise PermanentFailure(f"{latest.name} does not say which commit it was compiled from")
    return latest.commit, latest.config


def invocation_of(
    config: DataformRunConfig, values: Mapping[str, Value], compilation_result: str, dataform: Dataform
) -> dict[str, Any]:
    """The REST InvocationConfig to ask for; raises PermanentFailure when a target or a tag is not there."""
    request: dict[str, Any] = {
        "transitiveDependenciesIncluded": config.dependencies,
        "transitiveDependentsIncluded": config.dependents,
        "fullyRefreshIncrementalTablesEnabled": config.full_refresh,
    }
    if not config.everything:
        # Dataform takes whole targets only, and a run of nothing would be a success.
        actions = dataform.actions(compilation_result)
        request["includedTargets"] = [_target(wanted, actions) for wanted in _filled(config, "targets", values)]
        request["includedTags"] = [_tag(wanted, actions) for wanted in _filled(config, "tags", values)]
    if config.service_account is not None:
        [request["serviceAccount"]] = _filled(config, "service_account", values)
    if config.priority is not None:
        request["queryPriority"] = config.priority.upper()
    return {key: value for key, value in request.items() if value}


def _target(wanted: str, actions: Sequence[Action]) -> dict[str, str]:
    found = [one for one in actions if _is_called(wanted, one.target) or _is_called(wanted, one.canonical)]
    whole = [one for one in found if wanted in {dotted(one.target), dotted(one.canonical)}]
    match whole or found:
        case [action]:
            return dict(action.target)
        case []:
            names = [dotted(one.target) for one in actions]
            short = {name.rpartition(".")[2] for name in names}
            near = did_you_mean(wanted, {*names, *short}) or f"; there are: {_some(names)}"
            raise PermanentFailure(f"no action is called '{wanted}'{near}")
        case several:
            raise PermanentFailure(f"'{wanted}' may be any of {_some([dotted(one.target) for one in several])}")


def _is_called(wanted: str, target: Mapping[str, str]) -> bool:
    return f".{dotted(target)}".endswith(f".{wanted}")


def _tag(wanted: str, actions: Sequence[Action]) -> str:
    known = {tag for one in actions for tag in one.tags}
    if wanted not in known:
        near = did_you_mean(wanted, known) or f"; there are: {_some(list(known)) or 'none'}"
        raise PermanentFailure(f"no action has the tag '{wanted}'{near}")
    return wanted


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(sorted(names)[:_MOST_SHOWN]) + more


def _texts(config: DataformRunConfig, key: str) -> tuple[str, ...]:
    value: str | tuple[str, ...] | None = getattr(config, key)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _filled(config: DataformRunConfig, key: str, values: Mapping[str, Value]) -> list[str]:
    """The texts of this key, filled; raises PermanentFailure when one is not what it should be."""
    shape, words = _SHAPES[key]
    texts = [_rendered(template, values) for template in _texts(config, key)]
    for text in texts:
        if not re.fullmatch(shape, text):
            raise PermanentFailure(f"{key}: '{text}' is not {words}")
    return texts


def _rendered(template: str, values: Mapping[str, Value]) -> str:
    try:
        return render(template, values)
    except TemplateError as error:
        raise PermanentFailure(str(error)) from error
