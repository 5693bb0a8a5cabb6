"""Mail over SMTP: one server with its security, and the handler that a Task takes."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr
from typing import Literal

from run.notifications.failure import FailureReport
from run.notifications.rendering import Rendered, render_failure
from run.redaction import redacted

#: TLS from the first byte on: https://www.rfc-editor.org/rfc/rfc8314#section-3.3
_SUBMISSIONS_PORT = 465
_LONGEST_SUBJECT = 200

Security = Literal["starttls", "tls", "none"]


class MailRefused(smtplib.SMTPException):
    """The server took the mail for some of the recipients only."""


def address(text: str) -> str:
    """The address of a recipient or a sender; raises ValueError when it is none."""
    if "@" not in parseaddr(text)[1] or not text.isprintable():
        raise ValueError(f"{text!r} is no address such as ann@example.com")
    return text


@dataclass(frozen=True)
class SmtpServer:
    """Where mail is handed in; `credentials`, a user and a password, go over TLS only.

    `timeout`, in seconds, is for every single answer of the server. Without a `tls` context of one's own, the server's
    certificate must be one that this machine trusts.
    """

    host: str
    port: int
    security: Security = "starttls"
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    timeout: float = 10.0
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.credentials is not None and self.security == "none":
            raise ValueError(f"credentials for {self.host} are sent over TLS only; write use_tls=True")

    def send(self, message: EmailMessage) -> None:
        """Hand in one mail for all that it is addressed to.

        Raises OSError when the server does not answer, and smtplib.SMTPException when it refuses, which it may do for
        some of the recipients.
        """
        connection = self._connect()
        try:
            if self.security == "starttls":
                connection.starttls(context=self._context())
            if self.credentials is not None:
                connection.login(*self.credentials)
            refused = connection.send_message(message)
        finally:
            _leave(connection)
        if refused:
            raise MailRefused(f"{self.host} took it, but not for {', '.join(sorted(refused))}")

    def _connect(self) -> smtplib.SMTP:
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=self._context())
        return smtplib.SMTP(self.host, self.port, timeout=self.timeout)

    def _context(self) -> ssl.SSLContext:
        return self.tls or ssl.create_default_context()


def mail_of(rendered: Rendered, sender: str, recipients: Sequence[str], message_id: str | None = None) -> EmailMessage:
    """A mail with text and HTML; `message_id` is for who may have to send the same mail again."""
    message = EmailMessage()
    message["Subject"] = " ".join(_sendable(rendered.subject).split())[:_LONGEST_SUBJECT]
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = message_id or make_msgid(domain=_domain(sender))
    # Who is on holiday need not answer: https://www.rfc-editor.org/rfc/rfc3834#section-5
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_sendable(rendered.text))
    message.add_alternative(_sendable(rendered.html), subtype="html")
    return message


class HTMLSMTPHandler:
    """Tells people by mail that a task has failed.

    `mailhost` is (host, port). `use_tls` means STARTTLS, or TLS from the first byte on where the port is 465;
    credentials are refused without it. `subject` stands instead of "Error in task NAME".
    """

    def __init__(  # noqa: PLR0913 - what mail needs, in the order of logging.handlers.SMTPHandler
        self,
        mailhost: tuple[str, int],
        fromaddr: str,
        toaddrs: Sequence[str],
        *,
        use_tls: bool = False,
        credentials: tuple[str, str] | None = None,
        subject: str | None = None,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        host, port = mailhost
        security: Security = "none" if not use_tls else "tls" if port == _SUBMISSIONS_PORT else "starttls"
        self.server = SmtpServer(host, port, security, credentials, timeout, tls)
        self.sender = address(fromaddr)
        self.recipients = tuple(address(one) for one in ([toaddrs] if isinstance(toaddrs, str) else toaddrs))
        self.subject = subject
        if not self.recipients:
            raise ValueError("a mail needs at least one recipient")

    def send(self, report: FailureReport) -> None:
        """Send one mail to all recipients; raises what SmtpServer.send raises."""
        rendered = render_failure(report)
        if self.subject is not None:
            rendered = Rendered(self.subject, rendered.text, rendered.html)
        self.server.send(mail_of(rendered, self.sender, self.recipients))

    def __repr__(self) -> str:
        return f"HTMLSMTPHandler({self.server!r}, from {self.sender} to {', '.join(self.recipients)})"


def _leave(connection: smtplib.SMTP) -> None:
    # Whatever is answered to a farewell: a mail that was taken is taken, and must not be sent again.
    with suppress(OSError, smtplib.SMTPException):
        connection.quit()
    connection.close()


def _sendable(text: str) -> str:
    # Half of a surrogate pair, as in the name of a file that is no UTF-8, must not cost the whole mail.
    return str(redacted(text)).encode("utf-8", "replace").decode()


def _domain(sender: str) -> str:
    return parseaddr(sender)[1].rpartition("@")[2]
