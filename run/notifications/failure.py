"""What people are told when tasks have failed, whoever tells them and by whichever way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from run.redaction import HIDDEN, is_secret_name, without_secrets

#: A longer value is cut here: a mail shows what a call was about, not its data.
_LONGEST_VALUE = 500
#: Secrets are looked for in so much of a value, far beyond what is shown of it.
_MOST_CLEANED = 20_000
#: A shorter secret is found in too many innocent texts.
_SHORTEST_SECRET = 4


@dataclass(frozen=True)
class FailedTask:
    """One task that failed. Every text is as people may see it: `call_of` and `without_secrets` make it so."""

    name: str
    #: What it is: "function reports.monthly:save", "kind bigquery_query".
    work: str
    #: One sentence: the type and the message of the error.
    error: str
    #: The arguments or the configuration it really had, as (name, value).
    arguments: Sequence[tuple[str, str]] = ()
    #: The traceback, or what the other side said in full.
    details: str = ""
    #: All tasks, at any distance, that could not be executed because of it.
    not_executed: Sequence[str] = ()
    #: What the arguments and the details are called.
    arguments_are: str = "Called with"
    details_are: str = "Traceback"


@dataclass(frozen=True)
class FailureReport:
    """What a message about failures says."""

    #: Where it happened: "workflow monthly_profit, batch 2024-03".
    place: str
    failed: Sequence[FailedTask]
    at: datetime
    #: The command that goes on from there.
    command: str = ""
    #: What it is about in one line; made of the failed tasks unless it is said.
    title: str = ""
    #: What failed too, of which no more is told; what was cancelled; what could not be executed because of those.
    failed_too: Sequence[str] = ()
    cancelled: Sequence[str] = ()
    not_executed: Sequence[str] = ()
    #: How many tasks there are beside all those.
    more: int = 0


@dataclass(frozen=True)
class Call:
    """The arguments of a call as people may see them, and the secrets among them."""

    arguments: tuple[tuple[str, str], ...] = ()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    def clean(self, text: str) -> str:
        """The text without secrets, those of this call among them."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return without_secrets(text)


def call_of(args: Sequence[Any], kwargs: Mapping[str, Any], parameters: Sequence[str] = ()) -> Call:
    """The arguments of a call; `parameters` are the names of the positional ones, as far as they are known."""
    named = [(f"args[{index}]", value) for index, value in enumerate(args)]
    for index, name in enumerate(parameters[: len(args)]):
        named[index] = (name, named[index][1])
    named += kwargs.items()
    call = Call(secrets=frozenset(_secrets(named)))
    return Call(tuple((name, _shown(call, name, value)) for name, value in named), call.secrets)


def _secrets(named: Iterable[tuple[Any, Any]]) -> Iterable[str]:
    for name, value in named:
        if isinstance(value, Mapping):
            yield from _secrets(value.items())
        elif isinstance(value, list | tuple):
            # What lies under a secret name is secret at any depth: credentials=("user", "password").
            yield from _secrets((name, member) for member in value)
        elif isinstance(value, str) and len(value) >= _SHORTEST_SECRET and is_secret_name(str(name)):
            yield value


def _shown(call: Call, name: str, value: Any) -> str:
    try:
        whole = repr(_without_secret_values(name, value))
    except Exception as error:  # noqa: BLE001 - a value that cannot be shown must not hide the failure.
        return f"<{type(value).__qualname__} that cannot be shown: {type(error).__name__}>"
    text = call.clean(whole[:_MOST_CLEANED])
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}... ({len(whole):,} characters)"


def _without_secret_values(name: Any, value: Any) -> Any:
    if is_secret_name(str(name)):
        return _Hidden()
    if isinstance(value, dict):
        return {key: _without_secret_values(key, member) for key, member in value.items()}
    if isinstance(value, list):
        return [_without_secret_values("", member) for member in value]
    return tuple(_without_secret_values("", member) for member in value) if type(value) is tuple else value


class _Hidden:
    def __repr__(self) -> str:
        return HIDDEN
