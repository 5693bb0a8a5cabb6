"""A whole service in this process on which the example of a kind's page is applied and runs to its end."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from database.sessions import Database
from run.app import Service, build_service
from run.cli import main
from run.pubsub.envelope import read_delivery
from run.settings import Settings
from tests.acceptance.service_room import Topic
from tests.engine_room import EngineRoom
from tests.integration.kinds.room import Room

PAGES = Path(__file__).parents[3] / "docs" / "kinds"
MOST_SECONDS = 60
_PAUSE_SECONDS = 0.02


@dataclass
class PageRoom:
    """One page, what it runs on, and what a test does to bring it to its end.

    `room` has the files and tables. Settings that the kind needs (the address of a small server, a secret) are put into
    `settings` before anything is done, and what of the example cannot be had here into `instead`. Whatever a workflow
    calls finance is a dataset of this test only.
    """

    kind: str
    room: Room
    database: Database
    topic: Topic
    settings: dict[str, str]
    folder: Path
    #: What is applied instead of a part of the example, such as the address of a small server.
    instead: dict[str, str] = field(default_factory=dict)
    #: Which of the page's examples is applied.
    number: int = 0
    _delivered: int = 0
    _numbers: count[int] = field(default_factory=lambda: count(1))

    @cached_property
    def service(self) -> Service:
        """The service's parts, as these settings ask for."""
        return build_service(Settings.from_environment(self.settings))

    @cached_property
    def engine(self) -> EngineRoom:
        """For looking at rows, and for letting time pass."""
        return EngineRoom(self.database)

    def example(self, language: str = "yaml") -> str:
        """The page's example in this language."""
        text = (PAGES / f"{self.kind}.md").read_text()
        found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        return str(found[self.number])

    @cached_property
    def workflow(self) -> str:
        """The name of the page's workflow, which is applied as a person does it."""
        path = self.folder / "page.yaml"
        text = self.example()
        for part, other in self.instead.items():
            assert part in text, part
            text = text.replace(part, other)
        path.write_text(text)
        done = CliRunner().invoke(main, ["workflow", "apply", str(path)], env=self.settings)
        assert done.exit_code == 0, done.output
        [name] = re.findall(r"^workflow: (\w+)$", self.example(), re.MULTILINE)
        return str(name)

    def message(self) -> dict[str, Any]:
        """The message that the page shows."""
        return dict(json.loads(self.example("json")))

    def dataset(self, name: str) -> None:
        """An empty dataset, whatever an earlier test left in it."""
        self.room.bigquery.delete_dataset(name, delete_contents=True, not_found_ok=True, timeout=10)
        self.room.bigquery.create_dataset(name, timeout=10)

    def land(self, name: str, content: bytes) -> None:
        """Put an object into the landing bucket and announce it, as Cloud Storage does."""
        assert self.workflow
        place = self.room.put(self.settings["LANDING_BUCKET"], name, content)
        resource = {"bucket": place.bucket, "name": place.name, "size": str(len(content)), "metadata": {}}
        attributes = {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": place.bucket,
            "objectId": place.name,
            "objectGeneration": str(place.generation),
            "payloadFormat": "JSON_API_V1",
        }
        self.push({**resource, "generation": str(place.generation)}, attributes)

    def start(self, batch_id: str) -> None:
        """Start a batch of a workflow that waits for no file."""
        self.push({"trigger_type": "workflow", "workflow": self.workflow, "batch_id": batch_id})

    def push(self, message: Mapping[str, Any], attributes: Mapping[str, str] | None = None) -> None:
        """Deliver a message to the service; one that it rejects raises."""
        inner = {
            "messageId": f"page-{next(self._numbers)}",
            "attributes": dict(attributes or {}),
            "data": base64.b64encode(json.dumps(message).encode()).decode(),
        }
        self._route(json.dumps({"message": inner, "subscription": "pages"}).encode())

    def succeed(self, batch_id: str) -> dict[str, dict[str, Any]]:
        """Let the batch run to its end, which must be SUCCESS; what the task log keeps, by the task."""
        self.wait_until(lambda: self._batch_status(batch_id) != "PROCESSING")
        assert self._batch_status(batch_id) == "SUCCESS", self._errors()
        return dict(
            map(tuple, self.engine.rows("SELECT t.name, l.details FROM task_log l JOIN task t USING (task_id)"))
        )

    def wait_for(self, batch_id: str, task: str, status: str) -> None:
        """Let the batch go on until one task has this status."""
        self.wait_until(lambda: self.engine.statuses(batch_id, self.workflow).get(task) == status)

    def wait_until(self, is_true: Callable[[], bool]) -> None:
        """Deliver what the service publishes, and sweep as each minute does, until this is true."""
        deadline = time.monotonic() + MOST_SECONDS
        while not is_true():
            assert time.monotonic() < deadline, self._errors()
            if not self._deliver_next():
                time.sleep(_PAUSE_SECONDS)
                self.engine.pass_time(60)
                self.push({"trigger_type": "sweep"})

    def _deliver_next(self) -> bool:
        if self._delivered == len(self.topic.bodies):
            return False
        body = self.topic.bodies[self._delivered]
        self._delivered += 1
        self._route(body)
        return True

    def _route(self, body: bytes) -> None:
        self.service.router.route(read_delivery({"content-type": "application/json"}, body))

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Everything in a bucket: `landing` or `archive`."""
        name = self.settings[f"{bucket.upper()}_BUCKET"]
        return {one.name: one.download_as_bytes(timeout=10) for one in self.room.storage.list_blobs(name, timeout=10)}

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query in BigQuery."""
        return [tuple(row.values()) for row in self.room.rows(sql)]

    def _batch_status(self, batch_id: str) -> str:
        begun = dict(map(tuple, self.engine.rows("SELECT batch_id, status FROM task_batch")))
        assert batch_id in begun, f"no batch {batch_id} has begun, only {list(begun)}"
        return str(begun[batch_id])

    def _errors(self) -> list[Any]:
        return self.engine.rows(
            "SELECT t.name, b.status, l.error FROM batch_task b JOIN task t USING (task_id) "
            "LEFT JOIN task_log l ON l.task_id = b.task_id AND l.batch_id = b.batch_id ORDER BY b.position"
        )
