"""Telling a message by the channel that a workflow names: a mail, a webhook, Slack."""

from __future__ import annotations

import smtplib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from run.clients import Clients
from run.clients.http import Request
from run.errors import AcceleratorError
from run.notifications import slack, webhook
from run.notifications.email import MailRefused, Security, SmtpServer, mail_of
from run.notifications.message import Message
from run.redaction import hide, redacted
from run.workflows.channels import Channel, problem_of_url
from run.workflows.secret_name import SecretName

#: How long a webhook may think about it, in seconds.
_WEBHOOK_SECONDS = 15.0
_LONGEST_ANSWER = 500
#: The secret that has the password of the mail server when the environment does not.
SMTP_PASSWORD = "SMTP_PASSWORD"  # noqa: S105 - its name


class NotSent(AcceleratorError):
    """A channel has not taken a message; the message says why, without secrets."""


@dataclass(frozen=True)
class MailAccount:
    """From where mail is sent; `password` None is looked up as the secret SMTP_PASSWORD where there is a user."""

    host: str
    port: int
    security: Security
    sender: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


class Channels:
    """Sends a message once; asks for secrets when they are needed."""

    def __init__(self, clients: Clients, mail: MailAccount | None) -> None:
        """Without `mail` there is no mail server, and no mail is sent."""
        self._clients = clients
        self._mail = mail

    def send(self, channel: Channel, message: Message) -> str | None:
        """Send it; what was said besides accepting it. Raises NotSent."""
        try:
            if channel.email:
                return self._send_mail(channel, message)
            self._post(*self._posted(channel, message))
        except (AcceleratorError, OSError, smtplib.SMTPException) as error:
            why = str(error) if isinstance(error, AcceleratorError) else f"{type(error).__name__}: {error}"
            raise NotSent(str(redacted(why))) from error
        return None

    def _send_mail(self, channel: Channel, message: Message) -> str | None:
        account = self._mail
        if account is None:
            raise NotSent("there is no mail server: the service has no SMTP_HOST")
        server = SmtpServer(account.host, account.port, account.security, self._credentials(account), tls=account.tls)
        domain = account.sender.rpartition("@")[2].rstrip(">")
        mail = mail_of(message.rendered, account.sender, channel.email, f"<{message.key}@{domain}>")
        try:
            server.send(mail)
        except MailRefused as refused:
            # Those whom it was taken for must not get it again.
            return str(redacted(str(refused)))
        return None

    def _credentials(self, account: MailAccount) -> tuple[str, str] | None:
        if account.user is None:
            return None
        return account.user, account.password or self._clients.secrets.value(SMTP_PASSWORD)

    def _posted(self, channel: Channel, message: Message) -> tuple[str, Mapping[str, str], bytes]:
        if channel.webhook is None:
            body = slack.body_of(message)
            return self._url(channel.slack), {"Content-Type": "application/json"}, body
        body = webhook.body_of(message)
        key = None
        if channel.sign_with is not None:
            key = self._clients.secrets.value(channel.sign_with.secret).strip().encode()
        return self._url(channel.webhook), webhook.headers_of(message, body, int(time.time()), key), body

    def _url(self, written: str | SecretName | None) -> str:
        if not isinstance(written, SecretName):
            return written or ""
        url = self._clients.secrets.value(written.secret).strip()
        if problem := problem_of_url(url):
            raise NotSent(f"the secret {written.secret}: {problem}")
        # What is said of a request has no query.
        hide(url.partition("?")[0])
        return url

    def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        answer = self._clients.http.send(Request("POST", url, headers, body, _WEBHOOK_SECONDS))
        if not 200 <= answer.status < 300:  # noqa: PLR2004 - the range of success
            # Redacted before it is cut: half of a secret is not known for one.
            said = str(redacted(answer.text.strip()))[:_LONGEST_ANSWER]
            raise NotSent(f"it was answered with {answer.status}: {said}")
