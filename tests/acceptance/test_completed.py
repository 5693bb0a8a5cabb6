"""An outside system says through the door that a task is done: the dual role of a task message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.service_room import ServiceRoom
from tests.acceptance.test_door import START, applied

OUTSIDE = """
workflow: chain
batch: "{period}"
tasks:
  model:
    kind: external
    timeout: 2h
  report:
    kind: bigquery_query
    needs: [model]
    sql: SELECT 1
"""


@pytest.fixture
def service_with_model(service: ServiceRoom, tmp_path: Path) -> ServiceRoom:
    return applied(service, tmp_path, OUTSIDE)


def completed(room: ServiceRoom, **more: Any) -> int:
    task_id = room.task_id("model")
    message = {"trigger_type": "task", "task_id": task_id, "previous_task_id": task_id, "batch_id": "2024-03"}
    return room.push({**message, "status": "SUCCESS", **more})


def rejected(room: ServiceRoom) -> list[str]:
    return [reason for (reason,) in room.rows("SELECT reason FROM rejected_message ORDER BY rejected_id")]


def test_another_service_says_that_its_work_is_done_and_the_next_task_starts(service_with_model: ServiceRoom) -> None:
    room = service_with_model
    room.push(START)
    room.deliver()
    assert room.statuses() == {"model": "PROCESSING", "report": "WAITING"}
    assert completed(room, result={"rows": 3}) == 204
    assert room.statuses() == {"model": "SUCCESS", "report": "NEW"}
    assert room.published(2)[1]["task_id"] == room.task_id("report")
    assert completed(room, result={"rows": 3}) == 204, "repeated, it is acked"
    assert rejected(room) == []
    assert room.rows("SELECT details FROM task_log WHERE task_id = :t", t=room.task_id("model")) == [
        ({"result": {"rows": 3}},)
    ]


def test_the_status_that_another_service_sends_is_honoured(service_with_model: ServiceRoom) -> None:
    room = service_with_model
    room.push(START)
    room.deliver()
    assert completed(room, status="ERROR", error="the model is broken") == 204
    assert room.statuses() == {"model": "ERROR", "report": "SKIPPED"}
    assert room.rows("SELECT error FROM task_log") == [("the model is broken",)]


def test_a_task_is_completed_by_its_name_as_by_its_id(service_with_model: ServiceRoom) -> None:
    room = service_with_model
    room.push(START)
    room.deliver()
    named = {"trigger_type": "task", "workflow": "chain", "task_name": "model", "batch_id": "2024-03"}
    assert room.push({**named, "status": "SUCCESS"}) == 204
    assert room.statuses()["model"] == "SUCCESS"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"batch_id": "2024-04"}, "there is no batch '2024-04'"),
        ({"attempt": 7}, "there is no attempt 7 of task model"),
        ({"status": "DONE"}, "status must be SUCCESS or ERROR"),
        ({"previous_task_id": 0}, "previous_task_id (0) must equal task_id"),
        ({"element": 1}, "there is no element 1 of task 1"),
    ],
)
def test_a_completion_that_cannot_be_true_is_kept_and_changes_nothing(
    service_with_model: ServiceRoom, message: dict[str, Any], reason: str
) -> None:
    room = service_with_model
    room.push(START)
    room.deliver()
    assert completed(room, **message) == 204
    assert room.statuses() == {"model": "PROCESSING", "report": "WAITING"}
    [kept] = rejected(room)
    assert kept.startswith(reason)


def test_a_completion_that_was_rejected_for_coming_too_early_is_replayed(service_with_model: ServiceRoom) -> None:
    room = service_with_model
    assert completed(room) == 204
    assert rejected(room) == ["there is no batch '2024-03' with a task 1"]
    room.push(START)
    room.deliver()
    room.command("rejected", "replay", "1")
    assert room.statuses()["model"] == "SUCCESS"
    assert room.rows("SELECT replayed_at IS NOT NULL FROM rejected_message") == [(True,)]
