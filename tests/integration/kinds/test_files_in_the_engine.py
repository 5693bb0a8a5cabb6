"""A raw file on its way through the engine: checked, converted, loaded and archived, each with a status of its own."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from database.sessions import Database
from database.statuses import Status
from database.workflows import store_version
from run.clients import Clients
from run.engine.definitions import new_version
from run.engine.due import DueTasks
from run.engine.life import TaskLife
from run.errors import Unavailable
from run.handlers.file import FileHandler
from run.handlers.sweep import SweepHandler
from run.kinds import build_kinds, child_process
from run.kinds.child_process import MIB, MOST_AT_ONCE, Limits, run_child
from run.kinds.own_objects import is_ours
from run.pubsub.envelope import read_delivery
from run.pubsub.messages import FileMessage, parse_message
from run.settings import Settings
from run.workflows.reader import read_workflow
from run.workflows.templates import NameType
from tests.engine_room import ME, EngineRoom
from tests.faults.kill.http_proxy import HttpProxy, Request
from tests.integration.kinds.room import Room
from tests.local_parts import eventually
from tests.processes import children_running

COLUMNS = "[{name: order_id, type: INT64, required: true}, {name: amount, type: NUMERIC, min: 0}]"
STORY = f"""
workflow: orders
batch: "{{day}}"
tasks:
  check:
    kind: validate_file
    file: 'gs://{{landing_bucket}}/FOLDER/raw/daily_orders_(?P<day>\\d{{8}})\\.csv(\\.errors\\.csv)?'
    parse: {{day: "%Y%m%d"}}
    columns: {COLUMNS}
    lease_seconds: 10
  convert: {{kind: convert_file, needs: [check], from: check, columns: {COLUMNS}, to: "gs://{{landing_bucket}}/FOLDER/{{batch_id}}.parquet"}}
  load: {{kind: load_file, needs: [convert], from: convert, table: FOLDER.orders}}
  archive: {{kind: archive_file, needs: [load], files_of: check, to: "gs://{{archive_bucket}}/FOLDER/{{batch_id}}.csv"}}
"""
ROUTES = f"""
workflow: raw_orders
batch: "{{name}}_{{part}}"
tasks:
  convert:
    kind: convert_file
    file: 'gs://{{landing_bucket}}/FOLDER/raw/(?P<name>[a-z_]+)_batch(?P<part>\\d+)\\.csv'
    columns: {COLUMNS}
    to: "gs://{{landing_bucket}}/FOLDER/processed/{{name}}/{{part}}.parquet"
---
workflow: orders
batch: "{{part}}"
tasks:
  load:
    kind: load_file
    file: 'gs://{{landing_bucket}}/FOLDER/processed/orders/(?P<part>\\d+)\\.parquet'
    table: FOLDER.orders
  after: {{kind: bigquery_query, needs: [load], sql: SELECT 1}}
"""
GOOD = b"order_id,amount\n1,1.5\n2,0.5\n"
BUSY = Limits(256 * MIB, 60)
NAMES = {"landing_bucket": "landing", "archive_bucket": "archive"}


@dataclass
class Files:
    """An engine with the service's kinds, and the buckets of one test."""

    engine: EngineRoom
    room: Room
    handler: FileHandler
    tmp_path: Path

    def apply(self, text: str) -> None:
        for number, one in enumerate(text.replace("FOLDER", self.room.name).split("---")):
            path = self.tmp_path / f"{number}.yaml"
            path.write_text(one)
            definition = read_workflow(path, self.engine.life.kinds, dict.fromkeys(NAMES, NameType.TEXT))
            new = new_version(definition)
            self.engine.database.transact(lambda tx: store_version(tx, new))  # noqa: B023 - done at once

    def land(self, name: str, content: bytes) -> None:
        self.room.put("landing", f"{self.room.name}/{name}", content)
        self.announce(name)

    def announce(self, name: str) -> None:
        """Send the notification that Cloud Storage sends of the object that is there now."""
        found = self.room.clients.storage.find("landing", f"{self.room.name}/{name}")
        assert found is not None
        resource = {
            "bucket": "landing",
            "name": found.name,
            "generation": str(found.generation),
            "metadata": dict(found.metadata),
        }
        attributes = {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": "landing",
            "objectId": found.name,
            "objectGeneration": str(found.generation),
        }
        data = base64.b64encode(json.dumps(resource).encode()).decode()
        message = {"attributes": attributes, "data": data, "messageId": f"{found.name}{found.generation}"}
        delivery = read_delivery({"content-type": "application/json"}, json.dumps({"message": message}).encode())
        parsed = parse_message(delivery)
        assert isinstance(parsed, FileMessage)
        self.handler.handle(parsed, delivery)

    def objects(self, bucket: str = "landing") -> list[str]:
        found = self.room.clients.storage.list_page(bucket, f"{self.room.name}/").objects
        return [one.name.removeprefix(f"{self.room.name}/") for one in found]

    def decided(self) -> list[tuple[Any, ...]]:
        return self.engine.rows("SELECT decision, reason FROM file_log ORDER BY file_log_id")

    def details(self, task: str) -> dict[str, Any]:
        sql = "SELECT details FROM task_log JOIN task t USING (task_id) WHERE t.name = :t ORDER BY attempt DESC LIMIT 1"
        found: dict[str, Any] = self.engine.rows(sql, t=task)[0][0]
        return found


@pytest.fixture
def proxy(servers: tuple[str, str]) -> Iterator[HttpProxy]:
    with HttpProxy(servers[0]) as proxy:
        yield proxy


@pytest.fixture
def files(database: Database, room: Room, servers: tuple[str, str], proxy: HttpProxy, tmp_path: Path) -> Files:
    """The service's kinds meet Cloud Storage through the proxy; the test meets it without."""
    settings = Settings(
        database_url="postgresql://nobody@localhost/none",
        project="local",
        landing_bucket="landing",
        archive_bucket="archive",
        storage_emulator_host=proxy.url,
        bigquery_emulator_host=servers[1],
    )
    engine = another_instance(database, Clients(settings))
    handler = FileHandler(database, engine.life, NAMES, lambda *_: None, is_ours)
    return Files(engine, room, handler, tmp_path)


def another_instance(database: Database, clients: Clients) -> EngineRoom:
    engine = EngineRoom(database)
    engine.life = TaskLife(database, build_kinds(clients), engine.publisher, NAMES)
    engine.sweeps = SweepHandler(database, engine.life, DueTasks(database, engine.life, NAMES), {})
    return engine


def is_upload(request: Request) -> bool:
    return request.method == "POST" and "/upload/" in request.path


def is_download(request: Request) -> bool:
    return request.method == "GET" and "alt=media" in request.path


def children() -> list[psutil.Process]:
    return children_running("run.child")


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_raw_file_is_checked_converted_loaded_and_archived_each_with_its_status(files: Files) -> None:
    files.apply(STORY)
    files.land("raw/daily_orders_20231115.csv", GOOD)
    files.engine.deliver_all()
    assert files.engine.statuses("2023-11-15", "orders") == dict.fromkeys(
        ["check", "convert", "load", "archive"], "SUCCESS"
    )
    assert files.room.rows("SELECT order_id, amount FROM {dataset}.orders ORDER BY 1") == [
        {"order_id": 1, "amount": pytest.approx(1.5)},
        {"order_id": 2, "amount": pytest.approx(0.5)},
    ]
    assert files.objects() == ["2023-11-15.parquet"]
    assert files.objects("archive") == ["2023-11-15.csv"]
    assert [files.details(task)["rows"] for task in ("check", "convert", "load")] == [2, 2, 2]


def test_a_file_that_breaks_its_contract_stops_everything_below_and_stays(files: Files) -> None:
    files.apply(STORY)
    files.land("raw/daily_orders_20231115.csv", b"order_id,amount\n1,1.5\n2,minus\n")
    files.engine.deliver_all()
    assert files.engine.statuses("2023-11-15", "orders") == {
        "check": "ERROR",
        "convert": "SKIPPED:upstream_failed",
        "load": "SKIPPED:upstream_failed",
        "archive": "SKIPPED:upstream_failed",
    }
    [(_, _, error)] = files.engine.log("check")
    assert "1 error, the first on line 3 in column 'amount': 'minus' is no NUMERIC" in error
    assert files.details("check")["first_errors"][0]["line"] == 3
    assert files.objects() == ["raw/daily_orders_20231115.csv", "raw/daily_orders_20231115.csv.errors.csv"]


def test_a_report_starts_nothing_although_a_pattern_fits_it(files: Files) -> None:
    files.apply(STORY)
    files.land("raw/daily_orders_20231115.csv", b"order_id,amount\nx,1\n")
    files.engine.deliver_all()
    files.announce("raw/daily_orders_20231115.csv.errors.csv")
    assert files.decided() == [("TAKEN", None), ("IGNORED", "one of our own tasks has put it here")]
    assert files.engine.published() == []


def test_a_file_that_was_mended_goes_the_whole_way(files: Files) -> None:
    files.apply(STORY)
    for content in (b"order_id,amount\n1,?\n", GOOD):
        files.land("raw/daily_orders_20231115.csv", content)
        files.engine.deliver_all()
    assert set(files.engine.statuses("2023-11-15", "orders").values()) == {"SUCCESS"}
    assert [(attempt, status) for attempt, status, _ in files.engine.log("check")] == [(1, "ERROR"), (2, "SUCCESS")]
    assert files.objects() == ["2023-11-15.parquet"]


def test_a_newer_file_is_converted_and_loaded_anew(files: Files) -> None:
    files.apply(STORY.replace("needs: [load], files_of: check", "needs: [load], files_of: check, disabled: true"))
    for content in (GOOD, GOOD + b"3,1\n"):
        files.land("raw/daily_orders_20231115.csv", content)
        files.engine.deliver_all()
    assert files.details("load")["rows"] == files.room.count("orders") == 3


def test_a_load_takes_nothing_of_a_conversion_that_only_a_person_called_a_success(files: Files) -> None:
    files.apply(STORY)
    files.land("raw/daily_orders_20231115.csv", b"order_id,amount\n1,?\n")
    files.engine.deliver_all()
    for task in ("check", "convert"):
        files.engine.moves.mark_task(files.engine.task(task, "2023-11-15", "orders"), ME, Status.SUCCESS)
    files.engine.deliver_all()
    assert files.engine.statuses("2023-11-15", "orders")["load"] == "ERROR"
    assert "no file of batch '2023-11-15' belongs to task 'convert'" in files.engine.log("load")[0][2]


def test_raw_files_converted_files_and_tasks_have_routes_of_their_own(files: Files) -> None:
    files.apply(ROUTES)
    files.land("raw/orders_batch001.csv", GOOD)
    files.engine.deliver_all()
    files.announce("processed/orders/001.parquet")
    files.engine.deliver_all()
    assert files.engine.statuses("001", "orders") == {"load": "SUCCESS", "after": "SUCCESS"}
    assert files.room.count("orders") == 2
    taken = files.engine.rows(
        "SELECT t.name, f.object FROM file_log f JOIN task t USING (task_id) ORDER BY file_log_id"
    )
    assert taken == [
        ("convert", f"{files.room.name}/raw/orders_batch001.csv"),
        ("load", f"{files.room.name}/processed/orders/001.parquet"),
    ]


def test_a_worker_that_dies_after_the_write_is_replaced_and_its_object_adopted(files: Files, proxy: HttpProxy) -> None:
    files.apply(STORY)
    files.land("raw/daily_orders_20231115.csv", GOOD)
    key = files.engine.key("convert", "2023-11-15", "orders")
    files.engine.life.execute(files.engine.key("check", "2023-11-15", "orders"))
    files.engine.publisher.messages.clear()
    # It has written, and never hears of it: for all the others it is dead.
    held = proxy.hold(is_upload)
    frozen = in_thread(lambda: files.engine.life.execute(key))
    assert held.come.wait(30)
    files.engine.pass_time(120)
    other = another_instance(files.engine.database, files.room.clients)
    other.life.execute(key)
    made = files.details("convert")["made"]
    held.may_go_on.set()
    frozen.join(30)
    assert files.engine.log("convert") == [(1, "SUCCESS", None)]
    found = files.room.clients.storage.find(made["bucket"], made["name"])
    assert found is not None
    assert found.generation == made["generation"]


def test_a_task_that_is_cancelled_has_its_child_killed(files: Files, proxy: HttpProxy) -> None:
    files.apply(STORY)
    files.land("raw/daily_orders_20231115.csv", GOOD)
    files.engine.change("UPDATE task_version SET lease_seconds = 1")
    held = proxy.hold(is_download)
    worker = in_thread(files.engine.deliver_all)
    assert held.come.wait(30)
    eventually(children, "a child")
    files.engine.moves.cancel_batch("orders", "2023-11-15", ME)
    eventually(lambda: not children(), "the child to be gone")
    held.may_go_on.set()
    worker.join(30)
    assert set(files.engine.statuses("2023-11-15", "orders").values()) == {"CANCELLED"}
    files.engine.pass_time(60)
    files.engine.sweep()
    assert files.engine.rows("SELECT * FROM cancellation") == []


def test_a_file_that_waits_for_its_turn_for_long_is_checked_in_the_end(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "PATIENCE_SECONDS", 0.1)
    files.apply(STORY)
    files.land("raw/daily_orders_20231115.csv", GOOD)
    may_end = threading.Event()

    def be_busy(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        argument = {"pids": str(folder / "pids")}
        with pytest.raises(Unavailable):
            run_child("tests.unit.kinds.children:sleep", argument, folder, BUSY, is_lost=may_end.is_set)

    others = [in_thread(partial(be_busy, number)) for number in range(MOST_AT_ONCE)]
    try:
        eventually(lambda: len(children()) == MOST_AT_ONCE, "all turns to be taken")
        for _ in range(4):
            files.engine.deliver_all()
            files.engine.pass_time(900)
            files.engine.sweep()
        assert files.engine.log("check") == [(1, "PROCESSING", None)]
    finally:
        may_end.set()
        for other in others:
            other.join()
    files.engine.deliver_all()
    assert files.engine.log("check") == [(1, "SUCCESS", None)]


def test_a_task_that_takes_too_long_has_its_child_killed_and_says_so(files: Files, proxy: HttpProxy) -> None:
    files.apply(STORY)
    files.land("raw/daily_orders_20231115.csv", GOOD)
    files.engine.change("UPDATE task_version SET lease_seconds = 1, timeout_seconds = 2")
    held = proxy.hold(is_download)
    worker = in_thread(files.engine.deliver_all)
    assert held.come.wait(30)
    eventually(children, "a child")
    eventually(lambda: not children(), "the child to be gone")
    held.may_go_on.set()
    worker.join(30)
    files.engine.pass_time(30)
    files.engine.sweep()
    files.engine.deliver_all()
    assert files.engine.log("check") == [(1, "ERROR", "timed out after 2 s")]
