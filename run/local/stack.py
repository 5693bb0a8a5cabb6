"""Everything that the service needs, on this machine: started together, wired, and ended together."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Literal, Self

from run.local.bigquery_server import BigQueryServer
from run.local.notifier import Notifier
from run.local.ports import ReservedPort
from run.local.postgres import Postgres
from run.local.pubsub_emulator import DeadLetterPolicy, EmulatorMissing, PubSubEmulator, find_emulator
from run.local.repeating import Repeating
from run.local.service import THREADS, Service
from run.local.storage_server import StorageServer
from run.local.topics import DELIVERY_ATTEMPTS, SWEEP_ACK_DEADLINE_SECONDS, LoopbackTopic, Topic

PROJECT = "local"
TOPIC = "cloud-accelerator"
SWEEP_TOPIC = "cloud-accelerator-sweep"
DEAD_LETTER_TOPIC = "cloud-accelerator-dead-letter"
LANDING_BUCKET = "landing"
ARCHIVE_BUCKET = "archive"
DATABASE = "accelerator"
SWEEP_MESSAGE = json.dumps({"trigger_type": "sweep"}).encode()
NOTIFIER_SECONDS = 0.2
#: What a shell reports of a program that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM

DeliveryChoice = Literal["auto", "emulator", "loopback"]


class LocalStack:
    """Postgres, Pub/Sub, Cloud Storage, BigQuery and what Google does around them; for `with`.

    `folder` keeps the data from one start to the next (messages under way are not data: they are lost). The service
    is started by `start_service`, after the caller has migrated the database. `delivery` says how messages reach it:
    by the Pub/Sub emulator, by loop-back delivery, or by what this machine has. The emulator sets aside what it has
    pushed `delivery_attempts` times for nothing. `say` gets a line for each part.
    Raises StartFailed; EmulatorMissing with `delivery="emulator"`.
    """

    environment: dict[str, str]  #: What the service and the command line need to speak with this stack.
    postgres: Postgres
    storage: StorageServer
    bigquery: BigQueryServer
    pubsub: PubSubEmulator | None
    service: Service

    def __init__(
        self,
        folder: Path,
        *,
        delivery: DeliveryChoice = "auto",
        sweep_seconds: float = 60,
        delivery_attempts: int = DELIVERY_ATTEMPTS,
        application: str | None = None,
        threads: int = THREADS,
        say: Callable[[str], None] = print,
    ) -> None:
        self.folder = folder.resolve()
        self.logs = self.folder / "logs"
        self._delivery = delivery
        self._sweep_seconds = sweep_seconds
        self._delivery_attempts = delivery_attempts
        self._application = application
        self._threads = threads
        self._say = say
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        with ExitStack() as starting:
            starting.enter_context(_sigterm_as_exit())
            self._start_parts(starting)
            port = starting.enter_context(ReservedPort())
            self.environment = self._common_environment()
            self.service = Service(
                self.logs, self.environment, port=port, application=self._application, threads=self._threads
            )
            self._wire(starting)
            self._ending = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.close()

    @property
    def url(self) -> str:
        """The address of the service, known before it is started."""
        return self.service.url

    def start_service(self) -> Service:
        """Start the service, unless it runs, and return it when it is ready."""
        self.service.start()
        self._say(f"Service: {self.url}")
        return self.service

    def _start_parts(self, starting: ExitStack) -> None:
        self.postgres = Postgres(self.folder / "postgres")
        self.storage = StorageServer(self.folder / "storage", self.logs, buckets=(LANDING_BUCKET, ARCHIVE_BUCKET))
        self.bigquery = BigQueryServer(
            self.folder / "bigquery", self.logs, objects_folder=self.storage.objects_folder, project=PROJECT
        )
        self.pubsub = self._emulator()
        parts = [part for part in (self.pubsub, self.bigquery, self.storage, self.postgres) if part is not None]
        _enter_together(starting, parts)
        if not self.postgres.has_database(DATABASE):
            self.postgres.create_database(DATABASE)
        self._say(f"Postgres: {self.postgres.url(DATABASE)}")
        self._say(f"Cloud Storage: {self.storage.url} (buckets {LANDING_BUCKET} and {ARCHIVE_BUCKET})")
        self._say(f"BigQuery: {self.bigquery.url}")

    def _emulator(self) -> PubSubEmulator | None:
        if self._delivery == "loopback":
            self._say("Pub/Sub: loop-back delivery, as asked: the service pushes its own messages to itself")
            return None
        try:
            find_emulator()
        except EmulatorMissing as missing:
            if self._delivery == "emulator":
                raise
            self._say(f"Pub/Sub: loop-back delivery, because {missing}")
            return None
        return PubSubEmulator(self.logs, project=PROJECT)

    def _common_environment(self) -> dict[str, str]:
        # An empty variable counts as unset: what the shell says of a real project must not leak in.
        unset = dict.fromkeys(
            ("PUBSUB_EMULATOR_HOST", "LOOPBACK_URL", "PUSH_AUDIENCE", "PUSH_SERVICE_ACCOUNT", "K_SERVICE"), ""
        )
        return {
            **unset,
            "DATABASE_URL": self.postgres.url(DATABASE),
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "PUBSUB_TOPIC": TOPIC,
            "PUSH_AUTH": "none",
            "LANDING_BUCKET": LANDING_BUCKET,
            "ARCHIVE_BUCKET": ARCHIVE_BUCKET,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            **self.storage.environment,
            **self.bigquery.environment,
        }

    def _wire(self, starting: ExitStack) -> None:
        files, sweeps = self._emulator_topics(self.pubsub) if self.pubsub else self._loopback_topics(starting)
        notifier = Notifier(self.storage.url, LANDING_BUCKET, files, memory=self.folder / "announced.json")
        starting.enter_context(Repeating("notifier", notifier.look, seconds=NOTIFIER_SECONDS))
        kick = Repeating("sweep timer", lambda: sweeps.publish(SWEEP_MESSAGE, {}), seconds=self._sweep_seconds)
        starting.enter_context(kick)
        # Entered last, so that the service ends first and everything it needs is still there.
        starting.callback(self.service.stop)

    def _emulator_topics(self, pubsub: PubSubEmulator) -> tuple[Topic, Topic]:
        self.environment.update(pubsub.environment)
        topics = [pubsub.create_topic(name) for name in (TOPIC, SWEEP_TOPIC, DEAD_LETTER_TOPIC)]
        subscribe = partial(pubsub.create_push_subscription, endpoint=f"{self.url}/")
        set_aside = DeadLetterPolicy(DEAD_LETTER_TOPIC, self._delivery_attempts)
        subscribe(f"{TOPIC}-push", topic=TOPIC, dead_letters=set_aside)
        subscribe(f"{SWEEP_TOPIC}-push", topic=SWEEP_TOPIC, ack_deadline=SWEEP_ACK_DEADLINE_SECONDS)
        subscribe(f"{DEAD_LETTER_TOPIC}-push", topic=DEAD_LETTER_TOPIC)
        self._say(f"Pub/Sub: the emulator at {pubsub.host} pushes to {self.url}")
        return topics[0], topics[1]

    def _loopback_topics(self, starting: ExitStack) -> tuple[Topic, Topic]:
        self.environment["LOOPBACK_URL"] = f"{self.url}/"
        subscriptions = (f"projects/{PROJECT}/subscriptions/{name}-push" for name in (TOPIC, SWEEP_TOPIC))
        topics = [starting.enter_context(LoopbackTopic(f"{self.url}/", name)) for name in subscriptions]
        return topics[0], topics[1]


def _enter_together(starting: ExitStack, parts: Sequence[AbstractContextManager[object]]) -> None:
    # The pool is left before the caller's stack unwinds, so a part that did start is ended when another did not.
    with ThreadPoolExecutor(len(parts)) as pool:
        for entered in [pool.submit(starting.enter_context, part) for part in parts]:
            entered.result()


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    # SIGTERM leaves the `with` block as Ctrl-C does. Only the main thread may say so, and a choice already made stays.
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
