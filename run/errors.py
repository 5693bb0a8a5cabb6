"""Everything that can go wrong, as a tree; a class is a reason.

AcceleratorError
├── InvalidSettings          the environment cannot be used; the service does not start
├── InvalidWorkflow          a workflow file has problems; nothing is stored
├── Rejected                 a message that can never succeed; stored with its reason, acked
├── Refused                  a person's move that makes no sense now; nothing has changed
├── Unauthenticated          a push without a valid token; 401
├── Unavailable              something we need does not answer now; not acked, comes again
└── TaskFailure              the work of a task ended in an error; its attempt is ERROR
    ├── PermanentFailure     trying again cannot help
    │   └── ConditionError   the `when` of a task says neither true nor false
    └── PassingFailure       trying again may help
        └── BadFiles         some of many files cannot be used; trying again does without them
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class AcceleratorError(Exception):
    """The root of all errors that this service raises on purpose."""


class InvalidSettings(AcceleratorError):
    """An environment variable is missing or wrong; the message names it and what would be right."""


class InvalidWorkflow(AcceleratorError, ValueError):
    """A workflow definition has problems; the message lists all of them."""


class Rejected(AcceleratorError):
    """A message that can never succeed; the message says why, for the person who reads the inbox."""


class Refused(AcceleratorError):
    """A person's move that makes no sense as things stand; the message says why and what would."""


class Unauthenticated(AcceleratorError):
    """A push request without a token that we accept."""


class Unavailable(AcceleratorError):
    """A part that this request needs does not answer now; Pub/Sub shall deliver again."""


class TaskFailure(AcceleratorError):
    """The work of a task ended in an error; `details` is kept in the task log (JSON values only)."""

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details: dict[str, Any] = dict(details or {})


class PermanentFailure(TaskFailure):
    """Trying again cannot help: bad input, a missing permission, a wrong query."""


class ConditionError(PermanentFailure):
    """The condition of a task cannot be evaluated, or is neither true nor false; the message says it and why."""


class PassingFailure(TaskFailure):
    """Trying again may help: an outside service was busy or broken.

    `after` is when, in seconds from now, if that is known; else the task's retries say.
    """

    def __init__(self, message: str, details: Mapping[str, Any] | None = None, *, after: float | None = None) -> None:
        super().__init__(message, details)
        self.after = after


class BadFiles(PassingFailure):
    """Some of the many files of a task cannot be used: they are set aside, and the next attempt has the others.

    `reasons` says why, by the id of the file in the file log.
    """

    def __init__(self, message: str, reasons: Mapping[int, str], details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details)
        self.reasons = dict(reasons)
