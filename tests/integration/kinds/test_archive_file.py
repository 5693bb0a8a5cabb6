"""Files move once, whatever happens between the copy and the deletion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from run.errors import PermanentFailure, Unavailable
from run.kinds.archive_file import ARCHIVE_MARKER, SOURCE_GENERATION, is_archived
from run.kinds.kind import Finished, ObjectVersion
from tests.integration.kinds.room import Room

TO = {"files_of": "load", "to": "gs://archive/{workflow}/{batch_id}/{file_name}"}


def archive(room: Room, config: object = None, attempt: int = 1) -> Finished:
    return room.start(
        "archive_file", dict(TO, **(config if isinstance(config, dict) else {})), room.work("archive", attempt=attempt)
    )


def bring_back(room: Room, place: ObjectVersion, content: bytes) -> ObjectVersion:
    """The object as it was before the deletion: a crash in between leaves both."""
    return room.put(place.bucket, place.name, content)


def test_a_file_moves_and_its_new_place_is_told(room: Room) -> None:
    file = room.land("load", "a.csv", b"id\n1\n")
    (moved,) = archive(room).moved
    assert moved.file_log_id == file.file_log_id
    assert moved.place.uri == f"gs://archive/{room.name[:40]}/2024-03/a.csv"
    assert room.read(moved.place) == b"id\n1\n"
    assert room.clients.storage.find(file.place.bucket, file.place.name) is None


def test_the_copy_says_where_it_comes_from(room: Room) -> None:
    file = room.land("load", "a.csv", b"id\n1\n")
    (moved,) = archive(room).moved
    kept = room.clients.storage.find(moved.place.bucket, moved.place.name)
    assert kept is not None
    assert is_archived(kept.uri, kept.metadata)
    assert kept.metadata[SOURCE_GENERATION] == str(file.place.generation)
    assert not is_archived("gs://landing/copied-back.csv", kept.metadata)
    assert ARCHIVE_MARKER in kept.metadata


def test_archiving_again_is_a_success_that_moves_nothing(room: Room) -> None:
    room.land("load", "a.csv", b"id\n1\n")
    first = archive(room)
    assert archive(room, attempt=2).moved == first.moved


def test_a_file_that_lies_in_its_new_place_already_is_left_there(room: Room) -> None:
    file = room.land("load", "a.csv", b"id\n1\n")
    room.files["load"] = replace(file, place=archive(room).moved[0].place)
    assert archive(room, attempt=2).moved == ()


def test_a_crash_between_copy_and_deletion_is_mended(room: Room) -> None:
    file = room.land("load", "a.csv", b"id\n1\n")
    original = room.clients.storage.find(file.place.bucket, file.place.name)
    assert original is not None
    place = f"{room.name[:40]}/2024-03/a.csv"
    marks = {
        ARCHIVE_MARKER: f"gs://archive/{place}",
        "cloud-accelerator-source": file.place.uri,
        SOURCE_GENERATION: str(file.place.generation),
    }
    copied = room.clients.storage.copy(original, "archive", place, marks, 0)
    (moved,) = archive(room).moved
    assert moved.place.generation == copied.generation
    assert room.clients.storage.find(file.place.bucket, file.place.name) is None


def test_the_archived_older_generation_is_replaced(room: Room) -> None:
    room.land("load", "a.csv", b"old")
    old = archive(room).moved[0].place
    room.land("load", "a.csv", b"new")
    new = archive(room, attempt=2).moved[0].place
    assert new.uri == old.uri
    assert room.read(new) == b"new"


def test_an_older_generation_never_replaces_a_newer_one(room: Room) -> None:
    older = room.land("load", "a.csv", b"old")
    room.land("load", "a.csv", b"new")
    archive(room)
    room.files["load"] = older
    with pytest.raises(PermanentFailure, match="newer than"):
        archive(room, attempt=2)


def test_a_place_that_is_taken_by_something_else_is_named(room: Room) -> None:
    file = room.land("load", "a.csv", b"id\n1\n")
    room.put("archive", f"{room.name[:40]}/2024-03/a.csv", b"somebody's")
    with pytest.raises(PermanentFailure, match="is taken by something that no task archived"):
        archive(room)
    assert room.read(file.place) == b"id\n1\n"


def test_a_file_that_is_gone_without_a_copy_is_a_failure(room: Room) -> None:
    file = room.land("load", "a.csv", b"id\n1\n")
    room.clients.storage.delete(file.place.bucket, file.place.name, file.place.generation)
    with pytest.raises(PermanentFailure, match="nothing can be archived"):
        archive(room)


def test_a_newer_generation_of_the_source_is_not_deleted(room: Room) -> None:
    file = room.land("load", "a.csv", b"old")
    archive(room)
    newer = bring_back(room, file.place, b"newer")
    assert len(archive(room, attempt=2).moved) == 1
    assert room.read(newer) == b"newer"


def test_a_source_that_changed_before_the_copy_is_not_archived(room: Room) -> None:
    file = room.land("load", "a.csv", b"old")
    newer = room.put("landing", file.place.name, b"newer")
    with pytest.raises(PermanentFailure, match=str(newer.generation)):
        archive(room)
    assert room.read(newer) == b"newer"


def test_two_files_never_get_the_same_place(room: Room) -> None:
    room.land("load", "one/a.csv", b"1")
    second = room.land("other", "two/a.csv", b"2")
    with pytest.raises(PermanentFailure, match="would both become"):
        archive(room, {"files_of": ["load", "other"]})
    assert room.read(second.place) == b"2"


def test_a_file_can_move_inside_its_bucket(room: Room) -> None:
    room.land("load", "a.b.csv", b"1")
    to = "gs://{landing_bucket}/done/{dataset}/{file_stem}-{generation}"
    (moved,) = archive(room, {"to": to}).moved
    assert moved.place.name == f"done/{room.name}/a-{room.files['load'].landed.generation}"
    assert room.read(moved.place) == b"1"


def test_files_of_one_name_go_to_different_places_by_default(room: Room) -> None:
    room.land("load", "sales/2024-03.csv", b"1")
    room.land("other", "expenses/2024-03.csv", b"2")
    moved = room.start("archive_file", {"files_of": ["load", "other"]}, room.work("archive")).moved
    assert [room.read(one.place) for one in moved] == [b"1", b"2"]
    assert moved[1].place.name.endswith("/2024-03/other/2024-03.csv")


def test_an_object_that_two_tasks_took_moves_once_and_both_are_told(room: Room) -> None:
    file = room.land("load", "a.csv", b"1")
    room.files["other"] = replace(file, file_log_id=2)
    for config in ({"files_of": ["load", "other"]}, {"files_of": ["load", "other"]}):
        moved = archive(room, config).moved
        assert [one.file_log_id for one in moved] == [1, 2]
        assert moved[0].place == moved[1].place
    assert room.read(moved[0].place) == b"1"


def test_a_file_that_is_still_being_read_stays(room: Room) -> None:
    file = room.land("load", "a.csv", b"1")
    room.files["load"] = replace(file, read_by=("copies.load 2024-03",))
    with pytest.raises(Unavailable, match=r"is still being read by copies\.load 2024-03"):
        archive(room)
    assert room.read(file.place) == b"1"


def test_a_missing_archive_bucket_is_named(room: Room) -> None:
    file = room.land("load", "a.csv", b"1")
    with pytest.raises(PermanentFailure, match="there is no bucket gs://no-such-bucket"):
        archive(room, {"to": "gs://no-such-bucket/{file_name}"})
    assert room.read(file.place) == b"1"


@pytest.mark.parametrize("to", ["s3://x/y", "gs://archive", "gs://archive/a//b", "gs://archive/a*", "gs://archive/a/"])
def test_a_place_that_is_none_is_refused(room: Room, to: str) -> None:
    room.land("load", "a.csv", b"1")
    with pytest.raises(PermanentFailure, match="no place for a file"):
        archive(room, {"to": to})


def test_metadata_and_content_type_survive(room: Room) -> None:
    blob = room.storage.bucket("landing").blob(f"{room.name}/a.csv")
    blob.metadata = {"sender": "shop 7"}
    blob.upload_from_string(b"1", content_type="text/csv", timeout=10)
    place = ObjectVersion("landing", blob.name, int(blob.generation))
    file = room.land("load", "other.csv", b"x")
    room.files["load"] = replace(file, landed=place, place=place)
    (moved,) = archive(room).moved
    kept = room.storage.bucket("archive").get_blob(moved.place.name)
    assert kept.metadata["sender"] == "shop 7"
    assert kept.content_type == "text/csv"
