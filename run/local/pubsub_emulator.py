"""Google's own Pub/Sub emulator, started from its jar, with real push subscriptions."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from run.errors import Unavailable
from run.local.ports import LOOPBACK, free_port
from run.local.processes import Process, Program, StartFailed, answers, started
from run.local.topics import ACK_DEADLINE_SECONDS, DELIVERY_ATTEMPTS, EmulatorTopic

JAR = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar"
SDK_FOLDERS = (
    "/usr/lib/google-cloud-sdk",
    "/usr/share/google-cloud-sdk",
    "/opt/google-cloud-sdk",
    "/opt/homebrew/share/google-cloud-sdk",
    "/usr/local/share/google-cloud-sdk",
    "~/google-cloud-sdk",
)
#: Seconds; gcloud is a slow starter.
GCLOUD_SECONDS = 30
READY_SECONDS = 60
REQUEST_SECONDS = 10
#: Halve the time to the first answer on a small machine, keep the heap of an idle emulator small, and leave no
#: performance data in the temporary folder.
JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-XX:-UsePerfData")


class EmulatorMissing(StartFailed):
    """There is no Java or no emulator here; the message says which, and what to install."""


@dataclass(frozen=True)
class Emulator:
    """The two files that the emulator consists of."""

    java: Path
    jar: Path


@dataclass(frozen=True)
class DeadLetterPolicy:
    """Where a subscription sends what was not acked after so many attempts (5 to 100)."""

    topic: str
    attempts: int = DELIVERY_ATTEMPTS


def find_emulator() -> Emulator:
    """Return the Java and the emulator of this machine; raises EmulatorMissing."""
    java = shutil.which("java")
    if java is None or not _works(java):
        raise EmulatorMissing("no Java was found on PATH; install a JRE, 17 or later")
    jar = next(_jars(), None)
    if jar is None:
        raise EmulatorMissing(
            "no Pub/Sub emulator was found; install it with `gcloud components install pubsub-emulator`, "
            "or on Debian the package google-cloud-cli-pubsub-emulator"
        )
    return Emulator(Path(java), jar)


class PubSubEmulator:
    """A running emulator; for `with`. It keeps everything in memory. Raises EmulatorMissing, StartFailed."""

    def __init__(self, logs: Path, *, project: str = "local") -> None:
        self.host = ""
        self._logs = logs
        self._project = project
        self._process: Process | None = None

    def __enter__(self) -> Self:
        emulator = find_emulator()
        self._process = started(lambda: self._start(emulator))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.end()

    @property
    def environment(self) -> dict[str, str]:
        return {"PUBSUB_EMULATOR_HOST": self.host}

    def create_topic(self, name: str) -> EmulatorTopic:
        """Create a topic, or take the one of this name, and return it; raises Unavailable."""
        path = self._topic(name)
        self._put(path, {})
        return EmulatorTopic(self.host, path)

    def create_push_subscription(
        self,
        name: str,
        *,
        topic: str,
        endpoint: str,
        ack_deadline: int = ACK_DEADLINE_SECONDS,
        dead_letters: DeadLetterPolicy | None = None,
    ) -> None:
        """Have every message of a topic pushed to an address; raises Unavailable."""
        subscription: dict[str, Any] = {
            "topic": self._topic(topic),
            "pushConfig": {"pushEndpoint": endpoint},
            "ackDeadlineSeconds": ack_deadline,
        }
        if dead_letters is not None:
            subscription["deadLetterPolicy"] = {
                "deadLetterTopic": self._topic(dead_letters.topic),
                "maxDeliveryAttempts": dead_letters.attempts,
            }
        self._put(f"projects/{self._project}/subscriptions/{name}", subscription)

    def _topic(self, name: str) -> str:
        return f"projects/{self._project}/topics/{name}"

    def _start(self, emulator: Emulator) -> Process:
        self.host = f"{LOOPBACK}:{(port := free_port())}"
        jar = [str(emulator.java), *JAVA_OPTIONS, "-jar", str(emulator.jar)]
        process = Process(Program("pubsub", [*jar, f"--host={LOOPBACK}", f"--port={port}"], self._logs))
        process.wait_until(lambda: answers(f"http://{self.host}/"), seconds=READY_SECONDS)
        return process

    def _put(self, path: str, body: Mapping[str, Any]) -> None:
        with requests.Session() as session:
            session.trust_env = False
            try:
                response = session.put(f"http://{self.host}/v1/{path}", json=body, timeout=REQUEST_SECONDS)
            except requests.RequestException as error:
                raise Unavailable(f"the Pub/Sub emulator at {self.host} does not answer: {error}") from error
        if response.status_code not in (requests.codes.ok, requests.codes.conflict):
            raise Unavailable(f"the Pub/Sub emulator refused to create {path}: {response.text}")


def _works(java: str) -> bool:
    # macOS has a `java` that only tells people to install one.
    return subprocess.run([java, "-version"], check=False, capture_output=True).returncode == 0


def _jars() -> Iterator[Path]:
    for folder in _sdk_folders():
        yield from sorted(folder.glob(JAR), reverse=True)


def _sdk_folders() -> Iterator[Path]:
    gcloud = shutil.which("gcloud")
    if gcloud is not None:
        yield Path(gcloud).resolve().parents[1]
    yield from (Path(folder).expanduser() for folder in SDK_FOLDERS)
    if gcloud is not None:
        yield from _folder_that_gcloud_names(gcloud)


def _folder_that_gcloud_names(gcloud: str) -> Iterator[Path]:
    question = [gcloud, "info", "--format=value(installation.sdk_root)"]
    try:
        answer = subprocess.run(question, check=False, capture_output=True, text=True, timeout=GCLOUD_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return
    if answer.stdout.strip():
        yield Path(answer.stdout.strip())
