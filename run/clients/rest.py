"""JSON services over HTTPS: one call, one answer, with time limits; what an answer means is its client's to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import google.auth
import requests
from google.auth import exceptions as auth
from google.auth.transport.requests import AuthorizedSession
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from run.errors import PermanentFailure, Unavailable

#: To connect, and between two bytes of an answer, in seconds.
TIMEOUT_SECONDS = (5.0, 30.0)
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
#: Only questions are asked again; whether to repeat what changes something is the kind's to decide.
#: How long a service wants us to wait (`Retry-After`, which may be an hour) is not to be slept in a worker.
_RETRIES = Retry(
    total=3,
    backoff_factor=0.2,
    status_forcelist=(502, 503, 504),
    allowed_methods=("GET",),
    respect_retry_after_header=False,
)


@dataclass(frozen=True)
class Answer:
    """What a service has answered: the status, the body as JSON (a text when it is none), headers in any case."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether the status says success."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


class Rest:
    """One service at `url`. Threads may share it."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self._url = url.rstrip("/")
        self._session = session
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=_RETRIES, pool_maxsize=32))

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = TIMEOUT_SECONDS[1],
    ) -> Answer:
        """Ask once and return the answer, whatever its status; `seconds` is how long the service may think about it.

        Raises Unavailable when there is none: what was asked for may or may not have happened. Raises
        PermanentFailure when there are no credentials to ask with.
        """
        try:
            response = self._session.request(
                method,
                self._url + path,
                json=json,
                params=params,
                headers=headers,
                timeout=(TIMEOUT_SECONDS[0], seconds),
            )
        except auth.GoogleAuthError as error:
            if getattr(error, "retryable", False):
                raise Unavailable(f"the token service does not answer now ({error})") from error
            raise PermanentFailure(f"Google does not accept our credentials ({error})") from error
        except requests.RequestException as error:
            raise Unavailable(f"no answer to {method} {self._url}{path} ({type(error).__name__})") from error
        return Answer(response.status_code, _body(response), response.headers)


def google_rest(url: str) -> Rest:
    """A service of Google's, met with the service account's credentials; a local one (`http://`) without."""
    if url.startswith("http://"):
        return Rest(url, requests.Session())
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except auth.GoogleAuthError as error:
        raise PermanentFailure(f"there are no credentials for {url} ({error})") from error
    return Rest(url, AuthorizedSession(credentials))  # type: ignore[no-untyped-call]


def _body(response: requests.Response) -> Any:
    try:
        return response.json()
    except requests.JSONDecodeError:
        return response.text
