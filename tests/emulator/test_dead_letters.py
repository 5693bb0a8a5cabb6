"""A message that the service cannot take is set aside by Pub/Sub, lands in the inbox, and is replayed from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local_parts import eventually, require_pubsub_emulator
from tests.stack_room import StackRoom, running_stack

pytestmark = pytest.mark.timeout(240)

#: The fewest that Pub/Sub allows.
ATTEMPTS = 5

WORKFLOW = """
workflow: notes
batch: "{name}"
tasks:
  load: {kind: load_file, file: 'gs://{landing_bucket}/notes/(?P<name>.*)', table: lake.notes}
"""


@pytest.fixture(scope="module")
def room() -> Iterator[StackRoom]:
    require_pubsub_emulator()
    with running_stack("emulator", delivery_attempts=ATTEMPTS) as room:
        yield room


def rejected(room: StackRoom) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(room.command("rejected", "list", "--json"))
    return rows


def test_a_message_that_is_refused_again_and_again_is_in_the_inbox_and_its_replay_has_its_effect(
    room: StackRoom, tmp_path: Path
) -> None:
    path = tmp_path / "notes.yaml"
    path.write_text(WORKFLOW)
    room.command("workflow", "apply", path)
    # What only a newer revision of the service understands: this one waits for it, and acks no file meanwhile.
    change = "UPDATE task_version SET file = {} WHERE file IS NOT NULL"
    newer = change.format('file || \'{"on_new_generation": "ask"}\'')
    room.database.transact(lambda tx: tx.exec_driver_sql(newer))
    room.land("notes/monday", b"a,b\n1,2\n")
    eventually(lambda: room.rows("SELECT FROM rejected_message"), "the message in the inbox", seconds=60)
    (kept,) = rejected(room)
    assert kept["reason"] == f"subscription cloud-accelerator-push gave up after {ATTEMPTS} deliveries"
    assert room.rows("SELECT count(*) FROM task_batch") == [(0,)]
    refused = room.stack.service.log.read_text().count("this revision cannot read the file triggers of notes.load")
    assert refused == ATTEMPTS

    room.database.transact(lambda tx: tx.exec_driver_sql(change.format("file - 'on_new_generation'")))
    room.command("rejected", "replay", str(kept["rejected_id"]))
    assert room.rows("SELECT batch_id FROM task_batch") == [("monday",)]
    assert room.rows("SELECT decision, object FROM file_log") == [("TAKEN", "notes/monday")]
    assert rejected(room) == []
