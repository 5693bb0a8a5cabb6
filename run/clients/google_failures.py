"""What an error of Google's client libraries means for a task: trying again may help, or it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from run.errors import PassingFailure, PermanentFailure, TaskFailure

#: Reasons after which trying again may help: https://docs.cloud.google.com/bigquery/docs/error-messages
PASSING_REASONS = frozenset(
    {
        "backendError",
        "internalError",
        "rateLimitExceeded",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "quotaExceeded",
        "tableUnavailable",
    }
)
_PASSING_CODES = frozenset({408, 429, 500, 502, 503, 504})


@contextmanager
def translated(doing: str, role: str) -> Iterator[None]:
    """Turn Google's errors into TaskFailure; `role` is named when a permission is missing."""
    try:
        yield
    except api.RetryError as error:
        raise _failure(error.cause or error, doing, role) from error
    except (
        api.GoogleAPICallError,
        auth.GoogleAuthError,
        requests.RequestException,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise _failure(error, doing, role) from error


def job_failure(doing: str, error: Mapping[str, Any], details: Mapping[str, Any]) -> TaskFailure:
    """The failure for the `errorResult` of a finished BigQuery job."""
    text = f"{doing}: {error.get('message', 'BigQuery gave no message')}"
    if error.get("location"):
        text += f" (at {error['location']})"
    return _kind_of_failure(error.get("reason"), text)(text, details)


def _kind_of_failure(reason: str | None, message: str) -> type[TaskFailure]:
    if reason in PASSING_REASONS or is_concurrent_update(message):
        return PassingFailure
    return PermanentFailure


def is_concurrent_update(message: str) -> bool:
    """Whether BigQuery undid a transaction because another one changed the same table at the same time."""
    text = message.lower()
    return "concurrent update" in text or "could not serialize access" in text


def _failure(error: BaseException, doing: str, role: str) -> TaskFailure:
    match error:
        case api.Unauthorized() | auth.DefaultCredentialsError() | auth.RefreshError():
            return _credentials_failure(error, doing)
        case api.GoogleAPICallError():
            return _call_failure(error, doing, role)
        case _:
            return PassingFailure(f"{doing}: no answer from Google ({type(error).__name__}: {error})")


def _credentials_failure(error: BaseException, doing: str) -> TaskFailure:
    if getattr(error, "retryable", False):
        return PassingFailure(f"{doing}: the token service does not answer now ({error})")
    return PermanentFailure(f"{doing}: Google does not accept our credentials ({error})")


def _call_failure(error: api.GoogleAPICallError, doing: str, role: str) -> TaskFailure:
    errors: Sequence[Any] = [dict(one) for one in error.errors or () if isinstance(one, Mapping)]
    reason = str(errors[0].get("reason")) if errors else None
    text = f"{doing}: {error.message}"
    if error.code in _PASSING_CODES:
        return PassingFailure(text, {"errors": errors})
    kind = _kind_of_failure(reason, text)
    if kind is PermanentFailure and error.code == api.Forbidden.code:
        text += f"; the service account may lack {role}"
    return kind(text, {"errors": errors})
