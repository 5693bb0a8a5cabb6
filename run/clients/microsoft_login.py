"""Tokens of Microsoft's login service for an app registration (a service principal), by client credentials.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

import msal
import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util import Retry

from run.clients.rest import TIMEOUT_SECONDS
from run.errors import AcceleratorError, PermanentFailure, Unavailable
from run.redaction import hide

_UNKNOWN_TENANT = ("HTTP status: 400", "HTTP status: 404")
_PASSING_ERRORS = ("temporarily_unavailable", "server_error")


class MicrosoftLogin(AuthBase):
    """Puts the app's token on every request. Threads may share it; a token is asked for once as long as it lasts."""

    def __init__(self, url: str, tenant: str, client_id: str, secret: str, scope: str) -> None:
        self._url, self._tenant, self._client_id, self._secret = url, tenant, client_id, secret
        self._scope = scope
        self._app: msal.ConfidentialClientApplication | None = None
        self._hidden = ""
        self._lock = Lock()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token()}"
        return request

    def token(self) -> str:
        """A token that is still good.

        Raises PermanentFailure when the app gets none, Unavailable when the login service does not answer.
        """
        with self._lock:
            try:
                self._app = self._app or self._new_app()
                answer = self._app.acquire_token_for_client([self._scope])
            except (requests.RequestException, msal.exceptions.MsalError, RuntimeError, ValueError) as error:
                # MSAL raises nothing for what the service has said, only for what was no answer.
                raise Unavailable(f"{self._url} does not give tokens now ({type(error).__name__})") from error
            token = answer.get("access_token")
            if not token:
                raise self._refused(answer)
            if token != self._hidden:
                hide(token)
                self._hidden = token
            return str(token)

    def _new_app(self) -> msal.ConfidentialClientApplication:
        session = requests.Session()
        session.mount("https://", _LoginAdapter(is_local=self._url.startswith("http://")))
        authority = f"https://{self._url.split('://', 1)[1].rstrip('/')}/{self._tenant}"
        try:
            # The address comes from our own settings, so nobody else is asked whether it is Microsoft's.
            return msal.ConfidentialClientApplication(
                self._client_id,
                client_credential=self._secret,
                authority=authority,
                instance_discovery=False,
                http_client=session,
            )
        except ValueError as error:
            # MSAL's own words are only that it could not; what was answered stands in the error before that.
            if any(status in str(error.__context__) for status in _UNKNOWN_TENANT):
                raise PermanentFailure(f"{self._url} does not know the tenant {self._tenant}") from error
            raise

    def _refused(self, answer: Mapping[str, Any]) -> AcceleratorError:
        said = str(answer.get("error_description") or answer.get("error") or "no reason was given")
        text = f"{self._url} gives the app {self._client_id} of tenant {self._tenant} no token: "
        text += said.partition("Trace ID:")[0].strip()
        return Unavailable(text) if answer.get("error") in _PASSING_ERRORS else PermanentFailure(text)


class _LoginAdapter(HTTPAdapter):
    """MSAL's requests, with time limits; MSAL takes only `https://`, which a local server does not speak."""

    def __init__(self, *, is_local: bool) -> None:
        super().__init__(max_retries=Retry(1, respect_retry_after_header=False))
        self._is_local = is_local

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        if self._is_local:
            request.url = str(request.url).replace("https://", "http://", 1)
        return super().send(request, *args, **{**kwargs, "timeout": TIMEOUT_SECONDS})
