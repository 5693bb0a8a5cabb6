"""Every change is made to one generation, and refused on another."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from run.clients import storage
from run.clients.storage import Changed, Storage
from run.errors import PassingFailure, PermanentFailure
from tests.integration.kinds.room import Room


def test_a_copy_never_lands_on_something_newer_than_what_was_seen(room: Room) -> None:
    place = room.put("landing", f"{room.name}/a", b"1")
    room.put("archive", f"{room.name}/a", b"somebody's")
    original = room.clients.storage.find(place.bucket, place.name)
    assert original is not None
    with pytest.raises(Changed):
        room.clients.storage.copy(original, "archive", place.name, {}, 0)


def test_a_copy_is_of_the_generation_that_was_asked_for(room: Room) -> None:
    place = room.put("landing", f"{room.name}/a", b"1")
    original = room.clients.storage.find(place.bucket, place.name)
    assert original is not None
    room.put("landing", place.name, b"2")
    with pytest.raises(Changed):
        room.clients.storage.copy(original, "archive", place.name, {}, 0)


def test_only_the_generation_that_was_asked_for_is_deleted(room: Room) -> None:
    older = room.put("landing", f"{room.name}/a", b"1")
    newer = room.put("landing", older.name, b"2")
    assert not room.clients.storage.delete("landing", older.name, older.generation)
    assert room.clients.storage.delete("landing", newer.name, newer.generation)
    assert not room.clients.storage.delete("landing", newer.name, newer.generation)


def test_a_missing_object_is_none(room: Room) -> None:
    assert room.clients.storage.find("landing", f"{room.name}/nothing") is None


def test_a_listing_comes_in_pages(room: Room) -> None:
    for number in range(5):
        room.put("landing", f"{room.name}/{number}", b"x")
    room.put("landing", f"{room.name}-else", b"x")
    names: list[str] = []
    token: str | None = None
    sizes = []
    while token is not None or not names:
        objects, token = room.clients.storage.list_page("landing", f"{room.name}/", token, size=2)
        names += [one.name.removeprefix(f"{room.name}/") for one in objects]
        sizes.append(len(objects))
    assert names == ["0", "1", "2", "3", "4"]
    assert sizes == [2, 2, 1]


def test_a_listing_says_what_a_notification_would_say(room: Room) -> None:
    place = room.put("landing", f"{room.name}/a", b"four")
    (found,), token = room.clients.storage.list_page("landing", f"{room.name}/")
    assert (found.uri, found.generation, found.size, found.metadata) == (place.uri, place.generation, 4, {})
    assert found.created is not None
    assert abs((datetime.now(UTC) - found.created).total_seconds()) < 60
    assert token is None


def test_a_listing_begins_where_it_is_asked_to(room: Room) -> None:
    for number in range(5):
        room.put("landing", f"{room.name}/{number}", b"x")
    start = f"{room.name}/2"
    first, token = room.clients.storage.list_page("landing", f"{room.name}/", start=start, size=2)
    second, _ = room.clients.storage.list_page("landing", f"{room.name}/", token, start=start, size=2)
    assert [one.name[-1] for one in (*first, *second)] == ["2", "3", "4"]


def test_a_server_that_does_not_answer_is_a_passing_failure_soon() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PassingFailure, match="no answer"):
            Storage("p", nobody, call_seconds=0.2, retry_seconds=0.5).find("landing", "a")


def test_an_object_is_read_in_pieces_and_only_of_its_generation(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PIECE", 1000)
    content = bytes(range(256)) * 20
    place = room.put("landing", f"{room.name}/a", content)
    found = room.clients.storage.find(place.bucket, place.name)
    assert found is not None
    pieces = list(room.clients.storage.read(found))
    assert b"".join(pieces) == content
    assert len(pieces) == 6
    room.put("landing", place.name, b"newer")
    with pytest.raises(Changed):
        list(room.clients.storage.read(found))


def test_an_empty_object_is_read_as_nothing(room: Room) -> None:
    place = room.put("landing", f"{room.name}/a", b"")
    found = room.clients.storage.find(place.bucket, place.name)
    assert found is not None
    assert list(room.clients.storage.read(found)) == []


def test_what_is_read_is_what_is_stored(room: Room) -> None:
    place = room.put("landing", f"{room.name}/a", b"content")
    found = room.clients.storage.find(place.bucket, place.name)
    assert found is not None
    assert found.crc32c is not None
    with pytest.raises(PassingFailure, match="crc32c"):
        list(room.clients.storage.read(replace(found, crc32c="AAAAAA==")))


def test_a_file_is_written_only_onto_what_was_there(room: Room, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"ours")
    name = f"{room.name}/a"
    write = room.clients.storage.write
    first = write(tmp_path / "file", "landing", name, "text/csv", {"by": "us"}, 0)
    assert room.clients.storage.find("landing", name) == first
    assert (first.size, first.metadata) == (4, {"by": "us"})
    with pytest.raises(Changed):
        write(tmp_path / "file", "landing", name, "text/csv", {}, 0)
    assert write(tmp_path / "file", "landing", name, "text/csv", {}, first.generation).generation != first.generation
    with pytest.raises(PermanentFailure, match="there is no bucket gs://nowhere"):
        write(tmp_path / "file", "nowhere", name, "text/csv", {}, 0)
