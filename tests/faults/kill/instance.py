"""One process of the service: its door, its parts, and a watch on all that it sends."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask
from sqlalchemy import Engine, text

from database.errors import DatabaseUnavailable
from database.sessions import Database
from database.workflows import NewVersion, store_version
from run.engine.definitions import new_version
from run.engine.due import DueTasks
from run.engine.invariant import Invariant
from run.engine.life import TaskLife
from run.engine.moves import Moves
from run.engine.notifier import Notifier
from run.errors import Unavailable
from run.handlers.file import FileHandler
from run.handlers.inbox import keep
from run.handlers.scan import Scanner
from run.handlers.sweep import SweepHandler
from run.handlers.task import TaskHandler
from run.handlers.workflow import WorkflowHandler
from run.kinds.archive_file import is_archived
from run.kinds.kind import Kind
from run.pubsub.push import create_push_blueprint
from run.pubsub.router import Router
from run.workflows.builder import build_workflow
from run.workflows.templates import NameType
from tests.faults.kill.buckets import JournalClients
from tests.faults.kill.channels import JournalChannels
from tests.faults.kill.journal import Journal
from tests.faults.kill.kinds import KINDS
from tests.faults.kill.points import Points

NAMES = {"landing_bucket": "landing"}


class NotAccepted(Exception):
    """A message was not acknowledged; it will come again."""


class Topic:
    """A publisher whose messages stay in the journal until they are acknowledged."""

    def __init__(self, journal: Journal, points: Points) -> None:
        self._journal = journal
        self._points = points

    def publish(self, messages: Sequence[Mapping[str, Any]]) -> None:
        downs, ups = (len(self._journal.read(what)) for what in ("down", "up"))
        if downs > ups:
            raise Unavailable("Pub/Sub does not answer")
        with self._points.around("publish"):
            for message in messages:
                self._journal.write("published", message=message)

    def close(self) -> None:
        """Nothing is under way."""


class Instance:
    """Wired as `run.app` does it, with kinds and a topic that live in a journal."""

    def __init__(self, url: str, journal: Journal, points: Points) -> None:
        self.journal = journal
        self.points = points
        self.database = Database(url)
        self.kinds: dict[str, Kind[Any]] = {kind.name: kind(journal, points, self._meanwhile) for kind in KINDS}
        #: What kinds can be told to let happen while they work.
        self.events: Mapping[str, Callable[[Instance], object]] = {}
        self.publisher = Topic(journal, points)
        self._channels = JournalChannels(journal, points)
        self.wire()

    def wire(self) -> None:
        """Put the parts together, which remember nothing then."""
        life = TaskLife(self.database, self.kinds, self.publisher, NAMES)
        files = FileHandler(self.database, life, NAMES, lambda *_: None, is_archived)
        tasks = TaskHandler(self.database, life)
        self.workflows = WorkflowHandler(self.database, life)
        self.moves = Moves(self.database, life)
        self.life = life
        scanner = Scanner(self.database, files, JournalClients(self.journal, self.points), is_archived)
        invariant = Invariant(self.database, life)
        self.sweeps = SweepHandler(
            self.database,
            life,
            DueTasks(self.database, life, NAMES, Notifier(self.database, life.results, self._channels, NAMES).send),
            {
                "invariant": (600, lambda _seconds: bool(invariant.check()) or True),
                "scan": (86_400, scanner.scan_daily),
            },
        )
        self.router = Router(
            on_file=files.handle,
            on_task=tasks.execute,
            on_completed=tasks.completed,
            on_workflow=self.workflows.handle,
            on_sweep=self.sweeps.handle,
        )
        self._door = self._open_door()

    def wake(self) -> None:
        """Begin to live in a process that was forked: with a connection of its own.

        Chance falls the same in every process. Else a retry that happens to be due at once is released by the end of
        the attempt before it, and a process that was to die at a point of the sweep's never comes there.
        """
        random.seed(1)
        engine = self.database.engine
        assert isinstance(engine, Engine)
        engine.dispose(close=False)
        self.rows("SELECT 1")

    def push(self, data: Mapping[str, Any], message_id: str, attributes: Mapping[str, str] | None = None) -> None:
        """Deliver a message as Pub/Sub does; it is acknowledged."""
        inner = {
            "data": base64.b64encode(json.dumps(data).encode()).decode(),
            "attributes": dict(attributes or {}),
            "messageId": message_id,
            "publishTime": "2024-03-16T08:00:00Z",
        }
        answer = self._door.post("/", json={"message": inner, "subscription": "projects/p/subscriptions/s"})
        if answer.status_code != HTTPStatus.NO_CONTENT:
            raise NotAccepted(f"{data} was answered with {answer.status}")

    def deliver_all(self) -> None:
        """Deliver what is in the topic, and what that causes, until nothing is left."""
        while waiting := self.journal.next_message():
            number, message = waiting
            self.push(message, f"ours-{number}")
            with self.points.around("acknowledging"):
                self.journal.write("acknowledged", number=number)

    def store(self, workflow: Mapping[str, Any]) -> None:
        """Apply a workflow, as its file would be."""
        new = self.version_of(workflow)
        self.database.transact(lambda tx: store_version(tx, new))

    def version_of(self, workflow: Mapping[str, Any]) -> NewVersion:
        """What there is to store of a workflow."""
        definition, problems = build_workflow(workflow, self.kinds, dict.fromkeys(NAMES, NameType.TEXT))
        assert definition is not None, problems
        return new_version(definition)

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Rows of the database, unwatched."""
        with self.points.watched(False):
            return self.database.transact(lambda tx: [tuple(row) for row in tx.execute(text(statement), values)])

    def change(self, statement: str, **values: Any) -> None:
        """Change rows of the database, unwatched."""
        with self.points.watched(False):
            self.database.transact(lambda tx: tx.execute(text(statement), values))

    def _meanwhile(self, event: str) -> None:
        if event:
            try:
                self.events[event](self)
            except (NotAccepted, DatabaseUnavailable):
                # Whoever has asked for it has had no answer, and asks again.
                self.events[event](self)

    def _open_door(self) -> Any:
        app = Flask("service")
        database = self.database
        app.register_blueprint(
            create_push_blueprint(
                self.router,
                lambda delivery, reason: database.transact(lambda tx: keep(tx, delivery, reason)),
                lambda _authorization: None,
            )
        )
        return app.test_client()
