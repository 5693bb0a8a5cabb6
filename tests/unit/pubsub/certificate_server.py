"""A signer of identity tokens, and the server that publishes its certificates as Google does."""

from __future__ import annotations

import base64
import datetime as dt
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

AUDIENCE = "https://service.example"
ACCOUNT = "push@my-project.iam.gserviceaccount.com"


def part(value: Mapping[str, Any]) -> str:
    return encoded(json.dumps(value).encode())


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.certificate = _certificate(self._key)

    def token(self, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token that is right but for what is given; a claim that is None is left out."""
        now = int(time.time())
        right = {"iss": "https://accounts.google.com", "aud": AUDIENCE, "email": ACCOUNT, "email_verified": True}
        payload = {**right, "sub": "1", "iat": now, "exp": now + 3600, **claims}
        content = {name: value for name, value in payload.items() if value is not None}
        signed = f"{part({'alg': 'RS256', 'kid': self.key_id, **(header or {})})}.{part(content)}"
        return f"{signed}.{encoded(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _certificate(key: rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    dated = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    return dated.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@dataclass
class CertificateServer:
    url: str = ""
    certificates: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    cache_control: str = "public, max-age=3600"
    hits: int = 0

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.hits += 1
        body = json.dumps(self.certificates).encode()
        request.send_response(self.status)
        request.send_header("Cache-Control", self.cache_control)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@contextmanager
def certificate_server() -> Iterator[CertificateServer]:
    server = CertificateServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}/certs"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        http.shutdown()
        thread.join()
