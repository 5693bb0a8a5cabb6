"""How people are told what has become of a batch or of a task: `notify`, a list of channels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from run.notifications.email import address
from run.workflows.secret_name import SecretName
from run.workflows.sentences import Finding

NotifyEvent = Literal["failure", "success", "missed_deadline"]
_MISSED_DEADLINE = "missed_deadline"
_MOST_RECIPIENTS = 50


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _recipients(value: Any) -> Any:
    value = _listed(value)
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return [address(one) for one in value]
    raise ValueError("write addresses, such as [ann@example.com, bob@example.com]")


def _url_or_secret(value: Any) -> Any:
    if not isinstance(value, str):
        return _secret_name(value, "write an address such as https://example.com/hook, or {secret: NAME}")
    if problem := problem_of_url(value):
        raise ValueError(problem)
    return value


def _key(value: Any) -> Any:
    # The value itself may be a secret, so it is not repeated.
    return _secret_name(value, "name the secret as {secret: NAME} instead of writing it")


def _secret_name(value: Any, otherwise: str) -> SecretName | None:
    if value is None or isinstance(value, SecretName):
        return value
    if not isinstance(value, dict) or value.keys() != {"secret"}:
        raise ValueError(otherwise)
    try:
        return SecretName.model_validate(value)
    except ValidationError:
        raise ValueError("the name of a secret is a letter, then letters, digits, '_' and '-'") from None


def problem_of_url(url: str) -> str | None:
    """Why nothing can be sent to this address; None when it can. It may be a secret, so it is not repeated."""
    try:
        parts = urlsplit(url)
        port = parts.port  # One that is none is found only when it is asked for.
    except ValueError:
        port = 0
    if port == 0 or parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"\s", url):
        return "it is no address; write https://host/path"
    if "@" in parts.netloc:
        return "it names a user; keep the whole address as a secret without one"
    if parts.scheme == "http" and not _is_this_machine(parts.hostname):
        return "what failed, and why, is told over https:// only"
    return None


Url = Annotated[str | SecretName | None, BeforeValidator(_url_or_secret)]


class Channel(BaseModel):
    """One way to tell people, and of what; `email`, `webhook` or `slack`, one of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    email: Annotated[tuple[str, ...], BeforeValidator(_recipients), Field(max_length=_MOST_RECIPIENTS)] = ()
    webhook: Url = None
    slack: Url = None
    #: The key that webhooks are signed with.
    sign_with: Annotated[SecretName | None, BeforeValidator(_key)] = None
    on: Annotated[tuple[NotifyEvent, ...], BeforeValidator(_listed), Field(min_length=1)] = ("failure",)

    @model_validator(mode="after")
    def _one_of_the_three(self) -> Self:
        if len([way for way in (self.email, self.webhook, self.slack) if way]) != 1:
            raise ValueError("a channel is one of email, webhook and slack; write another one for another way")
        if self.sign_with is not None and self.webhook is None:
            raise ValueError("sign_with is for a webhook; mail and Slack have no place for a signature")
        return self


def deadline_findings(channels: Sequence[Channel], reason: str) -> Iterator[Finding]:
    """A finding for each channel that tells of missed deadlines, where there is none to miss for this reason."""
    for number, channel in enumerate(channels):
        if _MISSED_DEADLINE in channel.on:
            yield ("notify", number, "on"), f"'missed_deadline' {reason}"


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
