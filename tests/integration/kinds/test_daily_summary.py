"""The story of a daily file: it is loaded, Dataform makes the summary of the day, what shows it comes after that."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from database.sessions import Database
from database.workflows import store_version
from run.clients import Clients
from run.engine.definitions import new_version
from run.engine.due import DueTasks
from run.engine.life import TaskLife
from run.handlers.file import FileHandler
from run.handlers.sweep import SweepHandler
from run.kinds import build_kinds
from run.kinds.archive_file import is_archived
from run.kinds.kind import ObjectVersion
from run.pubsub.envelope import read_delivery
from run.pubsub.messages import FileMessage, parse_message
from run.settings import Settings
from run.workflows.reader import read_workflow
from run.workflows.templates import NameType
from tests.engine_room import ME, EngineRoom
from tests.integration.kinds.dataform_room import ACTIONS, LONG_AGO
from tests.integration.kinds.room import Room
from tests.servers.dataform import DataformServer

BATCH = "Batch_20240316_001"
SALES = b"product,amount\ntea,3\ncake,5\n"
NAMES = {"landing_bucket": "landing", "archive_bucket": "archive", "project": "local"}
WORKFLOW = r"""
workflow: daily_sales
tasks:
  load_sales:
    kind: load_file
    file: 'gs://{landing_bucket}/DATASET/daily_sales_\d{8}\.csv'
    table: DATASET.sales
  daily_sales_summary:
    kind: dataform_run
    needs: [load_sales]
    project: acme
    location: europe-west1
    repository: sales
    commit: main
    vars: {day: "{today}", batch: "{batch_id}"}
    targets: [reports.daily_sales_summary]
  show:
    kind: bigquery_query
    needs: [daily_sales_summary]
    sql: SELECT amount FROM DATASET.daily_sales_summary WHERE batch_id = @batch_id
"""


@dataclass
class Story:
    """The service's parts, without its door, and what is around it."""

    engine: EngineRoom
    files: FileHandler
    room: Room
    dataform: DataformServer

    def land(self) -> ObjectVersion:
        """Put the file of 16 March into the bucket, of which Cloud Storage tells nobody yet."""
        return self.room.put("landing", f"{self.room.name}/daily_sales_20240316.csv", SALES)

    def tell(self, landed: ObjectVersion) -> None:
        """Deliver Cloud Storage's notification."""
        resource = {"bucket": landed.bucket, "name": landed.name, "generation": str(landed.generation), "metadata": {}}
        attributes = {
            "eventType": "OBJECT_FINALIZE",
            "eventTime": "2024-03-16T06:00:00.000000Z",
            "bucketId": landed.bucket,
            "objectId": landed.name,
            "objectGeneration": str(landed.generation),
        }
        data = base64.b64encode(json.dumps(resource).encode()).decode()
        body = {"message": {"attributes": attributes, "data": data, "messageId": "1"}}
        delivery = read_delivery({"content-type": "application/json"}, json.dumps(body).encode())
        message = parse_message(delivery)
        assert isinstance(message, FileMessage)
        self.files.handle(message, delivery)

    def go_on(self) -> dict[str, str]:
        """Deliver all messages, let a minute pass, sweep; the status of each task."""
        self.engine.deliver_all()
        self.engine.pass_time(61)
        self.engine.sweep()
        self.engine.deliver_all()
        return self.statuses()

    def statuses(self) -> dict[str, str]:
        return self.engine.statuses(BATCH, "daily_sales")

    def make_the_summary(self) -> None:
        """What Dataform does while the invocation runs, and its end."""
        self.room.rows(
            "CREATE TABLE {dataset}.daily_sales_summary AS "
            "SELECT batch_id, SUM(amount) AS amount FROM {dataset}.sales GROUP BY batch_id"
        )
        self.dataform.end()


@pytest.fixture
def dataform() -> Iterator[DataformServer]:
    with DataformServer() as server:
        server.age = LONG_AGO
        server.repository(actions=dict(ACTIONS))
        yield server


@pytest.fixture
def story(database: Database, servers: tuple[str, str], room: Room, dataform: DataformServer, tmp_path: Path) -> Story:
    """The workflow is applied, nothing has happened yet."""
    storage, warehouse = servers
    settings = Settings(
        database_url="postgresql://nobody@localhost/none",
        project="local",
        landing_bucket="landing",
        archive_bucket="archive",
        storage_emulator_host=storage,
        bigquery_emulator_host=warehouse,
        dataform_url=dataform.url,
    )
    kinds = build_kinds(Clients(settings))
    (tmp_path / "daily.yaml").write_text(WORKFLOW.replace("DATASET", room.name))
    definition = read_workflow(tmp_path / "daily.yaml", kinds, dict.fromkeys(NAMES, NameType.TEXT))
    database.transact(lambda tx: store_version(tx, new_version(definition)))
    engine = EngineRoom(database)
    engine.life = TaskLife(database, kinds, engine.publisher, NAMES)
    engine.sweeps = SweepHandler(database, engine.life, DueTasks(database, engine.life, NAMES), {})
    return Story(engine, FileHandler(database, engine.life, NAMES, lambda *_: None, is_archived), room, dataform)


def test_a_daily_file_is_loaded_then_summed_up_by_dataform_then_shown(story: Story) -> None:
    story.tell(story.land())
    for _ in range(3):
        assert story.go_on() == {"load_sales": "SUCCESS", "daily_sales_summary": "PROCESSING", "show": "WAITING"}
    [compiled] = story.dataform.compilations.values()
    assert compiled["codeCompilationConfig"] == {"vars": {"day": "2024-03-16", "batch": BATCH}}
    assert story.dataform.ran() == [["daily_sales_summary"]]
    story.make_the_summary()
    story.go_on()
    assert story.go_on() == dict.fromkeys(("load_sales", "daily_sales_summary", "show"), "SUCCESS")
    [(first_row,)] = story.engine.rows(
        "SELECT details->'first_row' FROM task_log JOIN task USING (task_id) WHERE name = 'show'"
    )
    assert first_row == {"amount": 8}
    assert story.engine.batch_status(BATCH) == "SUCCESS"
    ordered = story.engine.rows("SELECT name FROM task_log JOIN task USING (task_id) ORDER BY ended_at")
    assert [name for (name,) in ordered] == ["load_sales", "daily_sales_summary", "show"]


def test_nothing_is_shown_when_the_summary_fails_and_a_rerun_goes_on_from_there(story: Story) -> None:
    story.tell(story.land())
    story.go_on()
    story.dataform.end("FAILED", {"daily_sales_summary": 'reason:"invalidQuery" message:"Unrecognized name: amonut"'})
    assert story.go_on() == {"load_sales": "SUCCESS", "daily_sales_summary": "ERROR", "show": "SKIPPED:upstream_failed"}
    assert story.engine.batch_status(BATCH) == "ERROR"
    story.engine.moves.rerun_batch("daily_sales", BATCH, ME, failed=True)
    story.go_on()
    story.make_the_summary()
    story.go_on()
    assert story.go_on() == dict.fromkeys(("load_sales", "daily_sales_summary", "show"), "SUCCESS")
    assert story.dataform.states() == ["FAILED", "SUCCEEDED"]
    assert story.room.count("sales") == 2, "the file was not loaded again"


def test_every_message_that_comes_twice_changes_nothing(story: Story) -> None:
    landed = story.land()
    for _ in range(2):
        story.tell(landed)
    story.engine.publisher.messages *= 2
    story.go_on()
    assert story.engine.rows("SELECT batch_id FROM task_batch") == [(BATCH,)]
    assert story.dataform.states() == ["RUNNING"]
    story.make_the_summary()
    story.go_on()
    story.go_on()
    assert story.engine.batch_status(BATCH) == "SUCCESS"
    assert story.dataform.states() == ["SUCCEEDED"]
    assert story.room.count("sales") == 2
