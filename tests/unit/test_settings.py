from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import make_url

from run.errors import InvalidSettings
from run.setting_values import PushAuth
from run.settings import GOOGLE_CERTS_URL, Listening, Settings, misspelt, read_database_url

BASE = {
    "DATABASE_URL": "postgresql://loader:s3cret@db:5432/accelerator",
    "GOOGLE_CLOUD_PROJECT": "my-project",
    "LANDING_BUCKET": "landing",
    "BIGQUERY_LOCATION": "europe-west1",
}
LOCATION = "BIGQUERY_LOCATION"
VERIFY = {"PUSH_AUDIENCE": "https://service", "PUSH_SERVICE_ACCOUNT": "push@my-project.iam.gserviceaccount.com"}
LOCAL = {"PUBSUB_EMULATOR_HOST": "127.0.0.1:8085"}
LOOPBACK = {"LOOPBACK_URL": "http://127.0.0.1:8080/"}
ON_CLOUD_RUN = {"K_SERVICE": "accelerator", "PUSH_AUTH": "cloud_run", "PUSH_SERVICE_ACCOUNT": "push@p.iam"}


def test_a_complete_environment_is_read_with_its_defaults() -> None:
    settings = Settings.from_environment({**BASE, **VERIFY})

    assert settings.push_auth is PushAuth.VERIFY
    assert settings.archive_bucket == "landing"
    assert settings.topic_path == "projects/my-project/topics/cloud-accelerator"
    assert settings.oidc_certs_url == GOOGLE_CERTS_URL
    assert (settings.port, settings.log_level) == (8080, "INFO")
    assert not settings.is_local


def test_all_missing_and_wrong_variables_are_named_at_once() -> None:
    wrong = {"LANDING_BUCKET": "gs://landing", "PORT": "many", "LOG_LEVEL": "loud", "PUBSUB_TOPIC": "a topic"}

    with pytest.raises(InvalidSettings) as caught:
        Settings.from_environment(wrong)

    named = re.findall(r"^  (\w+):", str(caught.value), re.MULTILINE)
    assert named == [
        "DATABASE_URL",
        "GOOGLE_CLOUD_PROJECT",
        "PUBSUB_TOPIC",
        "LANDING_BUCKET",
        "PORT",
        "LOG_LEVEL",
        LOCATION,
    ]


def test_a_variable_that_is_nearly_the_name_of_a_missing_one_is_named() -> None:
    misspelled = {**BASE, "LANDING_BUKET": "landing", "LANDING_BUCKET": "", "HOME": "/root", "SECRET_PORTS": "s3cret"}
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_environment(misspelled)
    assert "LANDING_BUKET: nothing reads it; did you mean LANDING_BUCKET?" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "HOME" not in str(caught.value)
    assert list(misspelt({**BASE, "LOG_LEVL": "DEBUG"})) == ["LOG_LEVL: nothing reads it; did you mean LOG_LEVEL?"]
    assert list(misspelt({**BASE, **VERIFY, "THREADS_": "1", "THREADS": "1"})) == []


def test_the_database_password_is_in_no_text_and_in_no_error() -> None:
    settings = Settings.from_environment({**BASE, **VERIFY})
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_environment({**BASE, "DATABASE_URL": "mysql://loader:s3cret@db/accelerator"})

    assert "DATABASE_URL" in str(caught.value)
    for text in (repr(settings), str(settings), repr(caught.value), str(caught.value.__cause__)):
        assert "s3cret" not in text


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environment({**BASE, **VERIFY, "PORT": "", "ARCHIVE_BUCKET": " "}).archive_bucket == "landing"


@pytest.mark.parametrize(
    ("given", "path"),
    [("events", "projects/my-project/topics/events"), ("projects/other/topics/events", "projects/other/topics/events")],
)
def test_a_topic_is_a_short_name_or_a_path(given: str, path: str) -> None:
    assert Settings.from_environment({**BASE, **VERIFY, "PUBSUB_TOPIC": given}).topic_path == path


def test_addresses_of_emulators_are_brought_to_one_form() -> None:
    hosts = {
        "PUBSUB_EMULATOR_HOST": "http://localhost:85",
        "STORAGE_EMULATOR_HOST": "localhost:86",
        "BIGQUERY_EMULATOR_HOST": "http://localhost:87/",
        "DATABASE_URL": "postgres:///accelerator?host=/tmp",
    }
    settings = Settings.from_environment({**BASE, **hosts})

    assert settings.pubsub_emulator_host == "localhost:85"
    assert settings.storage_emulator_host == "http://localhost:86"
    assert settings.bigquery_emulator_host == "http://localhost:87"
    assert settings.database_url == "postgresql:///accelerator?host=/tmp"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "PUSH_SERVICE_ACCOUNT"),
        ({"PUSH_AUDIENCE": "https://service"}, "PUSH_SERVICE_ACCOUNT"),
        ({"PUSH_SERVICE_ACCOUNT": "push@p.iam"}, "PUSH_AUDIENCE"),
        ({**LOCAL, "PUSH_SERVICE_ACCOUNT": "push@p.iam"}, "PUSH_AUDIENCE"),
        ({**LOCAL, "PUSH_AUTH": "verify"}, "PUSH_AUDIENCE"),
        ({**LOCAL, "K_SERVICE": "accelerator"}, "PUSH_AUDIENCE"),
        ({"PUSH_AUTH": "none"}, "PUSH_AUTH"),
        ({**LOCAL, "PUSH_AUTH": "none", "K_SERVICE": "accelerator"}, "PUSH_AUTH"),
        ({**LOCAL, **VERIFY, "PUSH_AUTH": "none"}, "PUSH_AUTH"),
        ({"PUSH_AUTH": "cloud_run", "K_SERVICE": "accelerator"}, "PUSH_SERVICE_ACCOUNT"),
        ({**VERIFY, "PUSH_AUTH": "cloud_run"}, "PUSH_AUTH: cloud_run is only safe on Cloud Run"),
        ({"STORAGE_EMULATOR_HOST": "http://localhost:86"}, "PUSH_AUDIENCE"),
    ],
)
def test_a_service_that_cannot_check_its_pushes_does_not_start(given: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSettings, match=named):
        Settings.from_environment({**BASE, **given})


@pytest.mark.parametrize(
    ("local", "given", "mode"),
    [
        (LOCAL, {}, PushAuth.NONE),
        (LOCAL, {"PUSH_AUTH": "none"}, PushAuth.NONE),
        (LOCAL, VERIFY, PushAuth.VERIFY),
        (LOOPBACK, {}, PushAuth.NONE),
        (LOOPBACK, {"PUSH_AUTH": "none"}, PushAuth.NONE),
    ],
)
def test_the_local_stack_needs_no_token_but_checks_what_is_set(
    local: dict[str, str], given: dict[str, str], mode: PushAuth
) -> None:
    assert Settings.from_environment({**BASE, **local, **given}).push_auth is mode


@pytest.mark.parametrize("given", [VERIFY, {**LOCAL, **VERIFY}])
def test_our_own_messages_are_not_looped_back_to_a_service_that_wants_tokens(given: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match=r"LOOPBACK_URL: such requests carry no token"):
        Settings.from_environment({**BASE, **LOOPBACK, **given})
    assert Settings.from_environment({**BASE, **LOOPBACK, **given}, serves=False).loopback_url


@pytest.mark.parametrize(
    "local",
    [
        LOCAL,
        LOOPBACK,
        {"STORAGE_EMULATOR_HOST": "http://localhost:86"},
        {"BIGQUERY_EMULATOR_HOST": "http://localhost:87"},
    ],
)
def test_a_service_on_cloud_run_is_refused_what_is_for_a_local_one(local: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match=rf"{next(iter(local))}: is for a local service, not for Cloud Run"):
        Settings.from_environment({**BASE, **ON_CLOUD_RUN, **local})


@pytest.mark.parametrize("serves", [True, False])
def test_where_bigquery_is_must_be_said_unless_it_is_a_local_server(*, serves: bool) -> None:
    nowhere = {**BASE, **LOCAL, "BIGQUERY_LOCATION": ""}
    with pytest.raises(InvalidSettings, match=r"BIGQUERY_LOCATION: missing; write where"):
        Settings.from_environment(nowhere, serves=serves)

    local = Settings.from_environment({**nowhere, "BIGQUERY_EMULATOR_HOST": "localhost:87"}, serves=serves)
    assert local.bigquery_location is None


def test_cloud_run_may_check_the_tokens() -> None:
    assert Settings.from_environment({**BASE, **ON_CLOUD_RUN}).push_auth is PushAuth.CLOUD_RUN


@pytest.mark.parametrize(
    ("given", "size"), [({}, 10), ({"THREADS": "3"}, 5), ({"THREADS": "3", "DATABASE_POOL_SIZE": "9"}, 9)]
)
def test_there_is_a_connection_for_every_request_and_two_more(given: dict[str, str], size: int) -> None:
    assert Settings.from_environment({**BASE, **VERIFY, **given}).database_pool_size == size


@pytest.mark.parametrize("given", [{"THREADS": "0"}, {"THREADS": "99"}, {"DATABASE_POOL_SIZE": "101"}])
def test_more_connections_than_cloud_sql_takes_from_an_instance_are_refused(given: dict[str, str]) -> None:
    (name,) = given
    with pytest.raises(InvalidSettings, match=name):
        Settings.from_environment({**BASE, **VERIFY, **given})


def test_gunicorn_is_told_the_same_port_and_threads_as_the_service() -> None:
    given = {**BASE, **VERIFY, "PORT": "4711", "THREADS": "3"}
    for environ in (given, {**BASE, **VERIFY}):
        settings, listening = Settings.from_environment(environ), Listening.from_environment(environ)
        assert (listening.port, listening.threads) == (settings.port, settings.threads)
    with pytest.raises(InvalidSettings, match="THREADS"):
        Listening.from_environment({"THREADS": "many"})


def test_a_command_that_serves_nothing_needs_no_push_settings() -> None:
    assert Settings.from_environment(BASE, serves=False).project == "my-project"
    assert read_database_url(BASE) == BASE["DATABASE_URL"]


@pytest.mark.parametrize("given", [{}, {"DATABASE_URL": "s3cret"}])
def test_a_wrong_database_url_alone_is_named(given: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="DATABASE_URL") as caught:
        read_database_url(given)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://loader:s3cret@db:port/accelerator", "the port must be a number"),
        ("postgresql://db:70000/accelerator", "the port must be a number from 1 to 65535"),
        ("postgresql://db:/accelerator", "the port must be a number"),
        ("postgresql://loader:s3c@ret@db/accelerator", "%40 for @"),
        ("postgresql://loader@[::1/accelerator", "must be an address"),
    ],
)
def test_a_database_url_that_no_driver_can_read_is_refused_without_its_password(url: str, reason: str) -> None:
    for read in (read_database_url, Settings.from_environment):
        with pytest.raises(InvalidSettings, match=rf"DATABASE_URL: .*{reason}") as caught:
            read({**BASE, **VERIFY, "DATABASE_URL": url})
        assert "s3c" not in str(caught.value)
        assert "ret@" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://loader:s3%40c/r?et@db:5432/accelerator?sslmode=require", ("db", 5432, "s3@c/r?et")),
        ("postgresql+psycopg2://loader@[::1]:5432/accelerator", ("::1", 5432, None)),
        ("postgresql://loader:p@/accelerator?host=/cloudsql/p:r:i", (None, None, "p")),
        ("postgresql:///accelerator?host=/tmp", (None, None, None)),
        ("postgresql://localhost", ("localhost", None, None)),
    ],
)
def test_a_database_url_that_is_taken_is_one_that_the_driver_reads(
    url: str, place: tuple[str | None, int | None, str | None]
) -> None:
    read = make_url(read_database_url({"DATABASE_URL": url}))

    assert (read.host, read.port, read.password) == place


MAIL = {"SMTP_HOST": "smtp.example.com", "SMTP_SENDER": "pipelines@example.com"}


def test_mail_is_encrypted_unless_the_settings_say_otherwise() -> None:
    settings = Settings.from_environment({**BASE, **VERIFY, **MAIL})
    assert (settings.smtp_port, settings.smtp_security, settings.smtp_user) == (587, "starttls", None)
    assert Settings.from_environment({**BASE, **VERIFY}).smtp_host is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"SMTP_SENDER": ""}, "SMTP_SENDER: missing; SMTP_HOST needs"),
        ({"SMTP_SENDER": "nobody"}, "SMTP_SENDER: 'nobody' is no address such as ann@example.com"),
        ({"SMTP_SECURITY": "none", "SMTP_USER": "mailer"}, "SMTP_SECURITY: none would send the password"),
        ({"SMTP_PASSWORD": "pass-of-nobody"}, "SMTP_USER: missing"),
        ({"SMTP_SECURITY": "ssl"}, "SMTP_SECURITY: "),
        ({"SMTP_PORT": "0"}, "SMTP_PORT: "),
    ],
)
@pytest.mark.parametrize("serves", [True, False])
def test_a_mail_server_that_cannot_be_used_or_would_be_told_a_password_in_clear_text_is_refused(
    given: dict[str, str], reason: str, *, serves: bool
) -> None:
    with pytest.raises(InvalidSettings, match=reason) as caught:
        Settings.from_environment({**BASE, **VERIFY, **MAIL, **given}, serves=serves)
    assert "pass-of-nobody" not in str(caught.value)


def test_the_documentation_lists_every_variable_with_its_meaning() -> None:
    rows = re.findall(
        r"^\| `([\w*]+)` \|[^|]*\| (.*) \|$",
        (Path(__file__).parents[2] / "docs" / "settings.md").read_text(),
        re.MULTILINE,
    )

    assert sorted(rows) == sorted(
        (str(field.validation_alias), str(field.description)) for field in Settings.model_fields.values()
    )
