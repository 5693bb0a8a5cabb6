"""Identity tokens of Google (OpenID Connect), read with google-auth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from threading import Lock
from typing import Any

import requests
from cachecontrol import CacheControl
from google.auth import exceptions, jwt, transport
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from run.errors import PassingFailure, Unauthenticated, Unavailable
from run.redaction import hide

#: How far the clocks of the signer and of this machine may be apart.
CLOCK_SKEW_SECONDS = 30
CERTIFICATES_TIMEOUT_SECONDS = 5

#: What google-auth raises for a token that it does not accept; the last four for claims of the wrong type.
_BAD_TOKEN = (exceptions.GoogleAuthError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class IdentityTokens:
    """Verifies tokens with the certificates at an address, kept as long as its Cache-Control says."""

    def __init__(self, certs_url: str) -> None:
        self._certs_url = certs_url
        self._request = _CertificatesRequest()

    def verified_claims(self, token: str, audience: str) -> Mapping[str, Any]:
        """Return the claims after checking signature, times and audience.

        Raises Unauthenticated for a token that fails, Unavailable when the certificates cannot be had.
        """
        try:
            return id_token.verify_token(
                token, self._request, audience, self._certs_url, clock_skew_in_seconds=CLOCK_SKEW_SECONDS
            )
        except exceptions.InvalidValue as error:
            raise Unauthenticated(str(error)) from None
        except _BAD_TOKEN:
            # What google-auth says here quotes the token.
            raise Unauthenticated("the token is malformed, or its signature or key is not the issuer's") from None


def unverified_claims(token: str) -> Mapping[str, Any]:
    """Return the claims of a token whose signature somebody else has checked; raises Unauthenticated."""
    try:
        claims: Mapping[str, Any] = jwt.decode(token, verify=False)  # type: ignore[no-untyped-call]
    except _BAD_TOKEN:
        raise Unauthenticated("the token is malformed") from None
    return claims


class OwnIdentity:
    """Tokens by which other services know this one; each is kept until shortly before it ends."""

    def __init__(self) -> None:
        self._credentials: dict[str, Any] = {}
        self._lock = Lock()

    def token(self, audience: str) -> str:
        """A token for that audience, from the metadata server or with the key in GOOGLE_APPLICATION_CREDENTIALS.

        Raises PassingFailure when nobody here gives one, or not now.
        """
        request = Request()
        try:
            with self._lock:
                known = self._credentials.get(audience)
                if known is None:
                    known = self._credentials[audience] = _credentials(audience, request)
                if not known.valid:
                    known.refresh(request)
                    # Whoever is asked with it may repeat it.
                    hide(known.token)
                return str(known.token)
        except exceptions.GoogleAuthError as error:
            raise PassingFailure(f"there is no identity token for {audience} ({error})") from error


def _credentials(audience: str, request: Request) -> Any:
    return id_token.fetch_id_token_credentials(audience, request)  # type: ignore[no-untyped-call]


class _CertificatesRequest(transport.Request):
    """The transport that google-auth fetches certificates with; whatever goes wrong here is not the token's fault."""

    def __init__(self) -> None:
        self._request = Request(session=CacheControl(requests.Session()))

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = CERTIFICATES_TIMEOUT_SECONDS,
        **options: Any,
    ) -> transport.Response:
        try:
            response: transport.Response = self._request(url, method, body, headers, timeout, **options)
            certificates = json.loads(response.data)
        except (exceptions.TransportError, requests.RequestException, ValueError) as error:
            raise Unavailable(f"no certificates from {url}: {type(error).__name__}") from error
        if response.status != requests.codes.ok or not isinstance(certificates, dict) or "keys" in certificates:
            raise Unavailable(f"no certificates from {url}: status {response.status}, or not key ids with PEM texts")
        return response
