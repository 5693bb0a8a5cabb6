"""A secret is named in a workflow, read where it is kept, and shown nowhere."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr, TypeAdapter

from database.sessions import Database
from run.clients import Clients
from run.clients.secrets import Secrets
from run.errors import PermanentFailure, Unavailable
from run.kinds import build_kinds
from run.kinds.kind import Finished, GoesOn, Kind, KindConfig, Work
from run.kinds.secret_name import Secret, SecretName
from run.logs import configure_logging
from run.redaction import redacted
from run.settings import Settings
from run.workflows.kind_config import check_config
from run.workflows.scope import Scope
from tests.engine_room import ME, EngineRoom
from tests.servers.secret_manager import SecretManager
from tests.servers.wire import Answered, Asked

VALUE = "s3cret-value-of-the-test"


@pytest.fixture
def manager() -> Iterator[SecretManager]:
    with SecretManager() as server:
        yield server


@pytest.fixture
def secrets(manager: SecretManager) -> Secrets:
    return Secrets("local", {"FROM_ENVIRONMENT": SecretStr("kept-in-the-environment")}, manager.url)


def test_the_environment_is_asked_first_and_nobody_else(secrets: Secrets, manager: SecretManager) -> None:
    assert secrets.value("FROM_ENVIRONMENT") == "kept-in-the-environment"
    assert manager.asked == []


def test_secret_manager_is_asked_once(secrets: Secrets, manager: SecretManager) -> None:
    manager.secrets["password"] = VALUE.encode()
    assert [secrets.value("password") for _ in range(3)] == [VALUE] * 3
    assert [str(asked) for asked in manager.asked] == ["GET /v1/projects/local/secrets/password/versions/latest:access"]


def test_a_secret_that_is_not_there_is_named_with_both_places(secrets: Secrets) -> None:
    with pytest.raises(PermanentFailure, match="neither SECRET_nobody in the environment nor an enabled version"):
        secrets.value("nobody")


def test_a_secret_that_is_not_for_us_names_the_role(secrets: Secrets, manager: SecretManager) -> None:
    manager.forbidden.add("theirs")
    with pytest.raises(PermanentFailure, match=r"roles/secretmanager\.secretAccessor"):
        secrets.value("theirs")


def test_a_secret_that_is_no_text_is_refused_without_showing_it(secrets: Secrets, manager: SecretManager) -> None:
    manager.secrets["picture"] = b"\xff\xfe-bytes"
    with pytest.raises(PermanentFailure, match="is no text") as caught:
        secrets.value("picture")
    assert "bytes" not in str(caught.value)


def test_secret_manager_that_is_busy_is_asked_again_later(secrets: Secrets, manager: SecretManager) -> None:
    manager.secrets["password"] = VALUE.encode()
    manager.fails["access"] = [Answered(429, headers={"Retry-After": "3600"})]
    with pytest.raises(Unavailable):
        secrets.value("password")
    assert secrets.value("password") == VALUE


class ThoughtfulManager(SecretManager):
    """Answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.may_answer = threading.Event(), threading.Event()

    def answer(self, asked: Asked) -> Answered:
        self.is_asked.set()
        self.may_answer.wait(30)
        return super().answer(asked)


def test_a_known_secret_is_given_while_secret_manager_thinks_about_another() -> None:
    with ThoughtfulManager() as manager, ThreadPoolExecutor(2) as threads:
        manager.secrets["slow"] = b"one-that-comes-late"
        secrets = Secrets("local", {"KNOWN": SecretStr("kept-in-the-environment")}, manager.url)
        slow = threads.submit(secrets.value, "slow")
        assert manager.is_asked.wait(30)
        known = threads.submit(secrets.value, "KNOWN")
        try:
            assert known.result(10) == "kept-in-the-environment"
        finally:
            manager.may_answer.set()
        assert slow.result(30) == "one-that-comes-late"


def test_a_secret_of_the_environment_is_hidden_before_anybody_has_asked_for_it() -> None:
    value = "known-from-the-first-moment"
    Clients(SETTINGS.model_copy(update={"secrets": {"EARLY": SecretStr(value)}}))
    assert redacted({"said": f"it is {value}"}) == {"said": "it is [hidden]"}


@pytest.mark.parametrize(
    "written", [VALUE, 20240316123456, ["20240316123456"], {"secret": f"{VALUE}/=="}, {"secret": 7}]
)
def test_a_secret_that_is_written_instead_of_named_is_refused_without_showing_it(written: object) -> None:
    kinds = build_kinds(Clients(SETTINGS))
    app = dict.fromkeys(("workspace", "dataset", "client_id"), "f089354e-8366-4e18-aea3-4cb4a3a50b48")
    for kind, config in (
        ("power_bi_refresh", {**app, "tenant": "contoso.com", "client_secret": written}),
        ("http_request", {"url": "https://example.com/", "headers": {"X-Api-Key": written}}),
    ):
        _, found = check_config(kinds[kind], config, Scope(names={}, own_file=None), None)
        told = " ".join(sentence for _, sentence in found)
        assert "secret" in told, kind
        assert VALUE not in told, kind
        assert "20240316123456" not in told, kind


def test_a_secret_that_is_named_is_taken() -> None:
    key: TypeAdapter[SecretName] = TypeAdapter(Secret)
    assert key.validate_python({"secret": "password"}).secret == "password"


class LeakyConfig(KindConfig):
    """A kind that is told a secret."""

    password: Secret
    fails: bool = False


class Leaky(Kind[LeakyConfig]):
    """Tells everybody its secret."""

    name = "leaky"
    config = LeakyConfig

    def start(self, config: LeakyConfig, work: Work) -> Finished:
        value = self.clients.secrets.value(config.password.secret)
        logging.getLogger("leaky").warning("my secret is %s", value)
        if config.fails:
            raise PermanentFailure(f"{value} was refused", {"sent": [value], value: 1})
        return Finished({"answer": {"password": value}})


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging(SETTINGS, stream)
    yield stream
    root.handlers, root.level = before, level


SETTINGS = Settings.model_validate(
    {
        "DATABASE_URL": "postgresql://nobody@localhost/none",
        "GOOGLE_CLOUD_PROJECT": "local",
        "LANDING_BUCKET": "landing",
        "SECRET_*": {"PASSWORD": VALUE},
    }
)


@pytest.mark.parametrize("fails", [False, True])
def test_a_secret_is_in_no_log_line_and_in_no_row(database: Database, log: io.StringIO, fails: bool) -> None:
    room = EngineRoom(database, more_kinds=[Leaky(Clients(SETTINGS))])
    details = {"kind": "leaky", "config": {"password": {"secret": "PASSWORD"}, "fails": fails}}
    room.apply({"leak": []}, details={"leak": details})
    room.start()
    room.deliver_all()
    assert room.statuses()["leak"] == ("ERROR" if fails else "SUCCESS")
    assert "my secret is [hidden]" in log.getvalue()
    assert VALUE not in log.getvalue()
    kept = str(room.rows("SELECT to_jsonb(l), to_jsonb(b) FROM task_log l, batch_task b"))
    assert "[hidden]" in kept
    assert VALUE not in kept


class Stubborn(Kind[LeakyConfig]):
    """Goes on outside, and tells everybody its secret when it is to be ended."""

    name = "stubborn"
    config = LeakyConfig

    def start(self, config: LeakyConfig, work: Work) -> GoesOn:
        return GoesOn({"job": 1}, 60)

    def cancel(self, config: LeakyConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:
        raise PermanentFailure(f"{self.clients.secrets.value(config.password.secret)} was refused\0")


def test_why_an_attempt_has_not_ended_is_kept_without_the_secret_whatever_it_says(database: Database) -> None:
    room = EngineRoom(database, more_kinds=[Stubborn(Clients(SETTINGS))])
    room.apply({"leak": []}, details={"leak": {"kind": "stubborn", "config": {"password": {"secret": "PASSWORD"}}}})
    room.start()
    room.deliver_all()
    room.moves.cancel_batch("cake", "2024-03", ME)
    room.pass_time(120)
    room.sweep()
    assert room.rows("SELECT problem FROM cancellation") == [("[hidden] was refused\N{REPLACEMENT CHARACTER}",)]


def test_the_settings_show_the_names_of_secrets_and_not_their_values() -> None:
    environ = {
        "DATABASE_URL": "postgresql://nobody@localhost/none",
        "GOOGLE_CLOUD_PROJECT": "local",
        "LANDING_BUCKET": "landing",
        "BIGQUERY_LOCATION": "EU",
        "SECRET_PASSWORD": VALUE,
        "SECRET_EMPTY": "",
    }
    settings = Settings.from_environment(environ, serves=False)
    assert list(settings.secrets) == ["PASSWORD"]
    assert VALUE not in repr(settings)
