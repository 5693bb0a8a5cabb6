"""`dataform_run`: code in Dataform is compiled for this batch, and actions of it are run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from run.clients.dataform import Compilation, Dataform, DoneAction, Invocation, Repository
from run.clients.google_failures import PASSING_REASONS, is_concurrent_update
from run.errors import PassingFailure, PermanentFailure, TaskFailure
from run.kinds.dataform_options import DataformRunConfig, invocation_of, problems_of, repository_of, source_of
from run.kinds.kind import Finished, GoesOn, Kind, Progress, Work
from run.workflows.scope import Scope

_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.0, 30.0
#: An invocation is asked for again after this part of the time that it has taken so far.
_PART = 0.25
_MOST_TOLD, _MOST_KEPT = 10, 100
_ENDED_BY_SOMEBODY = frozenset({"CANCELING", "CANCELLED"})
_LATEST = datetime.max.replace(tzinfo=UTC)


class DataformRun(Kind[DataformRunConfig]):
    """Compiles, runs chosen actions, and waits until Dataform says that they are done.

    Dataform takes no key of ours and begins an invocation whenever it is asked to. But a compilation result belongs to
    one attempt: `start` makes it, and what it stores as the handle is all that `poll` begins an invocation of. So any
    invocation of it is the attempt's own, whichever worker has begun it.
    """

    name = "dataform_run"
    config = DataformRunConfig
    #: What the client did not understand says nothing of the invocation, so it must not begin another attempt.
    passing: ClassVar[tuple[type[Exception], ...]] = ()
    timeout_seconds: ClassVar[int | None] = 24 * 3600

    def problems(self, config: DataformRunConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        return problems_of(config, scope)

    def start(self, config: DataformRunConfig, work: Work) -> Progress:
        """Compile, which changes nothing: a second compilation by another worker is one result too many, no more."""
        dataform = self.clients.dataform
        repository = repository_of(config, work.values)
        compiled = dataform.compile(repository, source_of(config, work.values, repository, dataform))
        if compiled.errors:
            raise _does_not_compile(repository, compiled)
        wanted = invocation_of(config, work.values, compiled.name, dataform)
        return GoesOn({"compilation_result": compiled.name, "commit": compiled.commit, "invocation_config": wanted}, 0)

    def poll(self, config: DataformRunConfig, work: Work, handle: Mapping[str, Any]) -> Progress:  # noqa: ARG002
        """Ask for the invocation; adopt or begin it when the handle knows none yet."""
        dataform = self.clients.dataform
        invocation = dataform.find_invocation(handle["invocation"]) if "invocation" in handle else None
        if invocation is None or invocation.state in _ENDED_BY_SOMEBODY:
            # Perhaps by another worker of this attempt, which found that it was not the first.
            invocation = self._only_one(work, handle, [invocation] if invocation else [])
        if not invocation.is_over:
            return GoesOn({**handle, "invocation": invocation.name}, _seconds_until_next_look(invocation))
        return _finished(dataform, handle, invocation)

    def cancel(self, config: DataformRunConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:  # noqa: ARG002
        """End every invocation of the attempt's compilation result; without a handle none can have been begun."""
        if handle is None:
            return True
        dataform = self.clients.dataform
        known = dataform.find_invocation(handle["invocation"]) if "invocation" in handle else None
        running = [one for one in self._own(handle, [known] if known else []) if not one.is_over]
        for one in running:
            dataform.cancel(one.name)
        return not running

    def _own(self, handle: Mapping[str, Any], seen: Iterable[Invocation]) -> list[Invocation]:
        """The attempt's invocations, with those that were seen, which a list may not show yet."""
        listed = self.clients.dataform.invocations(handle["compilation_result"])
        return list({one.name: one for one in (*seen, *listed)}.values())

    def _only_one(self, work: Work, handle: Mapping[str, Any], seen: Sequence[Invocation]) -> Invocation:
        """The attempt's invocation, begun unless there is one; any further one is ended."""
        own = self._own(handle, seen)
        if not own:
            if "invocation" in handle:
                raise PermanentFailure(f"{handle['invocation']} is not there any more; somebody has deleted it")
            # A worker that has slept since it looked, and has lost the attempt meanwhile, must not begin another one.
            work.store_handle(handle)
            begun = self.clients.dataform.invoke(handle["compilation_result"], handle["invocation_config"])
            # A worker that sleeps just now may find another one there when it wakes: whoever comes later yields.
            own = self._own(handle, [begun])
        first = min(own, key=_order)
        for one in own:
            if one is not first and not one.is_over:
                self.clients.dataform.cancel(one.name)
        return first


def _order(invocation: Invocation) -> tuple[bool, datetime, str]:
    return invocation.state in _ENDED_BY_SOMEBODY, invocation.began or _LATEST, invocation.name


def _seconds_until_next_look(invocation: Invocation) -> float:
    age = (datetime.now(UTC) - invocation.began).total_seconds() if invocation.began else 0.0
    return min(max(age * _PART, _SHORTEST_SECONDS), _LONGEST_SECONDS)


def _does_not_compile(repository: Repository, compiled: Compilation) -> PermanentFailure:
    errors = [{key: one[key] for key in ("path", "message", "actionTarget") if key in one} for one in compiled.errors]
    told = [f"{one.get('path', 'the project')}: {one.get('message', 'no message')}" for one in errors]
    details = {"compilation_result": compiled.name, "commit": compiled.commit, "errors": errors[:_MOST_KEPT]}
    return PermanentFailure(f"{repository} does not compile: {_some(told)}", details)


def _finished(dataform: Dataform, handle: Mapping[str, Any], invocation: Invocation) -> Finished:
    """What the task log keeps; raises TaskFailure unless the invocation has succeeded."""
    actions = dataform.done_actions(invocation.name)
    details = {
        "invocation": invocation.name,
        "compilation_result": handle["compilation_result"],
        "commit": handle.get("commit"),
        "state": invocation.state,
        "began": invocation.began.isoformat() if invocation.began else None,
        "ended": invocation.ended.isoformat() if invocation.ended else None,
        "action_states": dict(Counter(one.state for one in actions)),
        "actions": [_kept(one) for one in sorted(actions, key=_failed_first)[:_MOST_KEPT]],
    }
    if invocation.state == "SUCCEEDED":
        return Finished(details)
    raise _failure(invocation, actions, details)


def _kept(action: DoneAction) -> dict[str, Any]:
    told = {"target": action.target, "state": action.state, "reason": action.reason, "job_id": action.job_id}
    return {key: value for key, value in told.items() if value}


def _failed_first(action: DoneAction) -> tuple[bool, str]:
    return action.state != "FAILED", action.target


def _failure(invocation: Invocation, actions: Sequence[DoneAction], details: Mapping[str, Any]) -> TaskFailure:
    if invocation.state == "CANCELLED":
        return PermanentFailure(f"{invocation.name} was cancelled by somebody", details)
    failed = [one for one in actions if one.state == "FAILED"]
    told = [f"{one.target}: {one.reason or 'no reason given'}" for one in failed]
    text = f"{invocation.name} failed: {_some(told) or 'Dataform names no action'}"
    passing = bool(failed) and all(_may_pass(one.reason) for one in failed)
    return (PassingFailure if passing else PermanentFailure)(text, details)


def _may_pass(reason: str) -> bool:
    return bool(PASSING_REASONS.intersection(re.findall(r"\w+", reason))) or is_concurrent_update(reason)


def _some(sentences: Sequence[str]) -> str:
    more = f"; and {len(sentences) - _MOST_TOLD} more" if len(sentences) > _MOST_TOLD else ""
    return "; ".join(sentences[:_MOST_TOLD]) + more
