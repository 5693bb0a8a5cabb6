"""Mails about the failed tasks of a Process."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from logging import getLogger
from typing import Any, Self

from run.notifications.failure import FailedTask, FailureReport, call_of
from run.workflows.arguments import effective_arguments
from run.workflows.process_logs import TaskLog
from run.workflows.process_report import Failure
from run.workflows.python_tasks import Task

logger = getLogger(__name__)

#: More than a mail shows, so that no secret is cut in two where it begins.
_LONGEST_TRACEBACK = 100_000


class Mailroom:
    """Sends mails beside a run, so that a slow server holds up no task; leaving the block waits for the last one."""

    def __enter__(self) -> Self:
        # One thread: what has failed first is told first.
        self._sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mail")
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.shutdown()

    def tell(
        self, task: Task, failure: Failure, results: Mapping[str, Any], not_executed: Sequence[str], log: TaskLog
    ) -> None:
        """Tell those whom the task wants to be told, if any; never raises."""
        handler = task.html_mail_handler
        if handler is None:
            return

        def send() -> None:
            with log.speaking():
                try:
                    handler.send(failure_report(task, failure, results, not_executed))
                except Exception as error:  # noqa: BLE001 - a mail that fails must never fail anything else.
                    reason = f"{type(error).__name__}: {error}"
                    logger.warning("the mail about task %s was not sent: %s", task.name, reason)

        self._sender.submit(send)


def failure_report(
    task: Task, failure: Failure, results: Mapping[str, Any], not_executed: Sequence[str]
) -> FailureReport:
    """What people are told; the arguments are those that the function was called with, before it changed any."""
    args, kwargs = effective_arguments(task.args, task.kwargs or {}, task.passing, results)
    call = call_of(args, kwargs, _parameters(task.function))
    failed = FailedTask(
        name=task.name,
        work=f"function {_name_of(task.function)}",
        error=call.clean(str(failure)[:_LONGEST_TRACEBACK]),
        arguments=call.arguments,
        details=call.clean(failure.traceback[-_LONGEST_TRACEBACK:]),
        not_executed=not_executed,
    )
    return FailureReport(place="Process", failed=[failed], at=failure.ended_at.astimezone(UTC))


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", None)
    return f"{function.__module__}.{name}" if name else repr(function)


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # Some functions written in C do not say how they are called.
        return []
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return [parameter.name for parameter in parameters if parameter.kind in positional]
