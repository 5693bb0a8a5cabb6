"""Looking through the buckets: what was never announced is handed over as if its notification had come, only that."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from sqlalchemy import event

from database.places import NewPlace, store_places
from database.sessions import Database
from run.app import build_service
from run.clients import Clients
from run.clients.storage import Storage
from run.errors import PassingFailure
from run.handlers.file import FileHandler
from run.handlers.scan import Scanner, as_notified
from run.kinds.archive_file import ARCHIVE_MARKER, is_archived
from run.local.ports import free_port
from run.local.storage_server import StorageServer
from run.pubsub.envelope import read_delivery
from run.pubsub.messages import FileMessage, parse_message
from run.settings import Settings
from run.workflows.prefixes import Prefix
from tests.engine_room import ME, EngineRoom

_numbers = count(1)

DAY = r"(?P<day>\d+)\.csv"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageServer]:
    folder: Path = tmp_path_factory.mktemp("storage")
    with StorageServer(folder / "objects", folder / "logs") as server:
        yield server


@dataclass
class ScanRoom:
    """A scanner of a folder that belongs to this test alone."""

    engine: EngineRoom
    storage: StorageServer
    folder: str
    page_size: int = 1000
    bucket: Any = field(init=False)

    def __post_init__(self) -> None:
        self.clients = clients_of(self.storage.url)
        self.files = FileHandler(
            self.engine.database, self.engine.life, {"landing_bucket": "landing"}, lambda *_: None, is_archived
        )
        nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
        self.bucket = Client("local", nobody, client_options={"api_endpoint": self.storage.url}).bucket("landing")

    @property
    def scanner(self) -> Scanner:
        return Scanner(self.engine.database, self.files, self.clients, is_archived, page_size=self.page_size)

    def want(self, pattern: str = f"days/{DAY}", workflow: str = "daily", batch: str = "{day}", **more: Any) -> None:
        """Store a workflow with one task, which wants files of the folder."""
        file = {"pattern": f"gs://{{landing_bucket}}/{self.folder}/{pattern}", **more}
        details = {"load": {"kind": "told_file", "file": file}}
        self.engine.apply({"load": []}, workflow=workflow, batch=batch, details=details)

    def put(self, name: str, metadata: dict[str, str] | None = None) -> int:
        """Put an object there that is announced to nobody; its generation."""
        blob = self.bucket.blob(f"{self.folder}/{name}")
        blob.metadata = metadata
        blob.upload_from_string(b"1", timeout=10)
        return int(blob.generation)

    def announce(self, name: str) -> None:
        """Deliver the notification of an object that is there."""
        blob = self.bucket.get_blob(f"{self.folder}/{name}", timeout=10)
        attributes = {"eventType": "OBJECT_FINALIZE", "bucketId": "landing", "objectId": blob.name}
        attributes["objectGeneration"] = str(blob.generation)
        data = base64.b64encode(json.dumps({"metadata": blob.metadata or {}}).encode()).decode()
        message = {"attributes": attributes, "data": data, "messageId": f"notified-{next(_numbers)}"}
        delivery = read_delivery({}, json.dumps({"message": message}).encode())
        parsed = parse_message(delivery)
        assert isinstance(parsed, FileMessage)
        self.files.handle(parsed, delivery)

    def short(self, uri: str) -> str:
        return uri.removeprefix(f"gs://landing/{self.folder}/")

    def scan(self, within: str | None = None, *, dry_run: bool = False) -> list[str]:
        """The names of what a scan has handed over, or would."""
        place = None if within is None else Prefix("landing", f"{self.folder}/{within}")
        report = self.scanner.scan(place, dry_run=dry_run)
        assert report.problems == []
        return [self.short(new.file) for new in report.files]

    def decisions(self) -> list[tuple[str, str]]:
        """What became of which object, in the order of deciding."""
        rows = self.engine.rows("SELECT object, decision FROM file_log ORDER BY file_log_id")
        return [(name.removeprefix(f"{self.folder}/"), decision) for name, decision in rows]


@pytest.fixture
def room(database: Database, storage: StorageServer, request: pytest.FixtureRequest) -> ScanRoom:
    folder = f"{re.sub(r'[^a-z0-9]+', '_', request.node.name.lower())[:60]}_{next(_numbers)}"
    return ScanRoom(EngineRoom(database), storage, folder)


def clients_of(storage_url: str) -> Clients:
    return Clients(
        Settings(
            database_url="postgresql://nobody@localhost/none",
            project="local",
            landing_bucket="landing",
            storage_emulator_host=storage_url,
        )
    )


def test_the_marker_of_many_files_is_found_where_it_lies(room: ScanRoom) -> None:
    room.want(r"parts/(?P<day>\d+)/.*", until={"marker": f"gs://{{landing_bucket}}/{room.folder}/done/(?P<day>\\d+)"})
    for name in ("parts/1/a", "parts/1/b", "done/1"):
        room.put(name)
    assert room.scan("parts/") == ["parts/1/a", "parts/1/b"]
    assert room.engine.published() == []
    assert room.scan() == ["done/1"]
    assert [decision for _, decision in room.decisions()] == ["COLLECTED", "COLLECTED", "MARKER"]
    assert room.engine.published() == ["load"]


def test_what_was_never_announced_opens_its_batch_as_if_it_had_been(room: ScanRoom) -> None:
    room.want()
    for name in ("days/1.csv", "days/2.csv", "days/readme.txt", "else/3.csv"):
        room.put(name)
    room.announce("days/1.csv")
    room.engine.publisher.messages.clear()
    assert room.scan() == ["days/2.csv"]
    assert room.decisions() == [("days/1.csv", "TAKEN"), ("days/2.csv", "TAKEN")]
    assert room.engine.rows("SELECT batch_id, status FROM task_batch ORDER BY 1") == [
        ("1", "PROCESSING"),
        ("2", "PROCESSING"),
    ]
    assert [message["batch_id"] for message in room.engine.publisher.messages] == ["2"]
    [(size, message_id)] = room.engine.rows("SELECT size, message_id FROM file_log WHERE batch_id = '2'")
    assert size == 1
    assert message_id.startswith("scan-")


def test_a_second_scan_and_a_late_notification_find_it_known(room: ScanRoom) -> None:
    room.want()
    room.put("days/1.csv")
    assert room.scan() == ["days/1.csv"]
    report = room.scanner.scan()
    assert (report.looked_at, report.known, report.files) == (1, 1, [])
    room.announce("days/1.csv")
    assert room.decisions() == [("days/1.csv", "TAKEN")]
    assert room.engine.rows("SELECT count(*) FROM task_batch") == [(1,)]


def test_a_newer_generation_that_was_not_announced_is_handed_over(room: ScanRoom) -> None:
    room.want()
    room.put("days/1.csv")
    room.announce("days/1.csv")
    room.put("days/1.csv")
    assert room.scan() == ["days/1.csv"]
    assert room.decisions() == [("days/1.csv", "SUPERSEDED"), ("days/1.csv", "TAKEN")]


def test_an_object_that_nobody_wanted_before_its_workflow_came_is_handed_over(room: ScanRoom) -> None:
    room.put("days/1.csv")
    room.announce("days/1.csv")
    assert room.decisions() == [("days/1.csv", "UNWANTED")]
    room.want()
    assert room.scan() == ["days/1.csv"]
    assert room.decisions() == [("days/1.csv", "UNWANTED"), ("days/1.csv", "TAKEN")]


def test_an_object_that_another_workflow_wants_now_is_handed_over_for_that_one_only(room: ScanRoom) -> None:
    room.want()
    room.put("days/1.csv")
    room.announce("days/1.csv")
    room.want(workflow="other")
    (new,) = room.scanner.scan().files
    assert new.wanted_by == ("other.load",)
    assert room.engine.rows("SELECT name, batch_id FROM task_batch JOIN workflow USING (workflow_id) ORDER BY 1") == [
        ("daily", "1"),
        ("other", "1"),
    ]


def test_folders_and_our_own_archive_are_no_files(room: ScanRoom) -> None:
    room.want("(?P<day>.*)")
    room.put("folder/")
    room.put("archived", {ARCHIVE_MARKER: f"gs://landing/{room.folder}/archived"})
    room.put("copy", {ARCHIVE_MARKER: "gs://archive/elsewhere"})
    assert room.scan() == ["copy"]


def test_what_a_task_has_moved_into_a_landing_place_is_no_file(room: ScanRoom) -> None:
    room.want("(?P<day>.*)")
    room.put("came")
    room.announce("came")
    generation = room.put("moved")
    [(file_log_id,)] = room.engine.rows("SELECT file_log_id FROM file_log")
    place = NewPlace(file_log_id, "landing", f"{room.folder}/moved", generation)
    room.engine.database.transact(lambda tx: store_places(tx, [place]))
    assert room.scan() == []
    room.put("moved")
    assert room.scan() == ["moved"], "a newer generation at this place is somebody else's"


def test_what_is_rejected_is_rejected_once_and_not_with_every_scan(room: ScanRoom) -> None:
    room.want(batch="{day:%Y-%m-%d}", parse={"day": "%Y%m%d"})
    room.put("days/20240230.csv")
    assert room.scan() == ["days/20240230.csv"]
    assert room.scan() == []
    [(reason, deliveries, headers, body)] = room.engine.rows(
        "SELECT reason, deliveries, headers, body FROM rejected_message"
    )
    assert "is no date of the format" in reason
    assert deliveries == 1
    assert isinstance(parse_message(read_delivery(headers, bytes(body))), FileMessage), "it can be replayed"


def test_what_came_while_its_batch_was_cancelled_is_handed_over_once_the_batch_runs_again(room: ScanRoom) -> None:
    room.want()
    room.engine.start("1", "daily")
    room.engine.moves.cancel_batch("daily", "1", ME)
    room.put("days/1.csv")
    room.announce("days/1.csv")
    assert room.scan() == [], "the batch is cancelled"
    room.engine.moves.rerun_batch("daily", "1", ME, failed=True)
    assert room.scan() == ["days/1.csv"]
    assert room.decisions() == [("days/1.csv", "TAKEN")]
    assert room.scan() == []


def test_a_dry_run_says_the_same_and_changes_nothing(room: ScanRoom) -> None:
    room.want()
    room.put("days/1.csv")
    assert room.scan(dry_run=True) == ["days/1.csv"]
    assert room.decisions() == []
    assert room.engine.rows("SELECT count(*) FROM task_batch") == [(0,)]
    assert room.scan() == ["days/1.csv"]


def test_a_prefix_narrows_the_scan(room: ScanRoom) -> None:
    room.want(r"days/(?P<day>[\d-]+)\.csv")
    for name in ("days/2023-12.csv", "days/2024-01.csv", "days/2024-02.csv"):
        room.put(name)
    assert room.scan("days/2024") == ["days/2024-01.csv", "days/2024-02.csv"]
    assert room.scan("da") == ["days/2023-12.csv"]


def test_one_statement_is_asked_for_a_page_and_none_for_objects_that_nobody_wants(room: ScanRoom) -> None:
    room.want("(a|b)/(?P<day>.*)")
    for number in range(4):
        room.put(f"a/{number}")
        room.announce(f"a/{number}")
        room.put(f"c/{number}")
    room.page_size = 4
    statements: list[str] = []
    event.listen(room.engine.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    report = room.scanner.scan()
    assert (report.looked_at, report.known, report.files) == (8, 4, [])
    assert len(statements) == 2, "the tasks, and one page of objects that a task wants"


def test_the_question_of_a_page_is_answered_from_indexes_in_a_long_history(room: ScanRoom) -> None:
    room.want()
    room.engine.change(
        "INSERT INTO file_log (bucket, object, generation, event_type, decision, reason, task_id) "
        "SELECT 'landing', 'days/' || n, 1, 'OBJECT_FINALIZE', 'IGNORED', 'old', t.task_id "
        "FROM generate_series(1, 100000) n, task t"
    )
    room.engine.change("ANALYZE file_log")
    room.put("days/1.csv")
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "unnest" in statement and not statement.startswith("EXPLAIN"):
            plans.extend(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters))

    event.listen(room.engine.database.engine, "before_cursor_execute", explain)
    assert room.scan(dry_run=True) == ["days/1.csv"]
    assert plans
    assert not [line for line in plans if "Seq Scan on file_log" in line]


def test_one_objects_trouble_does_not_keep_the_others_from_being_handed_over(room: ScanRoom) -> None:
    room.want()
    for name in ("days/1.csv", "days/2.csv", "days/3.csv"):
        room.put(name)
    room.engine.change(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'"
    )
    room.engine.change(
        "CREATE TRIGGER refuse BEFORE INSERT ON file_log FOR EACH ROW WHEN (NEW.object LIKE '%/2.csv') "
        "EXECUTE FUNCTION refuse()"
    )
    report = room.scanner.scan()
    assert [(room.short(new.file), new.handed_over) for new in report.files] == [
        ("days/1.csv", True),
        ("days/2.csv", False),
        ("days/3.csv", True),
    ]
    room.engine.change("DROP TRIGGER refuse ON file_log")
    assert room.scan() == ["days/2.csv"]


def test_a_place_that_cannot_be_listed_is_said_and_does_not_hide_the_others(room: ScanRoom) -> None:
    room.want()
    patterns = {"nowhere": "gs://nowhere/(?P<day>.*)", "anywhere": "gs://.*/(?P<day>.*)"}
    for workflow, pattern in patterns.items():
        details = {"load": {"kind": "told_file", "file": {"pattern": pattern}}}
        room.engine.apply({"load": []}, workflow=workflow, batch="{day}", details=details)
    room.put("days/1.csv")
    report = room.scanner.scan()
    assert [room.short(new.file) for new in report.files] == ["days/1.csv"]
    no_place, no_bucket = report.problems
    assert no_place.startswith("the pattern of anywhere.load does not name its bucket")
    assert no_bucket.startswith("listing gs://nowhere/")
    room.put("days/2.csv")
    assert room.scanner.scan_daily(10)
    assert ("days/2.csv", "TAKEN") in room.decisions()


def test_the_daily_scan_goes_on_where_its_time_was_over_and_comes_to_an_end(room: ScanRoom) -> None:
    room.want("days/(?P<day>.*)", workflow="days")
    room.want("nights/(?P<day>.*)", workflow="nights")
    names = [f"{place}/{number}" for place in ("days", "nights") for number in range(4)]
    for name in names:
        room.put(name)
    room.page_size = 2
    seen = [0]
    while not room.scanner.scan_daily(0):
        seen.append(len(room.decisions()))
        assert len(seen) < 40, "it does not come to its end"
    assert seen == sorted(seen)
    assert max(later - before for before, later in pairwise(seen)) == 1, "time is kept in a page too"
    assert [name for name, _ in room.decisions()] == names
    assert room.engine.rows("SELECT cursor FROM chore WHERE name = 'scan'") == [(None,)]


def test_the_daily_scan_of_a_process_that_ends_takes_nothing_more_and_is_gone_on_with(room: ScanRoom) -> None:
    room.want()
    for name in ("days/1.csv", "days/2.csv"):
        room.put(name)
    ending = Event()
    ending.set()
    assert not Scanner(room.engine.database, room.files, room.clients, is_archived, ending=ending).scan_daily(10)
    assert room.decisions() == []
    assert room.scanner.scan_daily(10)
    assert room.decisions() == [("days/1.csv", "TAKEN"), ("days/2.csv", "TAKEN")]


def test_the_daily_scan_does_not_begin_again_what_it_has_looked_at(room: ScanRoom) -> None:
    room.want("(?P<day>.*)")
    for name in ("b", "c"):
        room.put(name)
    assert not room.scanner.scan_daily(0)
    room.put("a")
    while not room.scanner.scan_daily(0):
        pass
    assert [name for name, _ in room.decisions()] == ["b", "c"]
    while not room.scanner.scan_daily(0):
        pass
    assert [name for name, _ in room.decisions()] == ["b", "c", "a"], "the next day finds what came behind its back"


def test_a_storage_that_does_not_answer_leaves_the_daily_scan_where_it_was(room: ScanRoom) -> None:
    room.want("(?P<day>.*)")
    for name in ("a", "b"):
        room.put(name)
    assert not room.scanner.scan_daily(0)
    before = room.engine.rows("SELECT cursor FROM chore WHERE name = 'scan'")
    silent = Storage("local", f"http://127.0.0.1:{free_port()}", call_seconds=0.2)
    working, room.clients = room.clients, cast("Clients", SimpleNamespace(storage=silent))
    with pytest.raises(PassingFailure):
        room.scanner.scan_daily(0)
    assert room.engine.rows("SELECT cursor FROM chore WHERE name = 'scan'") == before
    room.clients = working
    while not room.scanner.scan_daily(0):
        pass
    assert [name for name, _ in room.decisions()] == ["a", "b"]


def test_the_sweep_finds_what_was_never_announced(room: ScanRoom, database_url: str) -> None:
    room.want()
    room.put("days/1.csv")
    environment = {
        "DATABASE_URL": database_url,
        "GOOGLE_CLOUD_PROJECT": "local",
        "LANDING_BUCKET": "landing",
        "BIGQUERY_LOCATION": "EU",
        "LOOPBACK_URL": f"http://127.0.0.1:{free_port()}/",
        "STORAGE_EMULATOR_HOST": room.storage.url,
    }
    service = build_service(Settings.from_environment(environment))
    service.sweeps.sweep()
    service.sweeps.sweep()
    assert room.decisions() == [("days/1.csv", "TAKEN")]
    [(hours,)] = room.engine.rows(
        "SELECT extract(epoch FROM due_at - clock_timestamp()) / 3600 FROM chore WHERE name = 'scan'"
    )
    assert 23 < hours < 25, "the next scan is due in a day"
    service.database.close()
    service.publisher.close()


def test_what_waits_for_a_workflow_is_counted_without_being_taken(room: ScanRoom) -> None:
    for number in range(3):
        room.put(f"days/{number}.csv")
    room.want()
    room.want("nights/(?P<day>.*)", workflow="nights")
    room.announce("days/0.csv")
    assert room.scanner.count_waiting(["daily"]) == (2, False)
    assert room.scanner.count_waiting(["nights"]) == (0, False)
    assert len(room.decisions()) == 1


def test_the_message_of_an_object_is_the_same_whenever_it_is_found_and_reads_as_its_notification(
    room: ScanRoom,
) -> None:
    room.put("ü b.csv", {"colour": "blue"})
    objects, _ = room.clients.storage.list_page("landing", f"{room.folder}/")
    again, _ = room.clients.storage.list_page("landing", f"{room.folder}/")
    message, delivery = as_notified(objects[0])
    assert as_notified(again[0]) == (message, delivery)
    read = read_delivery(delivery.headers, delivery.body)
    assert read == delivery
    assert parse_message(read) == message
    assert message.metadata == {"colour": "blue"}
    assert message.event_time == objects[0].created == delivery.publish_time
