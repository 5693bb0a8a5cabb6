"""cloudbuild.yaml, against what it deploys: the settings, the Dockerfile, the connection pool."""

from __future__ import annotations

import re
import tomllib

from run.settings import Settings
from tests.deploy.files import (
    DEPLOY,
    ROOT,
    environment_keys,
    flags,
    read_cloudbuild,
    read_dockerfile,
    step,
)


def _known_variables() -> set[str]:
    return {str(field.validation_alias) for field in Settings.model_fields.values()}


def _environment_of_the_service() -> dict[str, str]:
    pairs = [*flags("deploy")["--set-env-vars"], *flags("deploy")["--set-secrets"]]
    return dict(pair.split("=", 1) for pair in pairs)


def test_the_steps_are_in_the_order_in_which_each_may_rely_on_the_one_before() -> None:
    steps = read_cloudbuild()["steps"]
    assert [step["id"] for step in steps] == ["test", "build", "push", "migrate", "deploy"]
    assert not any("waitFor" in step or "allowFailure" in step for step in steps)


def test_every_substitution_that_is_used_is_declared_and_every_declared_one_is_used() -> None:
    text = (ROOT / "cloudbuild.yaml").read_text()
    used = set(re.findall(r"\$\{(_[A-Z_]+)\}", text))
    assert used == set(read_cloudbuild()["substitutions"])


def test_only_built_in_names_are_used_without_an_underscore() -> None:
    text = (ROOT / "cloudbuild.yaml").read_text()
    assert set(re.findall(r"\$\{([A-Z][A-Z_]*)\}", text)) == {"PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID"}
    assert not re.findall(r"\$[^{]", text)


def test_a_substitution_comes_from_the_environment_file_or_has_a_reason_not_to() -> None:
    substitutions = read_cloudbuild()["substitutions"]
    from_the_file = {name.removeprefix("_") for name, value in substitutions.items() if not value}
    assert from_the_file - set(environment_keys()) == {"COMMIT"}


def test_every_variable_of_the_service_is_one_that_the_settings_read() -> None:
    assert set(_environment_of_the_service()) <= _known_variables()


def test_every_setting_reaches_the_service_or_has_a_reason_not_to() -> None:
    left_out = _known_variables() - set(_environment_of_the_service())
    local = {"PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "LOOPBACK_URL"}
    set_by_cloud_run = {"PORT", "K_SERVICE"}
    made_of_others = {"DATABASE_POOL_SIZE"}
    for_verify_only = {"OIDC_CERTS_URL"}
    read_from_secret_manager = {"SECRET_*", "SMTP_PASSWORD"}
    assert left_out == local | set_by_cloud_run | made_of_others | for_verify_only | read_from_secret_manager


def test_the_environment_of_the_service_is_one_that_it_starts_with() -> None:
    values = {
        "PROJECT_ID": "my-project",
        "PROJECT_NUMBER": "123456789012",
        "_LOG_LEVEL": "INFO",
        "_LANDING_BUCKET": "my-landing",
        "_ARCHIVE_BUCKET": "my-archive",
        "_THREADS": "8",
        "_POWER_BI_URL": "https://api.powerbigov.us",
        "_FUNCTION_MODULES": "functions acme.reports",
        **dict.fromkeys(["_DATAFORM_URL", "_CLOUD_RUN_URL", "_SECRETMANAGER_URL", "_MICROSOFT_LOGIN_URL"], ""),
        "_SMTP_HOST": "smtp.example.com",
        "_SMTP_PORT": "465",
        "_SMTP_SECURITY": "tls",
        "_SMTP_USER": "mailer@example.com",
        "_SMTP_SENDER": "pipelines@example.com",
    }
    given = {
        name: re.sub(r"\$\{(\w+)\}", lambda match: values.get(match[1], match[1].strip("_").lower()), text)
        for name, text in _environment_of_the_service().items()
    }
    given |= {"DATABASE_URL": "postgresql://u:p@/d?host=/cloudsql/p:r:i", "K_SERVICE": "accelerator"}
    settings = Settings.from_environment(given)
    assert settings.push_auth == "cloud_run"
    assert settings.push_audience == "https://service-123456789012.region.run.app"
    assert settings.push_service_account == "service-push@my-project.iam.gserviceaccount.com"
    assert settings.function_modules == ("functions", "acme.reports")
    assert settings.power_bi_url == "https://api.powerbigov.us"
    assert (settings.smtp_host, settings.smtp_port, settings.smtp_security) == ("smtp.example.com", 465, "tls")
    assert (settings.smtp_user, settings.smtp_sender) == ("mailer@example.com", "pipelines@example.com")
    assert settings.dataform_url == "https://dataform.googleapis.com", "an empty one is the default"


def test_the_service_is_private() -> None:
    assert "--no-allow-unauthenticated" in flags("deploy")


def test_an_instance_takes_as_many_requests_as_it_has_threads() -> None:
    assert flags("deploy")["--concurrency"] == ["${_THREADS}"]
    assert _environment_of_the_service()["THREADS"] == "${_THREADS}"


def test_a_request_may_last_as_long_as_the_longest_ack_deadline() -> None:
    assert flags("deploy")["--timeout"] == ["600"]
    assert "--ack-deadline=600" in (DEPLOY / "setup.sh").read_text()


def test_the_migration_is_a_job_of_the_same_image_and_is_waited_for() -> None:
    job = flags("migrate")
    assert step("migrate")["args"][:3] == ["run", "jobs", "deploy"]
    assert {"--execute-now", "--wait"} <= set(job)
    for flag in ("--image", "--service-account", "--set-cloudsql-instances", "--set-secrets"):
        assert job[flag] == flags("deploy")[flag], flag


def test_the_image_that_is_built_is_the_one_that_is_pushed_and_deployed() -> None:
    assert "${_IMAGE}" in step("build")["args"]
    assert step("push")["args"] == ["push", "${_IMAGE}"]
    assert flags("deploy")["--image"] == ["${_IMAGE}"]


def test_the_tests_run_as_in_continuous_integration() -> None:
    script = ROOT / step("test")["args"][0]
    assert "make check" in script.read_text()


def test_the_connections_that_the_arithmetic_counts_are_those_of_the_pool() -> None:
    counted = re.search(r"connections_per_instance=\$\(\(THREADS \+ (\d+)\)\)", (DEPLOY / "environment.sh").read_text())
    assert counted
    settings = Settings(
        database_url="postgresql://nowhere/none", project="my-project", landing_bucket="landing", threads=5
    )
    assert settings.database_pool_size == 5 + int(counted[1])


def test_both_stages_of_the_image_have_the_python_that_the_types_are_checked_for() -> None:
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"]
    images = [instruction.words[0] for instruction in read_dockerfile() if instruction.name == "FROM"]
    assert images == [f"python:{checked}-slim-bookworm"] * 2
