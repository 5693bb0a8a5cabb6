"""Calls the function of a task, in a child process of its own, and tells in JSON values how that has ended."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from run.errors import PassingFailure, PermanentFailure, TaskFailure
from run.workflows.results import NotJson, as_json, too_large
from run.workflows.signals import Retry, Skip

#: More of what an exception has beside its message is not kept, in bytes of JSON.
_MOST_BYTES_OF_DETAILS = 64 * 1024
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def call(argument: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Call `function` with the args and kwargs that come in as JSON; `path` is where its module is looked for."""
    os.chdir(folder)
    # What it leaves in temporary files goes away with the folder.
    os.environ["TMPDIR"] = str(folder)
    _look_for_modules_in(argument["path"])
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    given = json.load(sys.stdin.buffer)
    return outcome_of_call(argument["function"], given["args"], given["kwargs"], argument["task"])


def outcome_of_call(function: str, args: Sequence[Any], kwargs: Mapping[str, Any], task: str) -> dict[str, Any]:
    """How a call has ended, in JSON values.

    One of {"value": ...}, {"skipped": REASON}, {"retry": REASON, "after": SECONDS} and {"raised": {...}}.
    """
    try:
        return {"value": _result(_function(function)(*args, **kwargs), f"the result of task '{task}'")}
    except Skip as skip:
        return {"skipped": str(skip)}
    except Retry as retry:
        return {"retry": str(retry), "after": retry.after}
    except BaseException as error:  # noqa: BLE001 - SystemExit too is an error of this task, and told.
        return {"raised": _told(error)}


def _look_for_modules_in(path: Iterable[str]) -> None:
    # Behind our own, so that no module of theirs stands before one of Python's.
    sys.path += [place for place in path if place not in sys.path]


def _function(reference: str) -> Callable[..., Any]:
    module, _, name = reference.partition(":")
    found: Callable[..., Any] | None = getattr(import_module(module), name, None)
    if not callable(found):
        raise PermanentFailure(f"the module {module} has no function '{name}'")
    return found


def _result(value: Any, what: str) -> Any:
    result = as_json(_without_report(value), what)
    if reason := too_large(len(json.dumps(result, ensure_ascii=False).encode())):
        raise NotJson(reason)
    return result


def _without_report(value: Any) -> Any:
    """What a Process has reported as JSON values; raises ProcessFailed when one of its tasks failed."""
    reports = sys.modules.get("run.workflows.process_report")
    if reports is None or not isinstance(value, reports.ProcessReport):
        return value
    value.raise_if_failed()
    return value.to_dict()


def _told(error: BaseException) -> dict[str, Any]:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    # Without a frame of its own it was never called, or it has returned already.
    is_ours = frames is None or isinstance(error, NotJson)
    return {
        "type": type(error).__name__,
        "error": _text(error, None if is_ours else frames),
        "passing": not is_ours and not isinstance(error, PermanentFailure | ImportError),
        "after": _seconds(error.after) if isinstance(error, PassingFailure) else None,
        "details": _details(error) if isinstance(error, TaskFailure) else {},
    }


def _seconds(after: Any) -> float | None:
    # Whatever somebody has written there; it must not cost the error itself.
    return float(after) if isinstance(after, int | float) and math.isfinite(after) else None


def _text(error: BaseException, frames: Any) -> str:
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def _details(error: TaskFailure) -> Any:
    try:
        details = as_json(error.details, "details")
    except NotJson as problem:
        return str(problem)
    size = len(json.dumps(details))
    return details if size <= _MOST_BYTES_OF_DETAILS else f"{size:,} bytes, which are too many to keep"
