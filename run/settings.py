"""What the environment says, read once; nothing else in the service reads it.

Every variable is a field below: its name there, what it means and its default. `docs/settings.md` lists the same.
An empty variable counts as unset.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from run.errors import InvalidSettings
from run.setting_mail import MailSettings, has_mail_server
from run.setting_problems import field_problems, location_problems, misspelt_names, problems_text
from run.setting_values import (
    LogLevel,
    Port,
    PushAuth,
    address,
    bucket_name,
    module_names,
    postgres_url,
    topic_name,
    with_scheme,
    without_scheme,
)

#: More connections than these Cloud SQL does not take from one instance of Cloud Run.
#: https://cloud.google.com/sql/docs/postgres/connect-run
_MOST_CONNECTIONS = 100
#: Beside each request's connection: one for what a process does by itself, such as renewing leases, and one to spare.
_OTHER_CONNECTIONS = 2
GOOGLE_CERTS_URL = "https://www.googleapis.com/oauth2/v1/certs"


Threads = Annotated[int, Field(ge=1, le=_MOST_CONNECTIONS - _OTHER_CONNECTIONS)]
DEFAULT_PORT = 8080
DEFAULT_THREADS = 8


class Settings(MailSettings):
    """Everything that differs from one deployment to another.

    Raises InvalidSettings (from `from_environment`) naming every variable that is missing or wrong.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore", hide_input_in_errors=True)

    database_url: Annotated[str, AfterValidator(postgres_url)] = Field(
        validation_alias="DATABASE_URL",
        repr=False,
        description="The Postgres database, as `postgresql://user:password@host:5432/database`.",
    )
    project: str = Field(
        validation_alias="GOOGLE_CLOUD_PROJECT",
        pattern=r"^[a-z0-9][a-z0-9.:-]{1,61}[a-z0-9]$",
        description="The Google Cloud project of the topic, the buckets and the BigQuery jobs.",
    )
    topic: Annotated[str, AfterValidator(topic_name)] = Field(
        default="cloud-accelerator",
        validation_alias="PUBSUB_TOPIC",
        description="The topic of our own messages: a name in the project, or `projects/PROJECT/topics/NAME`.",
    )
    landing_bucket: Annotated[str, AfterValidator(bucket_name)] = Field(
        validation_alias="LANDING_BUCKET", description="The bucket where files arrive."
    )
    archive_bucket: Annotated[str, AfterValidator(bucket_name)] = Field(
        default_factory=lambda so_far: str(so_far.get("landing_bucket", "")),
        validation_alias="ARCHIVE_BUCKET",
        description="The bucket where files are archived; the landing bucket unless it is set.",
    )
    push_auth: PushAuth = Field(
        default=PushAuth.VERIFY,
        validation_alias="PUSH_AUTH",
        description="Who checks the token of a push request: `verify`, this service in full; `cloud_run`, the "
        "platform, which shows a private service only the claims; `none`, nobody, in the local stack only.",
    )
    push_audience: str | None = Field(
        default=None,
        validation_alias="PUSH_AUDIENCE",
        description="The audience that the push subscription puts into its tokens. Needed by `verify`.",
    )
    push_service_account: str | None = Field(
        default=None,
        validation_alias="PUSH_SERVICE_ACCOUNT",
        pattern=r"^[^@\s]+@[^@\s]+$",
        description="The e-mail of the service account that the push subscription uses. "
        "Needed by `verify` and `cloud_run`.",
    )
    oidc_certs_url: Annotated[str, AfterValidator(address)] = Field(
        default=GOOGLE_CERTS_URL,
        validation_alias="OIDC_CERTS_URL",
        description="Where the certificates that sign the tokens of push requests are published.",
    )
    bigquery_location: str | None = Field(
        default=None,
        validation_alias="BIGQUERY_LOCATION",
        pattern=r"^[A-Za-z][A-Za-z0-9_-]*$",
        description="Where BigQuery's datasets are and its jobs run, such as `EU` or `europe-west1`; without it a job "
        "is not found again outside `US` and `EU`. Required unless `BIGQUERY_EMULATOR_HOST` is set.",
    )
    pubsub_emulator_host: Annotated[str, AfterValidator(without_scheme)] | None = Field(
        default=None, validation_alias="PUBSUB_EMULATOR_HOST", description="HOST:PORT of a Pub/Sub emulator."
    )
    storage_emulator_host: Annotated[str, AfterValidator(with_scheme)] | None = Field(
        default=None, validation_alias="STORAGE_EMULATOR_HOST", description="The address of a local GCS server."
    )
    bigquery_emulator_host: Annotated[str, AfterValidator(with_scheme)] | None = Field(
        default=None, validation_alias="BIGQUERY_EMULATOR_HOST", description="The address of a local BigQuery server."
    )
    dataform_url: Annotated[str, AfterValidator(address)] = Field(
        default="https://dataform.googleapis.com",
        validation_alias="DATAFORM_URL",
        description="The address of Dataform's API; one with http:// is met without Google's credentials.",
    )
    cloud_run_url: Annotated[str, AfterValidator(address)] = Field(
        default="https://run.googleapis.com",
        validation_alias="CLOUD_RUN_URL",
        description="The address of Cloud Run's API; one with http:// is met without Google's credentials.",
    )
    secret_manager_url: Annotated[str, AfterValidator(address)] = Field(
        default="https://secretmanager.googleapis.com",
        validation_alias="SECRETMANAGER_URL",
        description="The address of Secret Manager's API; one with http:// is met without Google's credentials.",
    )
    power_bi_url: Annotated[str, AfterValidator(address)] = Field(
        default="https://api.powerbi.com",
        validation_alias="POWER_BI_URL",
        description="The address of Power BI's API.",
    )
    microsoft_login_url: Annotated[str, AfterValidator(address)] = Field(
        default="https://login.microsoftonline.com",
        validation_alias="MICROSOFT_LOGIN_URL",
        description="The address of Microsoft's token service.",
    )
    secrets: Mapping[str, SecretStr] = Field(
        default_factory=dict,
        validation_alias="SECRET_*",
        description="The value of the secret that workflows name `{secret: NAME}`; those that the environment does not "
        "have are read from Secret Manager.",
    )
    function_modules: Annotated[tuple[str, ...], BeforeValidator(module_names)] = Field(
        default=(),
        validation_alias="FUNCTION_MODULES",
        description="The Python modules and packages whose functions workflows may call, with commas or spaces "
        "between; a package stands for everything below it. Nothing unless it is set.",
    )
    loopback_url: Annotated[str, AfterValidator(address)] | None = Field(
        default=None,
        validation_alias="LOOPBACK_URL",
        description="Deliver our own messages as push requests to this address instead of publishing them. "
        "Such requests carry no token.",
    )
    port: Port = Field(
        default=DEFAULT_PORT, validation_alias="PORT", description="The port that the service listens on."
    )
    threads: Threads = Field(
        default=DEFAULT_THREADS,
        validation_alias="THREADS",
        description="How many requests the service works on at a time.",
    )
    database_pool_size: Annotated[int, Field(ge=1, le=_MOST_CONNECTIONS)] = Field(
        default_factory=lambda so_far: int(so_far.get("threads", DEFAULT_THREADS)) + _OTHER_CONNECTIONS,
        validation_alias="DATABASE_POOL_SIZE",
        description="How many connections to the database a process has at most; `THREADS` + 2 unless it is set.",
    )
    log_level: LogLevel = Field(
        default=LogLevel.INFO,
        validation_alias="LOG_LEVEL",
        description="The least severe log line that is written: DEBUG, INFO, WARNING, ERROR or CRITICAL.",
    )
    cloud_run_service: str | None = Field(
        default=None, validation_alias="K_SERVICE", description="Set by Cloud Run itself: the name of the service."
    )

    @property
    def topic_path(self) -> str:
        """The topic as `projects/PROJECT/topics/NAME`."""
        return self.topic if "/" in self.topic else f"projects/{self.project}/topics/{self.topic}"

    @property
    def is_local(self) -> bool:
        """Whether this is the local stack: its messages come from an emulator or from ourselves, not on Cloud Run."""
        return bool(self.pubsub_emulator_host or self.loopback_url) and self.cloud_run_service is None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, *, serves: bool = True) -> Settings:
        """Read the settings from `environ`, the process's own environment unless given.

        A process that serves push requests must be told how to tell them from anybody else's; one that only gives
        commands (`serves=False`) need not know. Raises InvalidSettings.
        """
        environ = os.environ if environ is None else environ
        given = _given(environ)
        without_location = list(location_problems(given))
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            problems = [*field_problems(error), *without_location, *misspelt(environ)]
            raise InvalidSettings(problems_text(problems)) from None
        if settings.is_local and not given.keys() & {"PUSH_AUTH", "PUSH_AUDIENCE", "PUSH_SERVICE_ACCOUNT"}:
            settings = settings.model_copy(update={"push_auth": PushAuth.NONE})
        problems = [*without_location, *settings.mail_problems(), *(settings.serving_problems() if serves else ())]
        if problems:
            raise InvalidSettings(problems_text(problems))
        return settings

    def serving_problems(self) -> Iterator[str]:
        """Yield why a process that serves must not start with these settings; nothing when it may."""
        yield from self.push_problems()
        if self.cloud_run_service is not None:
            for name in ("pubsub_emulator_host", "storage_emulator_host", "bigquery_emulator_host", "loopback_url"):
                if getattr(self, name) is not None:
                    yield f"{Settings.model_fields[name].validation_alias}: is for a local service, not for Cloud Run"
        elif self.loopback_url and self.push_auth is not PushAuth.NONE:
            yield (
                f"LOOPBACK_URL: such requests carry no token, and PUSH_AUTH={self.push_auth} refuses them; leave out "
                "LOOPBACK_URL, or PUSH_AUTH, PUSH_AUDIENCE and PUSH_SERVICE_ACCOUNT"
            )

    def push_problems(self) -> Iterator[str]:
        """Yield why push requests could not be told from anybody else's; nothing when they can."""
        account, audience = self.push_service_account, self.push_audience
        if self.push_auth is PushAuth.NONE:
            if not self.is_local:
                yield (
                    "PUSH_AUTH: none is for the local stack only (PUBSUB_EMULATOR_HOST or LOOPBACK_URL set, not on "
                    "Cloud Run); use verify or cloud_run"
                )
            if account or audience:
                yield "PUSH_AUTH: none contradicts PUSH_AUDIENCE and PUSH_SERVICE_ACCOUNT; leave it out, or both"
            return
        if not account:
            yield f"PUSH_SERVICE_ACCOUNT: missing; PUSH_AUTH={self.push_auth} needs the subscription's service account"
        if not audience and self.push_auth is PushAuth.VERIFY:
            yield "PUSH_AUDIENCE: missing; PUSH_AUTH=verify needs the audience of the subscription's tokens"
        if self.push_auth is PushAuth.CLOUD_RUN and self.cloud_run_service is None:
            yield "PUSH_AUTH: cloud_run is only safe on Cloud Run (K_SERVICE is not set); use verify"


class Listening(BaseModel):
    """What gunicorn must know before it loads the service; the same variables as in Settings."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    port: Port = Field(default=DEFAULT_PORT, validation_alias="PORT")
    threads: Threads = Field(default=DEFAULT_THREADS, validation_alias="THREADS")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Listening:
        """Read both from `environ`, the process's own environment unless given; raises InvalidSettings."""
        try:
            return cls.model_validate(_given(os.environ if environ is None else environ))
        except ValidationError as error:
            raise InvalidSettings(problems_text(field_problems(error))) from None


def read_database_url(environ: Mapping[str, str] | None = None) -> str:
    """Return DATABASE_URL alone, for commands that need nothing else; raises InvalidSettings."""
    value = read_alone("DATABASE_URL", environ)
    if value is None:
        raise InvalidSettings(problems_text(["DATABASE_URL: missing"]))
    try:
        return postgres_url(value)
    except ValueError as error:
        raise InvalidSettings(problems_text([f"DATABASE_URL: {error}"])) from None


def names_mail_server(environ: Mapping[str, str] | None = None) -> bool:
    """Whether `environ` names a mail server, the process's own environment unless given."""
    return has_mail_server(os.environ if environ is None else environ)


def read_alone(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return one variable as it stands there; None when it is unset."""
    return _given(os.environ if environ is None else environ).get(name)


def misspelt(environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield which variables of `environ` may have been meant for settings, the process's own unless given."""
    return misspelt_names(os.environ if environ is None else environ, _names())


def _names() -> list[str]:
    return [str(field.validation_alias) for field in Settings.model_fields.values()]


def _given(environ: Mapping[str, str]) -> dict[str, Any]:
    names = _names()
    given: dict[str, Any] = {name: environ[name].strip() for name in names if environ.get(name, "").strip()}
    # Nothing is taken off a secret: a space at its end may belong to it.
    secrets = {name.removeprefix("SECRET_"): value for name, value in environ.items() if name.startswith("SECRET_")}
    return {**given, "SECRET_*": {name: value for name, value in secrets.items() if name and value}}
