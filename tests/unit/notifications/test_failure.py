"""The arguments of a call as people may see them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run.notifications.failure import call_of
from run.redaction import is_secret_name, without_secrets


@dataclass
class Connection:
    host: str
    password: str


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


def shown(*args: Any, parameters: Any = (), **kwargs: Any) -> dict[str, str]:
    return dict(call_of(args, kwargs, parameters).arguments)


def test_arguments_are_shown_by_the_names_of_their_parameters() -> None:
    assert shown(1, "x", 3, parameters=("a", "b"), c=[4]) == {"a": "1", "b": "'x'", "args[2]": "3", "c": "[4]"}
    assert shown(1, parameters=("a", "b")) == {"a": "1"}


@pytest.mark.parametrize(
    "name",
    ["password", "db_password", "PASSWORD", "passwd", "pwd", "api_key", "apiKey", "API-KEY", "accessToken", "token",
     "client_secret", "private_key", "credentials", "Authorization", "auth", "session_cookie"],
)  # fmt: skip
def test_a_value_with_the_name_of_a_secret_is_hidden(name: str) -> None:
    assert is_secret_name(name)
    assert shown(**{name: "hunter2"}) == {name: "[hidden]"}
    assert shown("hunter2", parameters=(name,)) == {name: "[hidden]"}
    assert shown(x={"deep": [{name: "hunter2"}]}) == {"x": f"{{'deep': [{{{name!r}: [hidden]}}]}}"}
    assert "hunter2" not in without_secrets(f"connect({name}='hunter2', other=1)")


@pytest.mark.parametrize("name", ["table", "author", "keyboard", "passes", "path", "batch"])
def test_other_values_are_shown(name: str) -> None:
    assert not is_secret_name(name)
    assert shown(**{name: "value"}) == {name: "'value'"}


def test_a_secret_of_the_call_is_hidden_wherever_it_is_told() -> None:
    call = call_of(("see hunter2-x",), {"password": "hunter2-x", "more": {"tokens": ["abcd1", ("efgh1",)]}})
    assert dict(call.arguments)["args[0]"] == "'see [hidden]'"
    assert call.clean("tried hunter2-x, abcd1 and efgh1") == "tried [hidden], [hidden] and [hidden]"
    assert "hunter2" not in repr(call)


def test_secrets_inside_other_texts_are_hidden() -> None:
    assert shown(Connection("db", "hunter2")) == {"args[0]": "Connection(host='db', password=[hidden])"}
    assert without_secrets("postgresql://ann:hunter2@db/x") == "postgresql://ann:[hidden]@db/x"
    assert without_secrets('{"token": "a b", "rows": 3}') == '{"token": [hidden], "rows": 3}'
    assert without_secrets("GET /?token=abc&page=2") == "GET /?token=[hidden]&page=2"
    assert without_secrets("host=db password=abc port=1") == "host=db password=[hidden] port=1"
    assert without_secrets("credentials=('user', 'pass'), x") == "credentials=[hidden], x"
    assert without_secrets("https://example.com:8080/a@b and no secret") == "https://example.com:8080/a@b and no secret"


@pytest.mark.parametrize(
    "piece", ["x", "token", "token=", "token='", "://", "://a:", "password: (", "x@", "auth=[hidden"]
)
def test_no_text_takes_long(piece: str) -> None:
    began = time.monotonic()
    without_secrets(piece * (100_000 // len(piece)))
    assert time.monotonic() - began < 2


@given(st.text(max_size=200) | st.text("token='\"= :/@(\n", max_size=60))
def test_hiding_twice_changes_nothing(text: str) -> None:
    once = without_secrets(text)
    assert without_secrets(once) == once


def test_a_value_that_cannot_be_shown_hides_nothing_else() -> None:
    assert shown(Broken(), 1) == {"args[0]": "<Broken that cannot be shown: RuntimeError>", "args[1]": "1"}


def test_a_long_value_is_cut() -> None:
    [text] = shown("x" * 10_000).values()
    assert text == "'" + "x" * 499 + "... (10,002 characters)"
