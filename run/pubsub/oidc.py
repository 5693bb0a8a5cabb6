"""Which bearer tokens may push to us.

https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, assert_never

from run.clients.identity import IdentityTokens, unverified_claims
from run.errors import InvalidSettings, Unauthenticated
from run.setting_values import PushAuth
from run.settings import Settings

ISSUERS = ("https://accounts.google.com", "accounts.google.com")

#: Takes the Authorization header; raises Unauthenticated, or Unavailable when that cannot be told now.
Authenticate = Callable[[str | None], None]


def push_authenticator(settings: Settings) -> Authenticate:
    """Return the check of push requests that the settings ask for; raises InvalidSettings when they allow none."""
    problems = list(settings.push_problems())
    if problems:
        raise InvalidSettings("\n".join(problems))
    match settings.push_auth:
        case PushAuth.VERIFY:
            return _verifying(settings)
        case PushAuth.CLOUD_RUN:
            return _trusting_the_platform(settings)
        case PushAuth.NONE:
            return _accept
        case _:
            assert_never(settings.push_auth)


def _verifying(settings: Settings) -> Authenticate:
    tokens = IdentityTokens(settings.oidc_certs_url)
    audience = settings.push_audience or ""

    def authenticate(authorization: str | None) -> None:
        claims = tokens.verified_claims(_bearer_token(authorization), audience)
        _check(claims, settings)

    return authenticate


def _trusting_the_platform(settings: Settings) -> Authenticate:
    # Cloud Run has verified the token before it lets the request through, and replaced its signature:
    # https://docs.cloud.google.com/run/docs/troubleshooting#signature-removed
    def authenticate(authorization: str | None) -> None:
        _check(unverified_claims(_bearer_token(authorization)), settings)

    return authenticate


def _accept(_authorization: str | None) -> None:
    return


def _bearer_token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("the request has no bearer token")
    return token.strip()


def _check(claims: Mapping[str, Any], settings: Settings) -> None:
    if claims.get("iss") not in ISSUERS:
        raise Unauthenticated("the token's issuer is not Google")
    if settings.push_audience and claims.get("aud") != settings.push_audience:
        raise Unauthenticated("the token is for another audience than PUSH_AUDIENCE")
    if claims.get("email") != settings.push_service_account:
        raise Unauthenticated("the token's e-mail is not PUSH_SERVICE_ACCOUNT")
    if claims.get("email_verified") is not True:
        raise Unauthenticated("the token's e-mail is not verified")
