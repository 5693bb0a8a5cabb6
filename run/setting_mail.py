"""The settings of the mail server, by which people are told what has become of batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from run.notifications.email import address
from run.setting_values import Port


class SmtpSecurity(StrEnum):
    """How the connection to the mail server is kept secret."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class MailSettings(BaseModel):
    """Part of Settings: without `smtp_host` there is no mail server."""

    smtp_host: str | None = Field(
        default=None,
        validation_alias="SMTP_HOST",
        pattern=r"^[A-Za-z0-9.:_-]+$",
        description="The mail server that notifications are handed to; without it no mail is sent.",
    )
    smtp_port: Port = Field(
        default=587,
        validation_alias="SMTP_PORT",
        description="Its port: mostly 587, or 465 with `SMTP_SECURITY=tls`. Google Cloud lets nothing out to port 25.",
    )
    smtp_security: SmtpSecurity = Field(
        default=SmtpSecurity.STARTTLS,
        validation_alias="SMTP_SECURITY",
        description="`starttls`; `tls`, from the first byte on; or `none`, which goes with no `SMTP_USER`.",
    )
    smtp_user: str | None = Field(
        default=None, validation_alias="SMTP_USER", description="Who sends mail, where the server wants to know."
    )
    smtp_password: SecretStr | None = Field(
        default=None,
        validation_alias="SMTP_PASSWORD",
        description="The password of `SMTP_USER`; without it the secret of this name is read.",
    )
    smtp_sender: Annotated[str, AfterValidator(address)] | None = Field(
        default=None,
        validation_alias="SMTP_SENDER",
        description="The address that mail comes from. Needed with `SMTP_HOST`.",
    )

    def mail_problems(self) -> Iterator[str]:
        """Yield what contradicts what; nothing where mail can be sent, or none is to be."""
        if self.smtp_host is None:
            return
        if self.smtp_sender is None:
            yield "SMTP_SENDER: missing; SMTP_HOST needs the address that mail comes from"
        if self.smtp_user is None and self.smtp_password is not None:
            yield "SMTP_USER: missing; SMTP_PASSWORD is somebody's"
        if self.smtp_user is not None and self.smtp_security is SmtpSecurity.NONE:
            yield "SMTP_SECURITY: none would send the password of SMTP_USER in clear text; use starttls or tls"


def has_mail_server(environ: Mapping[str, str]) -> bool:
    """Whether this environment names a mail server."""
    return bool(environ.get("SMTP_HOST", "").strip())
