"""The scripts of deploy/: what they ask of gcloud, asked twice, and how they refuse a wrong environment file."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest

from run.handlers.sweep import SECONDS_OF_A_KICK
from run.kinds.child_process import MOST_AT_ONCE
from run.kinds.contract import ContractConfig
from run.local.postgres import Postgres
from run.local.topics import SWEEP_ACK_DEADLINE_SECONDS
from tests.deploy.conftest import Terminal
from tests.deploy.files import DEPLOY, EXAMPLE, ROOT, environment_keys, read_cloudbuild
from tests.local_parts import miss

SCRIPTS = sorted(DEPLOY.glob("*.sh"))
URL = "https://cloud-accelerator-123456789012.europe-west1.run.app"
CLOUD_SQL = "/cloudsql/my-project:europe-west1:cloud-accelerator"
PUSH_ACCOUNT = "cloud-accelerator-push@my-project.iam.gserviceaccount.com"
RUNTIME_ACCOUNT = "cloud-accelerator-runtime@my-project.iam.gserviceaccount.com"


def _set_up(terminal: Terminal) -> list[list[str]]:
    before = len(terminal.commands())
    done = terminal.run("setup.sh")
    assert done.returncode == 0, done.stderr
    return terminal.commands()[before:]


def _one(commands: list[list[str]], *words: str) -> list[str]:
    found = [command for command in commands if f" {shlex.join(words)} " in f" {shlex.join(command)} "]
    assert len(found) == 1, found
    return found[0]


def _granted(commands: list[list[str]], account: str) -> set[tuple[str, str]]:
    grants = [command for command in commands if f"--member=serviceAccount:{account}" in command]
    role = [next(word for word in command if word.startswith("--role=")) for command in grants]
    on = [command[command.index("add-iam-policy-binding") + 1] for command in grants]
    return {(name, word.removeprefix("--role=")) for name, word in zip(on, role, strict=True)}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_one_that_bash_can_read(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        miss("shellcheck is not installed")
    done = subprocess.run(["shellcheck", "-x", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout == ""


def test_the_example_has_every_key_that_is_read_and_no_other() -> None:
    read = re.search(r"^KEYS=\((.*?)\)", (DEPLOY / "environment.sh").read_text(), re.DOTALL | re.MULTILINE)
    assert read
    assert sorted(read[1].split()) == sorted(environment_keys())


def test_every_key_is_used_by_a_script() -> None:
    read_environment = (DEPLOY / "environment.sh").read_text().partition("check_sizes() {")[2]
    text = read_environment + "".join((DEPLOY / name).read_text() for name in ("setup.sh", "submit.sh", "command.sh"))
    told = re.search(r"^TOLD=\((.*?)\)", text, re.DOTALL | re.MULTILINE)
    assert told
    used = {*re.findall(r"\$\{?([A-Z_]+)", text), *told[1].split()}
    assert set(environment_keys()) <= used


def test_a_second_setup_creates_nothing(terminal: Terminal) -> None:
    first, second = _set_up(terminal), _set_up(terminal)
    assert len([command for command in first if "create" in command]) > 15
    # The service agent's command creates it, or finds it.
    assert [command for command in second if "create" in command and "identity" not in command] == []
    assert not any("versions" in command and "add" in command for command in second)


def test_nothing_is_created_twice(asked: Terminal) -> None:
    created = Counter(shlex.join(command) for command in asked.commands() if "create" in command)
    assert set(created.values()) == {1}


def test_one_bucket_may_serve_as_both(terminal: Terminal) -> None:
    terminal.edit(ARCHIVE_BUCKET="my-project-landing")
    _one(_set_up(terminal), "buckets", "create", "gs://my-project-landing")


def test_messages_are_pushed_to_the_service_with_a_token_for_it(asked: Terminal) -> None:
    commands = asked.commands()
    deadlines = {"cloud-accelerator": 600, "cloud-accelerator-sweep": 120, "cloud-accelerator-dead-letter": 60}
    for topic, deadline in deadlines.items():
        subscription = _one(commands, "subscriptions", "create", topic)
        assert {
            f"--topic={topic}",
            f"--push-endpoint={URL}/",
            f"--push-auth-token-audience={URL}",
            f"--push-auth-service-account={PUSH_ACCOUNT}",
            f"--ack-deadline={deadline}",
            "--min-retry-delay=10s",
            "--max-retry-delay=600s",
            "--expiration-period=never",
        } <= set(subscription)


def test_a_sweep_ends_before_its_kick_comes_again(asked: Terminal) -> None:
    sweep = _one(asked.commands(), "subscriptions", "create", "cloud-accelerator-sweep")
    (deadline,) = [word.partition("=")[2] for word in sweep if word.startswith("--ack-deadline=")]
    assert int(deadline) > SECONDS_OF_A_KICK
    assert int(deadline) == SWEEP_ACK_DEADLINE_SECONDS, "the local stack does as the cloud"


def test_what_cannot_be_delivered_is_set_aside_where_it_is_kept_and_pushed_from_there(asked: Terminal) -> None:
    commands = asked.commands()
    subscription = _one(commands, "subscriptions", "create", "cloud-accelerator")
    assert {"--dead-letter-topic=cloud-accelerator-dead-letter", "--max-delivery-attempts=100"} <= set(subscription)
    set_aside = _one(commands, "subscriptions", "create", "cloud-accelerator-dead-letter")
    assert {f"--push-endpoint={URL}/", "--message-retention-duration=31d"} <= set(set_aside)
    assert not any(word.startswith("--dead-letter") for word in set_aside)
    agent = "service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    assert _granted(commands, agent) == {
        ("cloud-accelerator-dead-letter", "roles/pubsub.publisher"),
        ("cloud-accelerator", "roles/pubsub.subscriber"),
    }


def test_a_late_kick_is_not_kept(asked: Terminal) -> None:
    sweep = _one(asked.commands(), "subscriptions", "create", "cloud-accelerator-sweep")
    assert "--message-retention-duration=10m" in sweep
    assert not any(word.startswith("--dead-letter") for word in sweep)


def test_files_that_land_are_announced_with_their_object(asked: Terminal) -> None:
    notification = _one(asked.commands(), "notifications", "create")
    assert {"--event-types=OBJECT_FINALIZE", "--payload-format=json"} <= set(notification)
    assert "--topic=projects/my-project/topics/cloud-accelerator" in notification


def test_the_sweep_is_kicked_every_minute_on_its_own_topic(asked: Terminal) -> None:
    job = _one(asked.commands(), "scheduler", "jobs", "create")
    assert {"--schedule=* * * * *", "--topic=cloud-accelerator-sweep"} <= set(job)
    body = next(word for word in job if word.startswith("--message-body="))
    assert json.loads(body.removeprefix("--message-body=")) == {"trigger_type": "sweep"}


def test_the_service_may_do_what_it_does_and_no_more(asked: Terminal) -> None:
    buckets = {
        (f"gs://my-project-{name}", role)
        for name in ("landing", "archive")
        for role in ("roles/storage.objectUser", "roles/storage.legacyBucketReader")
    }
    assert _granted(asked.commands(), RUNTIME_ACCOUNT) == buckets | {
        ("my-project", "roles/bigquery.user"),
        ("my-project", "roles/cloudsql.client"),
        ("cloud-accelerator", "roles/pubsub.publisher"),
        ("cloud-accelerator-database-url", "roles/secretmanager.secretAccessor"),
    }


def test_the_password_is_never_an_argument(asked: Terminal) -> None:
    user = _one(asked.commands(), "users", "create")
    password = re.fullmatch(
        r"postgresql://cloud_accelerator:([0-9a-f]{48})@/cloud_accelerator"
        r"\?host=/cloudsql/my-project:europe-west1:cloud-accelerator",
        asked.secret,
    )
    assert password
    assert f'flags-file: --password: "{password[1]}"' in user
    for command in asked.commands():
        assert not any(password[1] in word for word in command if not word.startswith("flags-file: "))


def test_a_missing_file_is_named(terminal: Terminal) -> None:
    terminal.file.unlink()
    done = terminal.run("setup.sh")
    assert done.returncode == 2
    assert "There is no file" in done.stderr


def test_all_problems_of_a_file_are_named_at_once(terminal: Terminal) -> None:
    terminal.edit(REGION=None, MAX_INSTANCES="many", TOPIC='"quoted"', COLOUR="red")
    done = terminal.run("setup.sh")
    assert done.returncode == 2
    assert "REGION is missing" in done.stderr
    assert "MAX_INSTANCES: 'many' does not match" in done.stderr
    assert "TOPIC: '\"quoted\"' does not match" in done.stderr
    assert re.search(r"test\.env:\d+: there is no key COLOUR", done.stderr)
    assert terminal.commands() == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("LANDING_BUKET", "LANDING_BUCKET"),
        ("REGOIN", "REGION"),
        ("BIGQUERY_DATASET", "BIGQUERY_DATASETS"),
        ("SECRET", "SECRETS"),
        ("Memory_", None),
    ],
)
def test_a_key_that_nothing_reads_is_refused_naming_the_nearest_that_is_read(
    terminal: Terminal, written: str, meant: str | None
) -> None:
    terminal.edit(**{written: "x"})
    for script in ("setup.sh", "submit.sh", "command.sh"):
        done = terminal.run(script, *(["batch"] if script == "command.sh" else []))
        assert done.returncode == 2
        said = f": there is no key {written}" + (f"; did you mean {meant}?" if meant else "")
        assert done.stderr.rstrip().endswith(said)
    assert terminal.commands() == []


def test_a_key_given_twice_is_refused(terminal: Terminal) -> None:
    terminal.file.write_text(terminal.file.read_text() + "REGION=us-east1\n")
    assert "REGION is given twice" in terminal.run("setup.sh").stderr


@pytest.mark.parametrize(
    ("values", "needed"), [({"MAX_INSTANCES": "3"}, 70), ({"THREADS": "9"}, 54), ({"SQL_MAX_CONNECTIONS": "49"}, 50)]
)
def test_more_connections_than_the_database_can_take_are_refused(
    terminal: Terminal, values: dict[str, str], needed: int
) -> None:
    terminal.edit(**values)
    done = terminal.run("submit.sh")
    assert done.returncode == 2
    assert f"needs SQL_MAX_CONNECTIONS={needed} or more, it is " in done.stderr
    assert terminal.commands() == []


def test_more_threads_than_the_database_takes_connections_from_an_instance_are_refused(terminal: Terminal) -> None:
    terminal.edit(THREADS="99", SQL_MAX_CONNECTIONS="1000")
    assert "THREADS=99 is more than 98" in terminal.run("submit.sh").stderr


def test_a_submission_gives_every_substitution_that_the_build_declares(terminal: Terminal) -> None:
    done = terminal.run("submit.sh")
    assert done.returncode == 0, done.stderr
    submit = _one(terminal.commands(), "builds", "submit")
    given = next(word for word in submit if word.startswith("--substitutions=")).removeprefix("--substitutions=")
    values = dict(pair.split("=", 1) for pair in given.split(","))
    declared = {name for name, value in read_cloudbuild()["substitutions"].items() if not value}
    assert set(values) == declared
    # Without a mail server, which the example does not name.
    assert {name for name, value in values.items() if not value} == {"_SMTP_HOST", "_SMTP_USER", "_SMTP_SENDER"}
    assert values["_LANDING_BUCKET"] == "my-project-landing"


def test_addresses_that_an_environment_leaves_out_are_the_service_s_own(terminal: Terminal) -> None:
    urls = [key for key in environment_keys() if key.endswith("_URL")]
    assert len(urls) == 5
    terminal.edit(**dict.fromkeys(urls), SECRETS=None)
    done = terminal.run("submit.sh")
    assert done.returncode == 0, done.stderr
    submit = _one(terminal.commands(), "builds", "submit")
    given = next(word for word in submit if word.startswith("--substitutions="))
    assert all(f"_{key}=," in given for key in urls)


def test_an_address_without_tls_or_a_secret_with_a_value_is_refused(terminal: Terminal) -> None:
    terminal.edit(POWER_BI_URL="http://api.powerbi.com", SECRETS="crm-token=s3cret")
    done = terminal.run("setup.sh")
    assert "POWER_BI_URL: 'http://api.powerbi.com' does not match" in done.stderr
    assert "SECRETS: 'crm-token=s3cret' does not match" in done.stderr


def test_the_service_may_read_the_secrets_that_the_file_names_and_no_others(terminal: Terminal) -> None:
    terminal.edit(SECRETS="power-bi-client crm_token")
    first = _set_up(terminal)
    granted = {name for name, role in _granted(first, RUNTIME_ACCOUNT) if role == "roles/secretmanager.secretAccessor"}
    assert granted == {"cloud-accelerator-database-url", "power-bi-client", "crm_token"}
    for secret in ("power-bi-client", "crm_token"):
        _one(first, "secrets", "create", secret)
        assert ["secrets", "versions", "add", secret] not in [command[1:5] for command in first]
    assert [command for command in _set_up(terminal) if command[1:3] == ["secrets", "create"]] == []


def test_without_dataform_and_jobs_the_service_has_no_rights_there(terminal: Terminal) -> None:
    terminal.edit(CLOUD_RUN_JOBS=None, DATAFORM_ACCOUNTS=None)
    told = "\n".join(shlex.join(command) for command in _set_up(terminal))
    assert "dataform" not in told
    assert ("run", "jobs") not in {tuple(command[1:3]) for command in terminal.commands()}


def test_the_service_may_use_dataform_and_act_as_the_accounts_that_the_file_names(terminal: Terminal) -> None:
    accounts = ["dataform@my-project.iam.gserviceaccount.com", "123456789012-compute@developer.gserviceaccount.com"]
    before = _granted(_set_up(terminal), RUNTIME_ACCOUNT)
    terminal.edit(DATAFORM_ACCOUNTS=" ".join(accounts))
    commands = _set_up(terminal)
    assert _granted(commands, RUNTIME_ACCOUNT) - before == {
        ("my-project", "roles/dataform.editor"),
        *((account, "roles/iam.serviceAccountUser") for account in accounts),
    }
    _one(commands, "services", "enable", "dataform.googleapis.com")


def test_the_service_may_run_the_jobs_that_the_file_names_once_they_are_there(terminal: Terminal) -> None:
    before = _granted(_set_up(terminal), RUNTIME_ACCOUNT)
    terminal.edit(CLOUD_RUN_JOBS="extract-orders later")
    shim = str(terminal.folder / "bin" / "gcloud")
    log = {"STAND_IN_LOG": str(terminal.folder / "log")}
    subprocess.run([shim, "run", "jobs", "create", "extract-orders"], env=log, check=True)
    done = terminal.run("setup.sh")
    assert done.returncode == 0, done.stderr
    assert "There is no job later in europe-west1 yet; create it" in done.stdout
    assert _granted(terminal.commands(), RUNTIME_ACCOUNT) - before == {("extract-orders", "roles/run.developer")}
    grant = _one(terminal.commands(), "run", "jobs", "add-iam-policy-binding", "extract-orders")
    assert "--region=europe-west1" in grant


def test_what_is_no_job_and_no_account_is_refused(terminal: Terminal) -> None:
    terminal.edit(CLOUD_RUN_JOBS="europe-west1/extract", DATAFORM_ACCOUNTS="dataform")
    done = terminal.run("setup.sh")
    assert "CLOUD_RUN_JOBS: 'europe-west1/extract' does not match" in done.stderr
    assert "DATAFORM_ACCOUNTS: 'dataform' does not match" in done.stderr
    assert terminal.commands() == []


def test_a_secret_without_a_value_is_said_with_the_command_that_gives_it_one(terminal: Terminal) -> None:
    terminal.edit(SECRETS="crm-token")
    said = "crm-token has no value yet; give it one with: gcloud secrets versions add crm-token"
    assert said in terminal.run("setup.sh").stdout
    command = [str(terminal.folder / "bin" / "gcloud"), "secrets", "versions", "add", "crm-token"]
    subprocess.run(command, env={"STAND_IN_LOG": str(terminal.folder / "log")}, check=True)
    assert "has no value" not in terminal.run("setup.sh").stdout


#: Every value otherwise than in the example.
ELSEWHERE = {
    "PROJECT": "other-company",
    "REGION": "asia-south1",
    "SERVICE": "pipelines",
    "TOPIC": "events",
    "LANDING_BUCKET": "other-in",
    "ARCHIVE_BUCKET": "other-kept",
    "BIGQUERY_LOCATION": "asia-south1",
    "BIGQUERY_DATASETS": "zoho stock",
    "SQL_INSTANCE": "memory",
    "SQL_TIER": "db-custom-2-7680",
    "CPU": "2",
    "MEMORY": "4Gi",
}


def test_nothing_of_one_environment_is_written_into_the_scripts_of_all(terminal: Terminal) -> None:
    example = dict(re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))
    terminal.edit(**ELSEWHERE)
    for script in ("setup.sh", "submit.sh"):
        done = terminal.run(script)
        assert done.returncode == 0, done.stderr
    told = "\n".join(shlex.join(command) for command in terminal.commands())
    for key, value in ELSEWHERE.items():
        assert all(word in told for word in value.split()), key
        if key not in {"CPU", "MEMORY"}:  # Too short to be looked for; they are among the substitutions.
            assert not re.search(rf"\b{re.escape(example[key])}\b", told), key


def test_the_build_has_no_value_of_its_own_for_what_an_environment_says() -> None:
    build = (ROOT / "cloudbuild.yaml").read_text()
    for key, value in re.findall(r"^([A-Z_]+)=(\S+)$", EXAMPLE.read_text(), re.MULTILINE):
        declared = read_cloudbuild()["substitutions"].get(f"_{key}")
        assert declared in ("", None), key
        if len(value) > 4:
            assert value not in re.sub(r"#.*", "", build), key


def test_only_the_push_account_may_call_the_service(terminal: Terminal) -> None:
    terminal.run("submit.sh")
    grants = [command for command in terminal.commands() if "add-iam-policy-binding" in command]
    assert len(grants) == 1
    assert _granted(grants, PUSH_ACCOUNT) == {("cloud-accelerator", "roles/run.invoker")}


def test_a_build_that_fails_is_a_failure(terminal: Terminal) -> None:
    (terminal.folder / "bin" / "gcloud").write_text("#!/bin/sh\nexit 1\n")
    assert terminal.run("submit.sh").returncode == 1


@pytest.fixture
def proxy(terminal: Terminal, postgres: Postgres) -> Path:
    """The Cloud SQL Auth Proxy's stand-in; the file is there when it has ended."""
    proxy = terminal.folder / "bin" / "cloud-sql-proxy"
    ended = terminal.folder / "ended"
    # Where the real one makes a socket, this one makes a link to that of a Postgres here.
    proxy.write_text(
        f"""#!/bin/sh
ln -s {postgres.socket_folder} "$3/$4"
sleep 60 &
trap "kill $!; touch {ended}; exit" TERM
wait
"""
    )
    proxy.chmod(0o755)
    return ended


def test_a_command_reaches_the_database_through_the_proxy(
    terminal: Terminal, proxy: Path, postgres: Postgres, database_url: str
) -> None:
    secret = database_url.replace(quote(str(postgres.socket_folder)), CLOUD_SQL)
    python = {"PYTHON": sys.executable, "STAND_IN_SECRET": secret}
    done = terminal.run("command.sh", "workflow", "list", "--json", environment=python)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    assert proxy.exists()


@pytest.mark.usefixtures("proxy")
def test_the_settings_of_an_environment_are_shown_without_its_secrets(terminal: Terminal) -> None:
    secret = f"postgresql://cloud_accelerator:s3cret@/cloud_accelerator?host={CLOUD_SQL}"
    python = {"PYTHON": sys.executable, "STAND_IN_SECRET": secret}
    shown = []
    for landing in ("dev-landing", "prod-landing"):
        terminal.edit(LANDING_BUCKET=landing, POWER_BI_URL=f"https://{landing}.example")
        done = terminal.run("command.sh", "config", "--json", environment=python)
        assert done.returncode == 0, done.stderr
        assert "s3cret" not in done.stdout + done.stderr
        shown.append(json.loads(done.stdout))
    assert [one["LANDING_BUCKET"] for one in shown] == ["dev-landing", "prod-landing"]
    assert [one["POWER_BI_URL"] for one in shown] == ["https://dev-landing.example", "https://prod-landing.example"]
    assert shown[0]["DATABASE_URL"].startswith("postgresql://cloud_accelerator:***@/")
    assert shown[0]["GOOGLE_CLOUD_PROJECT"] == "my-project"


def test_an_instance_of_the_example_has_memory_for_the_files_that_it_checks_at_a_time() -> None:
    example = dict(re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))
    gibibytes = int(example["MEMORY"].removesuffix("Gi"))
    service, each = 200, ContractConfig.model_fields["memory_mib"].default
    # Temporary files are memory there; both tasks may write about as much as the service has.
    assert gibibytes * 1024 >= service + MOST_AT_ONCE * (each + service)
