"""Workflows: YAML and Python in, a checked graph out; and running one in this process.

Whoever writes workflows in Python imports from here; each name is looked up when it is asked for, because most of the
service needs single modules of this package and none of these.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from run.notifications.email import HTMLSMTPHandler
    from run.workflows.process import Process
    from run.workflows.process_report import ProcessFailed, ProcessReport
    from run.workflows.python_tasks import KindTask, Task, TaskDependency
    from run.workflows.python_workflow import Workflow
    from run.workflows.signals import Retry, Skip

__all__ = [
    "HTMLSMTPHandler",
    "KindTask",
    "Process",
    "ProcessFailed",
    "ProcessReport",
    "Retry",
    "Skip",
    "Task",
    "TaskDependency",
    "Workflow",
]

_HOMES = {
    "HTMLSMTPHandler": "run.notifications.email",
    "KindTask": "run.workflows.python_tasks",
    "Process": "run.workflows.process",
    "ProcessFailed": "run.workflows.process_report",
    "ProcessReport": "run.workflows.process_report",
    "Retry": "run.workflows.signals",
    "Skip": "run.workflows.signals",
    "Task": "run.workflows.python_tasks",
    "TaskDependency": "run.workflows.python_tasks",
    "Workflow": "run.workflows.python_workflow",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
