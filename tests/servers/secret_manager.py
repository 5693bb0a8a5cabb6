"""Secret Manager's `access` of the latest version, over its REST protocol.

https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
"""

from __future__ import annotations

import base64
import re

from tests.servers.wire import Answered, Asked, WireServer


class SecretManager(WireServer):
    """Has the secrets that a test puts into `secrets`; names in `forbidden` are not for us."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[str, bytes] = {}
        self.forbidden: set[str] = set()

    def answer(self, asked: Asked) -> Answered:
        found = re.fullmatch(r"/v1/projects/([^/]+)/secrets/([^/]+)/versions/latest:access", asked.path)
        if asked.method != "GET" or found is None:
            return Answered(404, "not a path of this service")
        if found[2] in self.forbidden:
            return _error(403, "PERMISSION_DENIED", f"Permission denied for {found[0]}")
        if found[2] not in self.secrets:
            return _error(404, "NOT_FOUND", f"Secret [{found[0]}] not found or has no versions.")
        data = base64.b64encode(self.secrets[found[2]]).decode()
        return Answered(200, {"name": found[0].removeprefix("/v1/"), "payload": {"data": data}})


def _error(code: int, status: str, message: str) -> Answered:
    return Answered(code, {"error": {"code": code, "status": status, "message": message}})
