from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from run.errors import Unavailable
from run.local.notifier import Notifier
from run.local.storage_server import StorageServer


class KeptTopic:
    """A topic that keeps what it takes, and refuses everything while it is closed."""

    def __init__(self) -> None:
        self.attributes: list[dict[str, str]] = []
        self.payloads: list[dict[str, Any]] = []
        self.is_closed = False

    def publish(self, data: bytes, attributes: Mapping[str, str]) -> None:
        if self.is_closed:
            raise Unavailable("the topic is closed")
        self.attributes.append(dict(attributes))
        self.payloads.append(json.loads(data))

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(each["eventType"], each["objectId"]) for each in self.attributes]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageServer]:
    folder = tmp_path_factory.mktemp("storage")
    with StorageServer(folder, folder / "logs") as running:
        yield running


@pytest.fixture
def bucket(server: StorageServer) -> str:
    listing = requests.get(f"{server.url}/storage/v1/b/landing/o", timeout=5).json()
    for each in listing["items"]:
        requests.delete(f"{server.url}/storage/v1/b/landing/o/{each['name']}", timeout=5)
    return "landing"


def upload(server: StorageServer, name: str, content: bytes = b"1") -> str:
    url = f"{server.url}/upload/storage/v1/b/landing/o"
    answer = requests.post(url, params={"uploadType": "media", "name": name}, data=content, timeout=5)
    return str(answer.json()["generation"])


def delete(server: StorageServer, name: str) -> None:
    requests.delete(f"{server.url}/storage/v1/b/landing/o/{name}", timeout=5).raise_for_status()


def test_what_happens_to_an_object_is_announced_as_google_does(
    server: StorageServer, bucket: str, tmp_path: Path
) -> None:
    topic = KeptTopic()
    notifier = Notifier(server.url, bucket, topic, memory=tmp_path / "memory")
    first = upload(server, "sales.csv")
    notifier.look()
    second = upload(server, "sales.csv", b"22")
    notifier.look()
    delete(server, "sales.csv")
    notifier.look()

    created, overwrote, overwritten, deleted = topic.attributes
    assert created == {
        "notificationConfig": "projects/_/buckets/landing/notificationConfigs/1",
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": "landing",
        "objectId": "sales.csv",
        "objectGeneration": first,
        "eventTime": topic.payloads[0]["timeCreated"],
    }
    assert overwrote["eventType"] == "OBJECT_FINALIZE"
    assert (overwrote["objectGeneration"], overwrote["overwroteGeneration"]) == (second, first)
    assert overwritten["eventType"] == "OBJECT_DELETE"
    assert (overwritten["objectGeneration"], overwritten["overwrittenByGeneration"]) == (first, second)
    assert (deleted["eventType"], deleted["objectGeneration"]) == ("OBJECT_DELETE", second)
    assert "overwrittenByGeneration" not in deleted


def test_the_payload_is_the_object_with_wide_integers_as_text(
    server: StorageServer, bucket: str, tmp_path: Path
) -> None:
    topic = KeptTopic()
    notifier = Notifier(server.url, bucket, topic, memory=tmp_path / "memory")
    generation = upload(server, "sales.csv", b"22")
    notifier.look()
    delete(server, "sales.csv")
    notifier.look()
    payload, gone = topic.payloads
    assert (payload["bucket"], payload["name"]) == ("landing", "sales.csv")
    assert (payload["generation"], payload["metageneration"], payload["size"]) == (generation, "1", "2")
    assert "timeDeleted" not in payload
    assert gone["timeDeleted"] == topic.attributes[1]["eventTime"]


def test_a_new_notifier_announces_what_was_there_before_and_the_next_one_only_what_is_new(
    server: StorageServer, bucket: str, tmp_path: Path
) -> None:
    upload(server, "before.csv")
    topic = KeptTopic()
    Notifier(server.url, bucket, topic, memory=tmp_path / "memory").look()
    assert topic.events == [("OBJECT_FINALIZE", "before.csv")]
    upload(server, "meanwhile.csv")
    Notifier(server.url, bucket, topic, memory=tmp_path / "memory").look()
    assert topic.events == [("OBJECT_FINALIZE", "before.csv"), ("OBJECT_FINALIZE", "meanwhile.csv")]


def test_what_the_topic_refused_is_announced_later(server: StorageServer, bucket: str, tmp_path: Path) -> None:
    topic = KeptTopic()
    notifier = Notifier(server.url, bucket, topic, memory=tmp_path / "memory")
    upload(server, "sales.csv")
    topic.is_closed = True
    with pytest.raises(Unavailable):
        notifier.look()
    topic.is_closed = False
    notifier.look()
    notifier.look()
    assert topic.events == [("OBJECT_FINALIZE", "sales.csv")]
