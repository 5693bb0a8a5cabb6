"""Microsoft's token service for client credentials.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from typing import Any
from urllib.parse import parse_qs

from tests.servers.wire import Answered, Asked, WireServer

TENANT = "7c0b3bd8-0d3c-4cf6-a0a5-9a2a4d8d8a51"
CLIENT_ID = "b759774c-6f25-4860-a0cf-7fc4b9a8dc24"
SECRET = "q~8Q.the-secret/of+the~app"


class MicrosoftLogin(WireServer):
    """Knows one tenant and, in it, the apps of `apps` with their secrets; `tokens` has the claims of each token."""

    def __init__(self) -> None:
        super().__init__()
        self.apps = {CLIENT_ID: SECRET}
        self.tokens: dict[str, dict[str, Any]] = {}
        #: How long a token lasts, in seconds; MSAL asks for another one five minutes before.
        self.lasts = 3599
        #: What the tokens are for, when it is not what was asked for.
        self.audience: str | None = None

    def answer(self, asked: Asked) -> Answered:
        found = re.fullmatch(r"/([^/]+)/(v2\.0/\.well-known/openid-configuration|oauth2/v2\.0/token)", asked.path)
        if found is None:
            return Answered(404, "not a path of this service")
        if found[1] != TENANT:
            text = f"AADSTS90002: Tenant '{found[1]}' not found. Check to make sure you have the correct tenant ID."
            return _refused(400, "invalid_tenant", text)
        if asked.method == "GET" and found[2].startswith("v2.0"):
            return Answered(200, self._configuration())
        if asked.method == "POST" and found[2].startswith("oauth2"):
            form = {name: values[-1] for name, values in parse_qs(asked.body.decode()).items()}
            return self._token(form)
        return Answered(405, "")

    def _configuration(self) -> dict[str, str]:
        # The real service speaks https only, and MSAL takes nothing else; our client comes back without TLS.
        here = self.url.replace("http://", "https://") + f"/{TENANT}"
        return {
            "issuer": f"{here}/v2.0",
            "authorization_endpoint": f"{here}/oauth2/v2.0/authorize",
            "token_endpoint": f"{here}/oauth2/v2.0/token",
        }

    def _token(self, form: dict[str, str]) -> Answered:
        client_id, scope = form.get("client_id", ""), form.get("scope", "")
        if form.get("grant_type") != "client_credentials":
            return _refused(400, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.")
        if client_id not in self.apps:
            text = f"AADSTS700016: Application with identifier '{client_id}' was not found in the directory 'Contoso'."
            return _refused(400, "unauthorized_client", text)
        if form.get("client_secret") != self.apps[client_id]:
            text = f"AADSTS7000215: Invalid client secret provided for a secret added to app '{client_id}'."
            return _refused(401, "invalid_client", text)
        if not scope.endswith("/.default"):
            return _refused(400, "invalid_scope", f"AADSTS1002012: The provided value for scope {scope} is not valid.")
        audience = self.audience or scope.removesuffix("/.default")
        claims = {"aud": audience, "appid": client_id, "tid": TENANT, "exp": self.now() + self.lasts}
        token = _jwt(claims)
        self.tokens[token] = claims
        return Answered(200, {"token_type": "Bearer", "expires_in": self.lasts, "access_token": token})


def _jwt(claims: dict[str, Any]) -> str:
    parts = [{"typ": "JWT", "alg": "RS256"}, {**claims, "uti": uuid.uuid4().hex}, {"signature": uuid.uuid4().hex}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


def _refused(status: int, error: str, text: str) -> Answered:
    description = f"{text} Trace ID: {uuid.uuid4()} Correlation ID: {uuid.uuid4()} Timestamp: 2024-03-16 12:00:00Z"
    return Answered(status, {"error": error, "error_description": description, "error_codes": [int(_code(text))]})


def _code(text: str) -> str:
    found = re.match(r"AADSTS(\d+)", text)
    assert found is not None
    return found[1]
