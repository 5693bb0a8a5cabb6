"""`python_function`: calls a Python function, in a child process with limits, with the results of the parents."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from run.errors import PassingFailure, PermanentFailure, TaskFailure, Unavailable
from run.kinds.child_process import LONGEST_SECONDS, MIB, TIMEOUT_SECONDS, Ended, Limits, Output, TookTooLong, run_child
from run.kinds.filling import filled_json
from run.kinds.function_arguments import argument_problems, secret_in
from run.kinds.kind import Finished, Kind, KindConfig, Progress, Returned, Skipped, Work
from run.notifications.failure import Call, call_of
from run.redaction import HIDDEN
from run.workflows.durations import written
from run.workflows.function_keys import FUNCTION_KIND, FunctionKeys
from run.workflows.function_source import is_allowed, problem_of_function, stranger
from run.workflows.scope import Scope

logger = logging.getLogger(__name__)

#: So much of what a function prints and logs is kept, in characters.
LONGEST_OUTPUT = 64 * 1024
_CALL = "run.workflows.function_call:call"
_TOO_LONG = f"a function has {written(LONGEST_SECONDS)} at most, because one request waits for it"
_CALLED = {"called": True}
#: A child is killed by us shortly before the attempt is over for everybody, so that what it said is kept.
_LAST_SECOND, _LAST_PART = 1.0, 0.1


class PythonFunctionConfig(FunctionKeys, KindConfig):
    """Which function is called with what, and what its process may use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_mib: int = Field(default=512, ge=64, le=32_768)
    repeatable: bool = True


class PythonFunction(Kind[PythonFunctionConfig]):
    """Calls the function once in an attempt, and again when its worker has died, unless it must not be repeated."""

    name = FUNCTION_KIND
    config = PythonFunctionConfig
    timeout_seconds: ClassVar[int | None] = TIMEOUT_SECONDS

    def problems(self, config: PythonFunctionConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        yield from config.problems(scope)
        if reason := self._why_not_allowed(config) or problem_of_function(config.function):
            yield "function", reason
        yield from argument_problems(config, scope)
        if scope.timeout is not None and scope.timeout > LONGEST_SECONDS:
            yield "timeout", f"{_TOO_LONG}; what takes longer is a cloud_run_job"

    def reads_results(self, config: PythonFunctionConfig) -> Collection[str]:
        """The parents whose results are arguments."""
        return config.passing.parents

    def start(self, config: PythonFunctionConfig, work: Work) -> Progress:
        """Call the function; a worker that died may have called it before."""
        if reason := self._why_not_allowed(config):
            raise PermanentFailure(reason)
        call = self._call(config, work)
        with TemporaryDirectory(prefix="function-") as folder:
            ended = call.run(Path(folder))
        return progress_of(ended.result, {**call.details(), "peak_mib": ended.peak // MIB}, call.shown)

    def poll(self, config: PythonFunctionConfig, work: Work, handle: Mapping[str, Any]) -> Progress:  # noqa: ARG002
        """Only an attempt at a function that must not be repeated has a handle, and its worker is gone."""
        raise PermanentFailure(_unknown("the worker that called it, or was about to, is gone"))

    def _why_not_allowed(self, config: PythonFunctionConfig) -> str | None:
        allowed, module = self.clients.function_modules, config.function.partition(":")[0]
        if is_allowed(module, allowed):
            strange = stranger(config.function, allowed)
            return strange and (
                f"the module {module} only has it from '{strange}', which FUNCTION_MODULES does not name; "
                "write a function of its own that calls it"
            )
        said = f"has only {', '.join(allowed)}" if allowed else "is empty"
        return f"the module '{module}' may not be called: the setting FUNCTION_MODULES must name it, and {said}"

    def _call(self, config: PythonFunctionConfig, work: Work) -> _Call:
        preset = {"args": filled_json(config.args, work.values), "kwargs": filled_json(config.kwargs, work.values)}
        args, kwargs = config.model_copy(update=preset).effective(work.results, work.item)
        # A result that is passed by the same keyword takes the place of a secret, too.
        names = {
            name: named
            for name, value in kwargs.items()
            if value == config.kwargs.get(name) and (named := secret_in(value))
        }
        shown = call_of(args, {**kwargs, **dict.fromkeys(names, HIDDEN)})
        secrets = {name: self.clients.secrets.value(named) for name, named in names.items()}
        return _Call(config, work, {"args": args, "kwargs": {**kwargs, **secrets}}, shown)


@dataclass(frozen=True)
class _Call:
    """One call of a function, and what is kept of it however it ends."""

    config: PythonFunctionConfig
    work: Work
    given: Mapping[str, Any] = field(repr=False)
    #: The arguments as people may see them.
    shown: Call
    #: Twice what is kept, because what is secret in it becomes shorter.
    said: Output = field(default_factory=lambda: Output(2 * LONGEST_OUTPUT))

    def run(self, folder: Path) -> Ended:
        """Let it happen in a child process; raises TaskFailure when that was killed, or has died."""
        path = [str(Path(place).absolute()) for place in sys.path]
        try:
            return run_child(
                _CALL,
                {"function": self.config.function, "task": self.work.task, "path": path},
                folder,
                Limits(self.config.memory_mib * MIB, _seconds(self.work)),
                feed=self._arguments(),
                is_lost=self.work.is_lost,
                output=self.said,
            )
        except TookTooLong as error:
            seconds = self.work.timeout_seconds or LONGEST_SECONDS
            raise self._died(PassingFailure(f"timed out after {seconds} s")) from error
        except TaskFailure as error:
            raise self._died(error) from error
        except Unavailable:
            # Nobody will write down how this ends.
            logger.warning("%s was given up; it had said: %s", self.config.function, self._output() or "nothing")
            raise

    def _arguments(self) -> Iterator[bytes]:
        """What the child waits for before it calls; secrets are among it, so it lies in no file."""
        if not self.config.repeatable:
            self.work.store_handle(_CALLED)
        yield json.dumps(self.given).encode()

    def _died(self, error: TaskFailure) -> TaskFailure:
        """What a process that did not come to its end means."""
        details = {**self.details(), **error.details}
        if not self.config.repeatable:
            return PermanentFailure(_unknown(str(error)), details)
        return type(error)(str(error), details)

    def details(self) -> dict[str, Any]:
        """What the task log keeps of the call, as far as it is known."""
        return {"function": self.config.function, "arguments": dict(self.shown.arguments), "output": self._output()}

    def _output(self) -> str:
        return self.shown.clean(self.said.text)[-LONGEST_OUTPUT:]


def progress_of(told: Mapping[str, Any], details: dict[str, Any], call: Call) -> Progress:
    """How the attempt stands when its function has ended in this way; raises TaskFailure when that is a failure."""
    match told:
        case {"value": value}:
            return Finished(details, returned=Returned(value))
        case {"skipped": reason}:
            return Skipped(call.clean(reason), details)
        case {"retry": reason, "after": after}:
            raise PassingFailure(call.clean(reason), details, after=after)
    raised = told["raised"]
    details = {**details, "raised": {"type": raised["type"], "details": raised["details"]}}
    error = call.clean(raised["error"])
    if raised["passing"]:
        raise PassingFailure(error, details, after=raised["after"])
    raise PermanentFailure(error, details)


def _seconds(work: Work) -> float:
    allowed = min(work.timeout_seconds or LONGEST_SECONDS, LONGEST_SECONDS)
    return allowed - min(_LAST_SECOND, allowed * _LAST_PART)


def _unknown(why: str) -> str:
    return f"outcome unknown: {why}. Look at what it does: mark the task as a success, or run it again"
