"""What the Dockerfile makes: it starts with nothing but requirements.txt, migrates, serves, and ends in time."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from database.rejected import find_rejected
from database.sessions import Database
from run.local.ports import LOOPBACK, free_port
from run.local.postgres import Postgres
from run.local.processes import answers
from tests.deploy.files import flags, last_instruction
from tests.deploy.image import Image
from tests.local_parts import eventually

# One worker installs the requirements once for all of them.
pytestmark = pytest.mark.timeout(300)

GRACEFUL_SECONDS = 8

#: Imports every module but the local stack, which needs requirements-dev.txt and is no part of the service.
IMPORT_EVERYTHING = """
import importlib, pkgutil, run, database
for package in (run, database):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.startswith("run.local") or module.name == "run.__main__":
            continue
        importlib.import_module(module.name)
        print(module.name)
"""


@dataclass(frozen=True)
class Served:
    """The image's service, while it runs."""

    url: str
    pid: int


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    # Not pytest's folder, which is closed to everybody but its owner, and the service is not run by its owner.
    with tempfile.TemporaryDirectory(prefix="image-") as name:
        Path(name).chmod(0o755)
        yield Image.build(Path(name))


def _environment(database_url: str) -> dict[str, str]:
    nowhere = f"{LOOPBACK}:{free_port()}"
    return {
        "DATABASE_URL": database_url,
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "LANDING_BUCKET": "landing",
        "PUBSUB_EMULATOR_HOST": nowhere,
        "STORAGE_EMULATOR_HOST": nowhere,
        "BIGQUERY_EMULATOR_HOST": nowhere,
    }


def _migrate_command() -> list[str]:
    job = flags("migrate")
    return [*job["--command"][0].split(","), *job["--args"][0].split(",")]


@contextmanager
def _served(image: Image, database_url: str, log: Path) -> Iterator[Served]:
    port = free_port()
    process = image.start(image.command, {**_environment(database_url), "PORT": str(port)}, log)
    url = f"http://{LOOPBACK}:{port}"
    try:
        eventually(lambda: process.poll() is not None or answers(f"{url}/health"), "an answer", seconds=60)
        assert process.poll() is None, log.read_text()
        yield Served(url, process.pid)
        os.kill(process.pid, signal.SIGTERM)
        asked = time.monotonic()
        assert process.wait(GRACEFUL_SECONDS) == 0, log.read_text()
        assert time.monotonic() - asked < GRACEFUL_SECONDS
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_image_migrates_serves_keeps_what_it_rejects_and_ends_in_time(
    image: Image, postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.create_database("image")
    log = tmp_path / "log"
    with _served(image, url, log) as service:
        assert requests.get(f"{service.url}/ready", timeout=10).status_code == 503
    assert image.call(_migrate_command(), {"DATABASE_URL": url}, log) == 0, log.read_text()
    with _served(image, url, log) as service:
        assert requests.get(f"{service.url}/ready", timeout=10).status_code == 200
        assert requests.post(f"{service.url}/", data=b"no message", timeout=10).status_code == 204
    database = Database(url)
    rejected = database.transact(lambda tx: find_rejected(tx, 1))
    database.close()
    assert rejected is not None
    assert rejected.body == b"no message"


def test_what_the_service_imports_is_in_its_requirements(image: Image, database_url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert image.call(["python", "-c", IMPORT_EVERYTHING], _environment(database_url), log) == 0, log.read_text()
    assert {"run.app", "run.main", "database.rejected"} <= set(log.read_text().split())


def test_the_image_holds_the_service_and_nothing_else(image: Image) -> None:
    assert {path.name for path in image.app.iterdir()} == {"run", "database", "migrations", "functions"}


def test_the_service_is_run_by_a_user_who_is_not_root() -> None:
    assert last_instruction("USER").text not in {"root", "0"}


def test_gunicorn_is_started_as_cloud_run_wants_it(image: Image, tmp_path: Path) -> None:
    log = tmp_path / "log"
    given = {"PORT": "4711", "THREADS": "5"}
    assert image.call([*image.command, "--print-config"], _environment("postgresql://nowhere/none") | given, log) == 0
    config = dict(re.findall(r"^(\w+) += (.*)$", log.read_text(), re.MULTILINE))
    assert config["bind"] == "['0.0.0.0:4711']"
    assert (config["workers"], config["worker_class"], config["threads"]) == ("1", "gthread", "5")
    assert (config["timeout"], config["graceful_timeout"]) == ("0", str(GRACEFUL_SECONDS))


def test_the_image_says_its_port_and_does_not_buffer_its_log(image: Image) -> None:
    assert (image.environment["PORT"], image.environment["PYTHONUNBUFFERED"]) == ("8080", "1")
