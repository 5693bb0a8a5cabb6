"""The composition root: here, and nowhere else, parts are chosen and wired."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from flask import Flask, Response

from database.errors import DatabaseError
from database.migrating import is_migrated
from database.sessions import Database
from run.clients import Clients
from run.clients.pubsub import PubSubPublisher
from run.clients.result_objects import ResultObjects
from run.engine.channels import Channels, MailAccount
from run.engine.due import DueTasks
from run.engine.invariant import Invariant
from run.engine.life import TaskLife
from run.engine.moves import Moves
from run.engine.notifier import Notifier
from run.errors import TaskFailure, Unavailable
from run.handlers.file import FileHandler, FindMetadata
from run.handlers.inbox import keep
from run.handlers.scan import Scanner
from run.handlers.sweep import SweepHandler
from run.handlers.task import TaskHandler
from run.handlers.workflow import WorkflowHandler
from run.kinds import build_kinds
from run.kinds.kind import Kind
from run.kinds.own_objects import is_ours
from run.logs import configure_logging
from run.pubsub.envelope import Delivery
from run.pubsub.oidc import push_authenticator
from run.pubsub.publisher import LoopbackPublisher, Publisher
from run.pubsub.push import create_push_blueprint
from run.pubsub.router import Router
from run.redaction import hide
from run.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """The wired parts, for the web application and the command line alike."""

    settings: Settings
    database: Database
    publisher: Publisher
    kinds: Mapping[str, Kind[Any]]
    life: TaskLife
    files: FileHandler
    scanner: Scanner
    workflows: WorkflowHandler
    moves: Moves
    sweeps: SweepHandler
    router: Router
    #: Set when the process is asked to end: what goes on by itself then begins nothing more.
    ending: Event

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Keep a message that can never succeed."""
        self.database.transact(lambda tx: keep(tx, delivery, reason))

    def shut_down(self) -> None:
        """Let others go on with what this process works on; its own outcomes of that count no more."""
        given_back = self.life.give_back_all()
        logger.info("gave back %s attempts", given_back)

    def close(self) -> None:
        """End what is under way, and give the connections back."""
        self.publisher.close()
        self.database.close()


def build_service(settings: Settings) -> Service:
    """Choose and wire the parts that these settings ask for; connects to nothing yet."""
    clients = Clients(settings)
    database = Database(settings.database_url, pool_size=settings.database_pool_size, max_overflow=0)
    publisher = _choose_publisher(settings)
    kinds = build_kinds(clients)
    names = template_names(settings)
    results = ResultObjects(lambda: clients.storage, settings.archive_bucket)
    life = TaskLife(database, kinds, publisher, names, results)
    files = FileHandler(database, life, names, _metadata_finder(clients), is_ours)
    ending = Event()
    scanner = Scanner(database, files, clients, is_ours, ending=ending)
    tasks = TaskHandler(database, life)
    workflows = WorkflowHandler(database, life)
    invariant = Invariant(database, life)
    sweeps = SweepHandler(
        database,
        life,
        DueTasks(
            database,
            life,
            names,
            Notifier(database, life.results, Channels(clients, mail_account(settings)), names).send,
        ),
        {"invariant": (600, invariant.do_chore), "scan": (86_400, scanner.scan_daily)},
        ending,
    )
    router = Router(
        on_file=files.handle,
        on_task=tasks.execute,
        on_completed=tasks.completed,
        on_workflow=workflows.handle,
        on_sweep=sweeps.handle,
    )
    moves = Moves(database, life)
    return Service(settings, database, publisher, kinds, life, files, scanner, workflows, moves, sweeps, router, ending)


def template_names(settings: Settings) -> dict[str, str]:
    """The names that every template may use, with their values."""
    return {
        "landing_bucket": settings.landing_bucket,
        "archive_bucket": settings.archive_bucket,
        "project": settings.project,
    }


def mail_account(settings: Settings) -> MailAccount | None:
    """From where mail is sent; None where there is no mail server."""
    if settings.smtp_host is None or settings.smtp_sender is None:
        return None
    password = None if settings.smtp_password is None else settings.smtp_password.get_secret_value()
    hide(password or "")
    return MailAccount(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_security.value,
        settings.smtp_sender,
        settings.smtp_user,
        password,
    )


def create_app(settings: Settings) -> Flask:
    """The web application: the push endpoint, and the two questions of whoever runs it."""
    configure_logging(settings)
    service = build_service(settings)
    app = Flask(__name__)
    # run/serving.py finds it here when the process is asked to end.
    app.extensions["service"] = service
    app.register_blueprint(create_push_blueprint(service.router, service.reject, push_authenticator(settings)))

    @app.get("/health")
    def health() -> Response:
        return Response("alive\n", mimetype="text/plain")

    @app.get("/ready")
    def ready() -> Response:
        problem = _why_not_ready(service.database)
        return Response(f"{problem or 'ready'}\n", status=503 if problem else 200, mimetype="text/plain")

    return app


def _choose_publisher(settings: Settings) -> Publisher:
    if settings.loopback_url is not None:
        return LoopbackPublisher(settings.loopback_url)
    return PubSubPublisher(settings)


def _metadata_finder(clients: Clients) -> FindMetadata:
    def find_metadata(bucket: str, name: str, generation: int) -> Mapping[str, str] | None:
        try:
            found = clients.storage.find(bucket, name)
        except TaskFailure as failure:
            raise Unavailable(str(failure)) from failure
        return found.metadata if found is not None and found.generation == generation else None

    return find_metadata


def _why_not_ready(database: Database) -> str | None:
    try:
        migrated = database.transact(is_migrated)
    except DatabaseError as error:
        return str(error)
    return None if migrated else "the database is not migrated: run python -m run migrate"
