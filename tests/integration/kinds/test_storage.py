"""Every change is made to one generation, and refused on another."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest

from run.clients.storage import Changed, Storage
from run.errors import PassingFailure
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
