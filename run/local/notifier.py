"""Announces what happens in a bucket as Cloud Storage does, by looking at its listing a few times a second.

The format is that of https://cloud.google.com/storage/docs/pubsub-notifications. What happens between two looks is
seen as one change: an object that is made and deleted within that time, or overwritten twice, is announced as it is
found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import requests

from run.errors import Unavailable
from run.local.topics import Topic

REQUEST_SECONDS = 10
#: Fields of an object resource that JSON carries as text, being 64 bits wide.
WIDE_FIELDS = ("generation", "metageneration", "size")

Resource = dict[str, Any]


class EventType(StrEnum):
    """What can happen to an object, of the events that this notifier sees."""

    FINALIZE = "OBJECT_FINALIZE"
    DELETE = "OBJECT_DELETE"


@dataclass(frozen=True)
class Event:
    """One thing that happened to one generation of an object; `extra` are the attributes of an overwriting."""

    event_type: EventType
    resource: Resource
    time: str
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def attributes(self) -> dict[str, str]:
        bucket = self.resource["bucket"]
        return {
            "notificationConfig": f"projects/_/buckets/{bucket}/notificationConfigs/1",
            "eventType": self.event_type,
            "payloadFormat": "JSON_API_V1",
            "bucketId": bucket,
            "objectId": self.resource["name"],
            "objectGeneration": str(self.resource["generation"]),
            "eventTime": self.time,
            **self.extra,
        }

    @property
    def payload(self) -> bytes:
        wide = {name: str(self.resource[name]) for name in WIDE_FIELDS if name in self.resource}
        gone = {"timeDeleted": self.time} if self.event_type is EventType.DELETE else {}
        return json.dumps({**self.resource, **wide, **gone}).encode()


class Notifier:
    """Publishes to `topic` what is new in a bucket since the last look; `memory` is the file that remembers it.

    What it published is remembered after it was accepted, so that a notifier that is killed announces at least once.
    """

    def __init__(self, storage_url: str, bucket: str, topic: Topic, *, memory: Path) -> None:
        self._listing_url = f"{storage_url}/storage/v1/b/{bucket}/o"
        self._topic = topic
        self._memory = memory
        self._known: dict[str, Resource] = _read(memory)

    def look(self) -> None:
        """Announce every change since the last look; raises Unavailable, and goes on from there the next time."""
        now = self._listing()
        changed = [name for name in {**self._known, **now} if _generation(now, name) != _generation(self._known, name)]
        try:
            for name in changed:
                self._announce(self._known.get(name), now.get(name))
        finally:
            if changed:
                _write(self._memory, self._known)

    def _announce(self, before: Resource | None, after: Resource | None) -> None:
        for event in events_of(before, after):
            self._topic.publish(event.payload, event.attributes)
        if after is not None:
            self._known[after["name"]] = after
        elif before is not None:
            del self._known[before["name"]]

    def _listing(self) -> dict[str, Resource]:
        with requests.Session() as session:
            session.trust_env = False
            try:
                response = session.get(self._listing_url, timeout=REQUEST_SECONDS)
                response.raise_for_status()
            except requests.RequestException as error:
                raise Unavailable(f"the storage server did not list {self._listing_url}: {error}") from error
        return {resource["name"]: resource for resource in response.json().get("items", [])}


def events_of(before: Resource | None, after: Resource | None) -> Iterator[Event]:
    """Yield what Cloud Storage announces when an object goes from `before` to `after`; None is no object.

    An overwriting is two events, one for each generation.
    """
    if after is not None:
        replaced = {"overwroteGeneration": str(before["generation"])} if before else {}
        yield Event(EventType.FINALIZE, after, after["timeCreated"], replaced)
    if before is not None:
        replacing = {"overwrittenByGeneration": str(after["generation"])} if after else {}
        time = after["timeCreated"] if after else datetime.now(UTC).isoformat().replace("+00:00", "Z")
        yield Event(EventType.DELETE, before, time, replacing)


def _generation(objects: Mapping[str, Resource], name: str) -> str | None:
    return str(objects[name]["generation"]) if name in objects else None


def _read(memory: Path) -> dict[str, Resource]:
    known: dict[str, Resource] = json.loads(memory.read_text()) if memory.exists() else {}
    return known


def _write(memory: Path, known: Mapping[str, Resource]) -> None:
    # Renaming is atomic, so that a kill in the middle leaves the old memory and not half of the new one.
    fresh = memory.with_suffix(".new")
    fresh.write_text(json.dumps(known))
    fresh.replace(memory)
