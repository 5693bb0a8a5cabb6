"""Large results on a real server of Cloud Storage: written once, read back as they were, and taken for no file."""

from __future__ import annotations

import pytest

from database.sessions import Database
from run.clients.result_objects import ResultObjects
from run.engine.life import TaskLife
from run.engine.results import MOST_BYTES_IN_DATABASE
from run.errors import PermanentFailure
from run.handlers.file import FileHandler
from run.kinds.kind import Finished, Returned
from run.kinds.own_objects import is_ours
from tests.engine_room import EngineRoom
from tests.integration.engine.test_arrivals import decisions, land, wants
from tests.integration.kinds.room import Room


@pytest.fixture
def objects(room: Room) -> ResultObjects:
    return ResultObjects(lambda: room.clients.storage, "archive")


def test_what_is_written_is_read_back(room: Room, objects: ResultObjects) -> None:
    content = b'["' + b"x" * 3_000_000 + b'"]'
    place = objects.write(f"{room.name}/1.json", content)
    assert (place["bucket"], place["name"]) == ("archive", f"results/{room.name}/1.json")
    assert objects.read(place) == content


def test_a_writer_that_had_no_answer_finds_what_it_has_written(room: Room, objects: ResultObjects) -> None:
    first = objects.write(f"{room.name}/1.json", b"[1]")
    assert objects.write(f"{room.name}/1.json", b"[1]") == first


def test_a_result_that_is_gone_or_another_one_is_never_read(room: Room, objects: ResultObjects) -> None:
    place = objects.write(f"{room.name}/1.json", b"[1]")
    room.put("archive", place["name"], b"[2]")
    for wrong in (place, {**place, "name": "results/nowhere.json"}):
        with pytest.raises(PermanentFailure, match=r"is gone; run the task that made it again"):
            objects.read(wrong)


def test_a_large_result_goes_from_task_to_task_and_starts_nothing(
    database: Database, room: Room, objects: ResultObjects
) -> None:
    engine = EngineRoom(database)
    engine.life = TaskLife(database, engine.life.kinds, engine.publisher, {}, objects)
    large = {"rows": ["x" * MOST_BYTES_IN_DATABASE, None, 0.5]}
    engine.told.orders["a"] = lambda _work: Finished(returned=Returned(large))
    engine.apply({"a": [], "b": ["a"]}, details={"b": {"reads_results": ["a"]}})
    engine.apply({"c": []}, workflow="all", batch="{name}", details={"c": wants("gs://archive/(?P<name>.*)")})
    engine.start()
    engine.deliver_all()
    [read] = [work.results for work in engine.told.works if work.task == "b"]
    assert read == {"a": large}
    [(place,)] = engine.rows("SELECT result_place FROM task_log WHERE result_place IS NOT NULL")
    stored = room.clients.storage.find(place["bucket"], place["name"])
    assert stored is not None
    files = FileHandler(database, engine.life, {}, lambda *_: None, is_ours)
    land(files, stored.name, stored.generation, metadata=stored.metadata, bucket="archive")
    land(files, "somebody's.json", bucket="archive")
    assert [(name, decision) for name, _, decision, _ in decisions(engine)] == [
        (stored.name, "IGNORED"),
        ("somebody's.json", "TAKEN"),
    ]
