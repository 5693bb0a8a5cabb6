"""Secrets by their names: from the environment, else from Secret Manager."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from threading import Lock

from pydantic import SecretStr

from run.clients.rest import Answer, Rest, google_rest
from run.errors import PermanentFailure, Unavailable
from run.redaction import hide

_FORBIDDEN, _NOT_FOUND, _BUSY = 403, 404, (408, 429, 500, 502, 503, 504)


class Secrets:
    """Reads each secret once in the life of the process; what was read is never written into logs and errors."""

    def __init__(self, project: str, from_environment: Mapping[str, SecretStr], url: str) -> None:
        self._project = project
        self._known = {name: value.get_secret_value() for name, value in from_environment.items()}
        self._url = url
        self._rest: Rest | None = None
        self._lock = Lock()

    def value(self, name: str) -> str:
        """The secret of this name.

        Raises PermanentFailure when it is not there or not for us, Unavailable when Secret Manager does not answer.
        """
        # Nobody who wants a known one waits for a Secret Manager that is slow to give another.
        known = self._known.get(name)
        if known is not None:
            return known
        with self._lock:
            if name not in self._known:
                value = self._from_secret_manager(name)
                hide(value)
                self._known[name] = value
            return self._known[name]

    def _from_secret_manager(self, name: str) -> str:
        # https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
        self._rest = self._rest or google_rest(self._url)
        answer = self._rest.call("GET", f"/v1/projects/{self._project}/secrets/{name}/versions/latest:access")
        if not answer.is_good:
            raise _problem(name, self._project, answer)
        try:
            return base64.b64decode(answer.body["payload"]["data"]).decode()
        except (KeyError, TypeError, ValueError):
            raise PermanentFailure(f"the secret {name} in Secret Manager is no text") from None


def _problem(name: str, project: str, answer: Answer) -> Exception:
    if answer.status in _BUSY:
        return Unavailable(f"Secret Manager does not give the secret {name} now (status {answer.status})")
    if answer.status == _NOT_FOUND:
        return PermanentFailure(
            f"there is no secret {name}: neither SECRET_{name} in the environment nor an enabled version in Secret "
            f"Manager of {project}"
        )
    if answer.status == _FORBIDDEN:
        return PermanentFailure(
            f"Secret Manager does not show us {name}; the service account may lack roles/secretmanager.secretAccessor"
        )
    return PermanentFailure(f"Secret Manager refused the secret {name} with status {answer.status}")
