"""Many files from the first notification to the archive: with the service's own kinds, tables, and a real load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from database.sessions import Database
from database.workflows import store_version
from run.engine.definitions import new_version
from run.engine.due import DueTasks
from run.engine.life import TaskLife
from run.handlers.file import FileHandler
from run.handlers.sweep import SweepHandler
from run.kinds import build_kinds
from run.kinds.archive_file import PAGE, is_archived
from run.workflows.reader import read_workflow
from run.workflows.templates import NameType
from tests.engine_room import EngineRoom
from tests.integration.engine.test_arrivals import decisions, land
from tests.integration.kinds.room import Room

WORKFLOW = r"""
workflow: parts
batch: "{{period}}"
tasks:
  load:
    kind: load_file
    files: many
    file: 'gs://{{landing_bucket}}/{folder}/(?P<period>\d{{4}}-\d{{2}})/(?P<part>\w+)\.csv'
    until: {until}
    table: "{folder}.target"
    schema: [{{name: id, type: INTEGER}}]
    on_bad_file: set_aside
    retries: 2
    retry_delay: 0
  archive:
    kind: archive_file
    needs: [load]
    files_of: load
    to: "gs://{{archive_bucket}}/{{workflow}}/{{batch_id}}/{{file_path}}"
"""
BY_MARKER = r"{{marker: 'gs://{{landing_bucket}}/{folder}/(?P<period>\d{{4}}-\d{{2}})/_SUCCESS'}}"


class Whole:
    """The service around one dataset and one folder of the landing bucket."""

    def __init__(self, database: Database, room: Room, folder: Path) -> None:
        self.room = room
        self.engine = EngineRoom(database)
        self.kinds = build_kinds(room.clients)
        self.names = {"landing_bucket": "landing", "archive_bucket": "archive", "project": "local"}
        life = TaskLife(database, self.kinds, self.engine.publisher, self.names)
        self.engine.life = life
        self.engine.sweeps = SweepHandler(database, life, DueTasks(database, life, self.names), {})
        self.files = FileHandler(database, life, self.names, lambda *_: None, is_archived)
        self._folder = folder

    def apply(self, until: str = BY_MARKER) -> None:
        path = self._folder / "parts.yaml"
        path.write_text(WORKFLOW.format(folder=self.room.name, until=until.format(folder=self.room.name)))
        definition = read_workflow(path, self.kinds, dict.fromkeys(self.names, NameType.TEXT))
        self.engine.database.transact(lambda tx: store_version(tx, new_version(definition)))

    def land(self, name: str, content: str) -> None:
        """Put an object there, and have its notification come."""
        whole = f"{self.room.name}/2024-03/{name}"
        land(self.files, whole, self.room.put("landing", whole, content.encode()).generation)

    def live(self) -> None:
        """Deliver and sweep until all is over."""
        for _ in range(50):
            self.engine.deliver_all()
            if self.engine.rows("SELECT count(*) FROM batch_task WHERE status IN ('WAITING', 'NEW', 'PROCESSING')") == [
                (0,)
            ]:
                return
            self.engine.pass_time(60)
            self.engine.sweep()
        raise AssertionError(self.statuses())

    def statuses(self) -> dict[str, str]:
        return self.engine.statuses("2024-03", "parts")

    def ids(self) -> list[int]:
        return [row["id"] for row in self.room.rows("SELECT id FROM {dataset}.target ORDER BY id")]

    def fates(self) -> list[tuple[Any, ...]]:
        return [(row[0].rpartition("/")[2], row[2]) for row in decisions(self.engine)]


@pytest.fixture
def whole(database: Database, room: Room, tmp_path: Path) -> Whole:
    return Whole(database, room, tmp_path)


def test_all_files_are_loaded_by_one_attempt_and_archived(whole: Whole) -> None:
    whole.apply()
    for number in range(3):
        whole.land(f"p{number}.csv", f"id\n{number}\n")
    assert whole.engine.published() == []
    whole.land("_SUCCESS", "")
    whole.live()
    assert whole.statuses() == {"load": "SUCCESS", "archive": "SUCCESS"}
    assert whole.ids() == [0, 1, 2]
    places = whole.engine.rows("SELECT place_object FROM file_log WHERE decision = 'COLLECTED' ORDER BY 1")
    assert places == [(f"parts/2024-03/{whole.room.name}/2024-03/p{number}.csv",) for number in range(3)]
    assert whole.room.clients.storage.find("landing", f"{whole.room.name}/2024-03/_SUCCESS") is not None


def test_a_bad_file_is_set_aside_the_rest_is_loaded_and_the_mended_file_joins_it(whole: Whole) -> None:
    whole.apply("{{count: 3}}")
    whole.land("p0.csv", "id\n0\n")
    whole.land("p1.csv", "id\nno number\n")
    whole.land("p2.csv", "id\n2\n")
    whole.live()
    assert whole.ids() == [0, 2]
    assert whole.fates() == [("p0.csv", "COLLECTED"), ("p1.csv", "SET_ASIDE"), ("p2.csv", "COLLECTED")]
    [(reason,)] = whole.engine.rows("SELECT reason FROM file_log WHERE decision = 'SET_ASIDE'")
    assert "no number" in reason
    # It lies where it has landed; the others are in the archive.
    assert whole.room.clients.storage.find("landing", f"{whole.room.name}/2024-03/p1.csv") is not None
    whole.land("p1.csv", "id\n1\n")
    whole.live()
    assert whole.ids() == [0, 1, 2]
    assert whole.statuses() == {"load": "SUCCESS", "archive": "SUCCESS"}


def test_more_files_than_fit_one_part_are_archived_part_by_part_each_known_at_its_new_place(whole: Whole) -> None:
    count = 2 * PAGE + 5
    whole.apply(f"{{{{count: {count}}}}}")
    for number in range(count):
        whole.land(f"p{number}.csv", f"id\n{number}\n")
    whole.engine.deliver_all()
    moved = "SELECT count(*) FROM file_log WHERE place_object IS NOT NULL"
    assert (whole.statuses()["archive"], whole.engine.rows(moved)) == ("PROCESSING", [(PAGE,)])
    # The worker of the second part dies: another one goes on with the same attempt.
    whole.engine.change(
        "UPDATE batch_task SET token = gen_random_uuid(), lease_until = clock_timestamp() - interval '1 s', "
        "due_at = NULL WHERE status = 'PROCESSING'"
    )
    whole.engine.sweep()
    whole.live()
    assert whole.engine.rows(moved) == [(count,)]
    assert [row[:2] for row in whole.engine.log("archive")] == [(1, "SUCCESS")]
    [(details,)] = whole.engine.rows("SELECT details FROM task_log WHERE details ? 'moved'")
    assert details["moved"] == count
