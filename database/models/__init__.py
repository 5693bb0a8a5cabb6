"""The tables, with every rule that a row must obey whatever statement writes it."""

from database.models.arrivals import Audit, FileLog, RejectedMessage
from database.models.definitions import Task, TaskDependency, TaskVersion, Workflow, WorkflowVersion
from database.models.executions import (
    AttemptFile,
    BatchNumber,
    BatchTask,
    Chore,
    TaskBatch,
    TaskLog,
)
from database.models.notifications import Notification
from database.models.outside import Cancellation, Completion
from database.models.row import Row

__all__ = [
    "AttemptFile",
    "Audit",
    "BatchNumber",
    "BatchTask",
    "Cancellation",
    "Chore",
    "Completion",
    "FileLog",
    "Notification",
    "RejectedMessage",
    "Row",
    "Task",
    "TaskBatch",
    "TaskDependency",
    "TaskLog",
    "TaskVersion",
    "Workflow",
    "WorkflowVersion",
]
