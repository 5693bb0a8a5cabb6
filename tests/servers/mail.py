"""A mail server that speaks real SMTP: STARTTLS or TLS with a certificate of its own, AUTH, and refusals on demand."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import threading
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Certificate:
    """A certificate for this machine, which nobody trusts unless told to."""

    file: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.file, self.key)
        return context

    def trusting(self) -> ssl.SSLContext:
        """What a client needs to accept it, and nothing else."""
        return ssl.create_default_context(cafile=str(self.file))


def make_certificate(folder: Path) -> Certificate:
    """Make one, and write it into this folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    made.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@dataclass(frozen=True)
class Received:
    """One mail as it was handed in."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    #: Who was authenticated, and whether all of it went over TLS.
    user: str | None
    secure: bool

    def part(self, kind: str) -> str:
        """The text or the HTML: `plain` or `html`."""
        body = self.message.get_body((kind,))
        assert body is not None
        return str(body.get_content()).replace("\r\n", "\n")


class MailServer:
    """A running server for `with`; `received` has every mail in order.

    `security` is `starttls`, `tls` or `none`. With `users` only they may send. Recipients in `refuses` are refused.
    `farewell` is what it answers to QUIT.
    """

    def __init__(
        self, certificate: Certificate | None = None, security: str = "none", users: dict[str, str] | None = None
    ) -> None:
        self.received: list[Received] = []
        self.refuses: set[str] = set()
        self.farewell = "221 Bye"
        self.port = 0
        self._certificate = certificate
        self._security = security
        self._users = users or {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refuses:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        login = session.auth_data
        user = login.login.decode() if isinstance(login, LoginPassword) else None
        secure = server.transport is not None and server.transport.get_extra_info("sslcontext") is not None
        sender = str(envelope.mail_from)
        self.received.append(Received(sender, tuple(envelope.rcpt_tos), message, user, secure))
        return "250 OK"

    async def handle_QUIT(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802
        return self.farewell

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = self._users.get(data.login.decode()) == data.password.decode()
        return AuthResult(success=good, handled=False, auth_data=data)

    def _protocol(self) -> SMTP:
        context = self._certificate.server() if self._certificate else None
        with warnings.catch_warnings():
            # Its advice to require TLS comes even where TLS is there from the first byte on.
            warnings.simplefilter("ignore")
            return SMTP(
                self,
                tls_context=context if self._security == "starttls" else None,
                require_starttls=self._security == "starttls",
                authenticator=self._authenticate,
                auth_required=bool(self._users),
                auth_require_tls=self._security == "starttls",
                hostname="mail.example.com",
                loop=self._loop,
            )

    def __enter__(self) -> Self:
        self._thread.start()
        context = self._certificate.server() if self._certificate and self._security == "tls" else None
        making = self._loop.create_server(self._protocol, HOST, 0, ssl=context)
        self._server = asyncio.run_coroutine_threadsafe(making, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*others, return_exceptions=True)
