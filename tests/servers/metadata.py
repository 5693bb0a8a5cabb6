"""The metadata server of a Google machine, as far as identity tokens need it, and the certificates that go with them.

https://docs.cloud.google.com/run/docs/authenticating/service-to-service
https://docs.cloud.google.com/compute/docs/instances/verifying-instance-identity
"""

from __future__ import annotations

from tests.servers.wire import Answered, Asked, WireServer
from tests.unit.pubsub.certificate_server import Signer

ACCOUNT = "accelerator@my-project.iam.gserviceaccount.com"
_GOOGLE = {"Metadata-Flavor": "Google"}


class Metadata(WireServer):
    """Gives a signed token for any audience, to those who send its header."""

    def __init__(self) -> None:
        super().__init__()
        self._signer = Signer("key-1")
        self.environment = {
            "GCE_METADATA_HOST": self.url.removeprefix("http://"),
            "GCE_METADATA_IP": self.url.removeprefix("http://"),
        }

    def answer(self, asked: Asked) -> Answered:
        if asked.path == "/certs":
            return Answered(200, {self._signer.key_id: self._signer.certificate})
        if asked.headers.get("metadata-flavor") != "Google":
            return Answered(403, "Missing required header")
        match asked.path.removeprefix("/computeMetadata/v1/instance/service-accounts/default/"):
            case "/":
                return Answered(200, "computeMetadata/", _GOOGLE)
            case "":
                return Answered(200, {"email": ACCOUNT, "scopes": [], "aliases": ["default"]}, _GOOGLE)
            case "identity" if "audience" in asked.query:
                return Answered(200, self._signer.token(aud=asked.query["audience"], email=ACCOUNT), _GOOGLE)
        return Answered(404, "not found", _GOOGLE)
