from __future__ import annotations

import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from run.errors import InvalidSettings, Unauthenticated, Unavailable
from run.pubsub.oidc import Authenticate, push_authenticator
from run.setting_values import PushAuth
from run.settings import Settings
from tests.unit.pubsub.certificate_server import (
    ACCOUNT,
    AUDIENCE,
    CertificateServer,
    Signer,
    certificate_server,
    encoded,
    part,
)

SIGNER = Signer("key-1")


class FromNow(int):
    """Seconds from the moment of the test, which may come long after the tests were collected."""


def as_of_now(claims: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    return {name: now + value if isinstance(value, FromNow) else value for name, value in claims.items()}


@pytest.fixture
def server() -> Iterator[CertificateServer]:
    with certificate_server() as server:
        server.certificates = {"key-1": SIGNER.certificate}
        yield server


@pytest.fixture
def authenticate(server: CertificateServer) -> Authenticate:
    return push_authenticator(settings(oidc_certs_url=server.url))


def settings(**changed: object) -> Settings:
    right: dict[str, object] = {
        "database_url": "postgresql://db/x",
        "project": "my-project",
        "landing_bucket": "landing",
        "push_audience": AUDIENCE,
        "push_service_account": ACCOUNT,
    }
    return Settings.model_validate({**right, **changed})


def test_a_right_token_is_accepted(authenticate: Authenticate) -> None:
    authenticate(f"Bearer {SIGNER.token()}")
    authenticate(f"bearer {SIGNER.token(iss='accounts.google.com')}")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", f"Basic {SIGNER.token()}", SIGNER.token()])
def test_a_request_without_a_bearer_token_is_refused(authenticate: Authenticate, header: str | None) -> None:
    with pytest.raises(Unauthenticated, match="no bearer token"):
        authenticate(header)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": FromNow(-60)}, "expired"),
        ({"iat": FromNow(60)}, "too early"),
        ({"exp": None}, "malformed"),
        ({"iat": None}, "malformed"),
        ({"iat": "yesterday"}, "malformed"),
        ({"aud": "https://other.example"}, "wrong audience"),
        ({"aud": [AUDIENCE]}, "wrong audience"),
        ({"aud": None}, "wrong audience"),
        ({"iss": "https://evil.example"}, "issuer is not Google"),
        ({"iss": None}, "issuer is not Google"),
        ({"iss": ["https://accounts.google.com"]}, "issuer is not Google"),
        ({"email": "other@my-project.iam.gserviceaccount.com"}, "e-mail is not"),
        ({"email": None}, "e-mail is not"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": None}, "not verified"),
        ({"email_verified": "true"}, "not verified"),
    ],
)
def test_a_signed_token_with_a_wrong_claim_is_refused(
    authenticate: Authenticate, claims: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Unauthenticated, match=reason):
        authenticate(f"Bearer {SIGNER.token(**as_of_now(claims))}")


@pytest.mark.parametrize("claims", [{"exp": FromNow(-10)}, {"iat": FromNow(20)}])
def test_clocks_may_differ_by_half_a_minute(authenticate: Authenticate, claims: dict[str, Any]) -> None:
    authenticate(f"Bearer {SIGNER.token(**as_of_now(claims))}")


def unsigned(header: dict[str, str], signature: str) -> str:
    return f"{part(header)}.{SIGNER.token().split('.')[1]}.{signature}"


def signed_with_the_certificate() -> str:
    signed = unsigned({"alg": "HS256", "kid": "key-1"}, "").rpartition(".")[0]
    digest = hmac.new(SIGNER.certificate.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{encoded(digest)}"


@pytest.mark.parametrize(
    "token",
    [
        unsigned({"alg": "none", "kid": "key-1"}, ""),
        unsigned({"alg": "RS256", "kid": "key-1"}, ""),
        unsigned({"alg": "RS256", "kid": "key-1"}, "SIGNATURE_REMOVED_BY_GOOGLE"),
        unsigned({"alg": "ES256", "kid": "key-1"}, encoded(b"x" * 64)),
        signed_with_the_certificate(),
        Signer("key-1").token(),
        Signer("key-2").token(),
        SIGNER.token(header={"kid": "key-2"}),
        "garbage",
        "a.b.c",
        "ä.ö.ü",
        "..",
        f"{encoded(b'[' * 100_000)}.e30.e30",
        f"{part({'alg': ['RS256']})}.e30.e30",
    ],
)
def test_a_token_that_the_issuer_did_not_sign_is_refused(authenticate: Authenticate, token: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        authenticate(f"Bearer {token}")

    assert token not in str(caught.value)


def test_certificates_are_kept_as_long_as_their_server_says(server: CertificateServer) -> None:
    authenticate = push_authenticator(settings(oidc_certs_url=server.url))
    for _ in range(5):
        authenticate(f"Bearer {SIGNER.token()}")
    assert server.hits == 1

    server.cache_control = "no-store"
    uncached = push_authenticator(settings(oidc_certs_url=server.url))
    for _ in range(3):
        uncached(f"Bearer {SIGNER.token()}")
    assert server.hits == 4


@pytest.mark.parametrize(
    ("status", "certificates"),
    [(500, {}), (404, {}), (200, []), (200, {"keys": []})],
)
def test_a_broken_certificate_server_is_not_the_tokens_fault(
    server: CertificateServer, authenticate: Authenticate, status: int, certificates: dict[str, str]
) -> None:
    server.status, server.certificates = status, certificates

    with pytest.raises(Unavailable, match="no certificates from"):
        authenticate(f"Bearer {SIGNER.token()}")


def test_a_certificate_server_that_is_down_is_not_the_tokens_fault() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/certs"
        authenticate = push_authenticator(settings(oidc_certs_url=url))

        with pytest.raises(Unavailable, match="no certificates from"):
            authenticate(f"Bearer {SIGNER.token()}")


def on_cloud_run(**changed: object) -> Authenticate:
    return push_authenticator(settings(push_auth=PushAuth.CLOUD_RUN, cloud_run_service="accelerator", **changed))


def stripped(**claims: Any) -> str:
    return f"Bearer {SIGNER.token(**as_of_now(claims)).rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE"


def test_on_cloud_run_the_claims_of_a_token_without_signature_are_read() -> None:
    on_cloud_run()(stripped())
    on_cloud_run(push_audience=None)(stripped(aud="https://other.example"))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer garbage",
        stripped(aud="https://other.example"),
        stripped(aud=[AUDIENCE]),
        stripped(email="other@my-project.iam.gserviceaccount.com"),
        stripped(email_verified=False),
        stripped(iss="https://evil.example"),
        f"Bearer {part({})}.{encoded(json.dumps('text').encode())}.x",
    ],
)
def test_on_cloud_run_a_token_of_somebody_else_is_refused(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        on_cloud_run()(header)


def test_the_local_stack_asks_for_no_token() -> None:
    local = {"push_audience": None, "push_service_account": None, "loopback_url": "http://127.0.0.1:8080/"}

    push_authenticator(settings(push_auth=PushAuth.NONE, **local))(None)


@pytest.mark.parametrize("changed", [{"push_audience": None}, {"push_auth": PushAuth.NONE}])
def test_no_check_is_made_from_settings_that_allow_none(changed: dict[str, object]) -> None:
    with pytest.raises(InvalidSettings):
        push_authenticator(settings(**changed))
