"""SIGTERM: what can end in time ends, and what cannot is handed back before Cloud Run's SIGKILL would come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from database.sessions import Database
from database.workflows import NewTask, NewVersion, store_version
from run.handlers.sweep import THREADS
from run.local.ports import ReservedPort
from run.local.service import Service
from run.pubsub.messages import execute_message, sweep_message
from run.serving import HAND_BACK_AFTER_SECONDS
from run.workflows.definition import TriggerRule
from tests.engine_room import EngineRoom
from tests.local_parts import eventually

APPLICATION = "tests.integration.slow_app:app"
CLOUD_RUN_KILLS_AFTER_SECONDS = 10


@pytest.fixture
def room(database: Database) -> EngineRoom:
    """A batch with a task that takes a minute and one that takes three seconds."""
    room = EngineRoom(database)
    tasks = [_slow(name, seconds) for name, seconds in (("minute", 60.0), ("moment", 3.0))]
    new = NewVersion("slow", "{period}", {}, {}, "slow", tasks)
    database.transact(lambda tx: store_version(tx, new))
    room.start(workflow="slow")
    return room


@pytest.fixture
def first(database_url: str, tmp_path: Path) -> Iterator[Service]:
    with _service(database_url, tmp_path / "first") as service:
        yield service


def _slow(name: str, seconds: float, **more: Any) -> NewTask:
    return NewTask(
        name=name,
        kind="slow",
        needs=(),
        rule=TriggerRule.all_success,
        allow_failure=False,
        disabled=False,
        success_may_skip=False,
        lease_seconds=60,
        file=None,
        config={"seconds": seconds, **more},
    )


def _service(database_url: str, logs: Path, **more: str) -> Service:
    port = ReservedPort()
    environment = {
        "DATABASE_URL": database_url,
        "GOOGLE_CLOUD_PROJECT": "local",
        "LANDING_BUCKET": "landing",
        "BIGQUERY_LOCATION": "EU",
        "LOOPBACK_URL": f"http://127.0.0.1:{port.number}/",
        **more,
    }
    return Service(logs, environment, port=port, application=APPLICATION)


def _push(service: Service, message: Mapping[str, Any], answers: list[int | str]) -> threading.Thread:
    def post() -> None:
        try:
            answers.append(requests.post(service.url, json=message, timeout=90).status_code)
        except requests.ConnectionError as error:
            answers.append(type(error).__name__)

    thread = threading.Thread(target=post)
    thread.start()
    return thread


def test_what_sigterm_leaves_no_time_for_is_handed_back_and_ends_elsewhere_as_the_same_attempt(
    room: EngineRoom, first: Service, database_url: str, tmp_path: Path
) -> None:
    minute, moment = room.key("minute", workflow="slow"), room.key("moment", workflow="slow")
    messages = {key: execute_message(key.task_id, key.batch_id) for key in (minute, moment)}
    answers: dict[str, list[int | str]] = {"minute": [], "moment": []}
    posting = [_push(first, messages[minute], answers["minute"]), _push(first, messages[moment], answers["moment"])]
    under_way = {"minute": "PROCESSING", "moment": "PROCESSING"}
    eventually(lambda: room.statuses(workflow="slow") == under_way, "both attempts")

    started = time.monotonic()
    first.stop()
    assert time.monotonic() - started < CLOUD_RUN_KILLS_AFTER_SECONDS
    for thread in posting:
        thread.join(10)
    assert answers["moment"] == [204]
    assert answers["minute"] == ["ConnectionError"], "a message that was not lived to its end is not acked"
    assert room.statuses(workflow="slow") == {"minute": "PROCESSING", "moment": "SUCCESS"}
    state = "SELECT token, lease_until, due_at <= clock_timestamp(), attempt, takeovers FROM batch_task "
    assert room.rows(f"{state} WHERE task_id = :t", t=minute.task_id) == [(None, None, True, 1, 0)]

    with _service(database_url, tmp_path / "second", IN_A_HURRY="1") as second:
        assert requests.post(second.url, json=messages[minute], timeout=30).ok
    assert room.log("minute") == [(1, "SUCCESS", None)]
    assert room.rows("SELECT takeovers FROM batch_task") == [(0,), (0,)]
    assert room.batch_status() == "SUCCESS"


def test_a_sweep_begins_nothing_more_after_sigterm_and_leaves_the_rest_to_the_next(
    database: Database, first: Service
) -> None:
    room, jobs = EngineRoom(database), 10 * THREADS
    tasks = [_slow(f"job{number}", 0.5, is_job=True) for number in range(jobs)]
    database.transact(lambda tx: store_version(tx, NewVersion("slow", "{period}", {}, {}, "slow", tasks)))
    room.start(workflow="slow")
    for message in room.publisher.messages:
        assert requests.post(first.url, json=message, timeout=10).ok
    room.pass_time(60)
    answers: list[int | str] = []
    sweeping = _push(first, sweep_message(), answers)
    eventually(lambda: room.rows("SELECT FROM batch_task WHERE token IS NOT NULL"), "the first question")
    first.stop()
    sweeping.join(10)
    assert answers == [204]
    [(ended, still_due)] = room.rows(
        "SELECT count(*) FILTER (WHERE status = 'SUCCESS'), count(*) FILTER (WHERE token IS NULL AND handle IS NOT NULL"
        " AND polls = 1 AND due_at < clock_timestamp()) FROM batch_task"
    )
    assert ended + still_due == jobs
    assert ended <= 2 * THREADS


def test_a_service_that_works_on_nothing_ends_at_once(first: Service) -> None:
    assert requests.get(f"{first.url}/health", timeout=10).ok
    started = time.monotonic()
    first.stop()
    assert time.monotonic() - started < HAND_BACK_AFTER_SECONDS, "nothing is waited for"
