"""Messages come in through `POST /`, and nothing else moves a batch."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from run.app import create_app
from run.settings import Settings
from tests.acceptance.service_room import ServiceRoom

PROFIT = r"""
workflow: monthly_profit
batch: "{period}"
tasks:
  load_sales:
    kind: load_file
    file: 'gs://{landing_bucket}/sales/(?P<period>\d{4}-\d{2})\.csv'
    table: finance.monthly_sales
  load_expenses:
    kind: load_file
    file: 'gs://{landing_bucket}/expenses/(?P<period>\d{4}-\d{2})\.csv'
    table: finance.monthly_expenses
  profit: {kind: bigquery_query, sql: SELECT 1, needs: [load_sales, load_expenses]}
"""

CHAIN = """
workflow: chain
batch: "{period}"
tasks:
  first: {kind: bigquery_query, sql: SELECT 1}
  second: {kind: bigquery_query, sql: SELECT 2, needs: [first]}
"""

START = {"trigger_type": "workflow", "workflow": "chain", "batch_id": "2024-03"}


@pytest.fixture
def chain(service: ServiceRoom, tmp_path: Path) -> ServiceRoom:
    """A service with a chain of two tasks."""
    return applied(service, tmp_path, CHAIN)


def applied(service: ServiceRoom, folder: Path, text: str) -> ServiceRoom:
    path = folder / "workflow.yaml"
    path.write_text(text)
    service.apply(str(path))
    return service


def announcement(name: str, event: str = "OBJECT_FINALIZE") -> dict[str, str]:
    return {"eventType": event, "bucketId": "landing", "objectId": name, "objectGeneration": "7"}


def test_a_file_that_lands_opens_its_batch_and_starts_the_task_that_wants_it(
    service: ServiceRoom, tmp_path: Path
) -> None:
    applied(service, tmp_path, PROFIT)
    resource = {"bucket": "landing", "name": "sales/2024-03.csv", "size": "7"}
    assert service.push(resource, announcement("sales/2024-03.csv")) == 204
    assert service.published(1) == [
        {"trigger_type": "task", "task_id": service.task_id("load_sales"), "batch_id": "2024-03"}
    ]
    assert service.rows("SELECT batch_id, status FROM task_batch") == [("2024-03", "PROCESSING")]
    assert service.statuses() == {"load_sales": "NEW", "load_expenses": "WAITING", "profit": "WAITING"}


@pytest.mark.parametrize(
    ("name", "event", "decision"),
    [
        ("sales/2024-03.csv", "OBJECT_DELETE", "IGNORED"),
        ("sales/", "OBJECT_FINALIZE", "IGNORED"),
        ("sales/2024-03.txt", "OBJECT_FINALIZE", "UNWANTED"),
        ("costs/2024-03.csv", "OBJECT_FINALIZE", "UNWANTED"),
    ],
)
def test_a_file_event_is_judged_before_anything_starts(
    service: ServiceRoom, tmp_path: Path, name: str, event: str, decision: str
) -> None:
    applied(service, tmp_path, PROFIT)
    assert service.push({"size": "7"}, announcement(name, event)) == 204
    [(decided, has_reason)] = service.rows("SELECT decision, reason <> '' FROM file_log")
    assert (decided, has_reason) == (decision, True)
    assert service.rows("SELECT count(*) FROM task_batch") == [(0,)]


def test_only_a_push_moves_a_batch(chain: ServiceRoom) -> None:
    chain.push(START)
    overdue = "UPDATE batch_task SET publish_after = publish_after - interval '1 hour' WHERE status = 'NEW'"
    chain.database.transact(lambda tx: tx.exec_driver_sql(overdue))
    before = chain.rows("SELECT * FROM batch_task ORDER BY position")
    # Long enough for anything inside the service that would look for work by itself.
    time.sleep(0.5)
    assert chain.rows("SELECT * FROM batch_task ORDER BY position") == before
    assert len(chain.topic.bodies) == 1
    chain.push({"trigger_type": "sweep"})
    assert len(chain.published(2)) == 2
    chain.deliver()
    assert chain.statuses() == {"first": "SUCCESS", "second": "NEW"}


def test_a_child_is_started_by_a_request_of_its_own_with_a_new_message_id(chain: ServiceRoom) -> None:
    chain.push(START)
    chain.deliver()
    first, second = chain.envelopes(2)
    assert chain.statuses() == {"first": "SUCCESS", "second": "NEW"}, "the child must not run in its parent's request"
    assert first["messageId"] != second["messageId"]
    chain.deliver()
    assert chain.statuses() == {"first": "SUCCESS", "second": "SUCCESS"}
    started = {line["task"]: line["message_id"] for line in chain.lines() if "started attempt" in line["message"]}
    assert started == {"first": first["messageId"], "second": second["messageId"]}


def test_the_message_that_starts_a_task_is_this_json_in_this_envelope(chain: ServiceRoom) -> None:
    chain.push(START)
    [body] = chain.topic.wait_for(1)
    envelope = json.loads(body)
    assert envelope["subscription"]
    data = base64.b64decode(envelope["message"]["data"], validate=True)
    expected = {"trigger_type": "task", "task_id": chain.task_id("first"), "batch_id": "2024-03"}
    assert data == json.dumps(expected).encode()


def test_a_task_is_started_by_its_name_as_by_its_id(chain: ServiceRoom) -> None:
    chain.push(START)
    by_name = {"trigger_type": "task", "workflow": "chain", "task_name": "first", "batch_id": "2024-03"}
    assert chain.push(by_name) == 204
    assert chain.statuses() == {"first": "SUCCESS", "second": "NEW"}
    assert chain.deliver() == 204
    assert chain.rows("SELECT count(*) FROM task_log") == [(1,)]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"trigger_type": "task", "batch_id": "2024-03"}, "task_id is missing"),
        ({"trigger_type": "task", "task_id": "one", "batch_id": "2024-03"}, "task_id must be a whole number"),
        ({"trigger_type": "task", "task_id": 4711, "batch_id": "2024-03"}, "there is no task 4711"),
        ({"trigger_type": "tusk"}, "trigger_type is 'tusk'"),
    ],
)
def test_a_message_that_can_never_succeed_is_kept_once_and_never_asked_for_again(
    chain: ServiceRoom, message: dict[str, object], reason: str
) -> None:
    assert chain.push(message, message_id="17") == 204
    assert chain.push(message, message_id="17") == 204
    [(kept, deliveries)] = chain.rows("SELECT reason, deliveries FROM rejected_message")
    assert kept.startswith(reason)
    assert deliveries == 2
    told = [line for line in chain.lines() if "rejected" in line["message"]]
    assert [line["message_id"] for line in told] == ["17", "17"], "one line for each delivery"


def test_what_a_subscription_gave_up_is_kept_once_however_often_it_is_forwarded(
    service: ServiceRoom, tmp_path: Path
) -> None:
    applied(service, tmp_path, CHAIN.replace('batch: "{period}"', ""))
    gave_up = {
        "CloudPubSubDeadLetterSourceSubscription": "work-push",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "2024-02-29T23:59:00Z",
    }
    for message_id in ("17", "17", "18"):
        assert service.push({"trigger_type": "workflow", "workflow": "chain"}, gave_up, message_id) == 204
    assert service.rows("SELECT reason, deliveries FROM rejected_message") == [
        ("subscription work-push gave up after 5 deliveries", 3)
    ]
    assert service.rows("SELECT count(*) FROM task_batch") == [(0,)]
    for _ in range(2):
        service.command("rejected", "replay", "1")
    # Its batch is one of the day on which the message was published first.
    assert service.rows("SELECT batch_id FROM task_batch") == [("Batch_20240229_001",)]


def test_a_task_whose_message_was_given_up_is_started_by_its_replay(chain: ServiceRoom) -> None:
    chain.push(START)
    execute = chain.published(1)[0]
    chain.push(execute, {"CloudPubSubDeadLetterSourceSubscription": "work-push"})
    assert chain.statuses() == {"first": "NEW", "second": "WAITING"}
    chain.command("rejected", "replay", "1")
    assert chain.published(2)[1] == execute
    assert chain.envelopes(2)[1]["attributes"] == {}
    chain.deliver()
    chain.deliver()
    assert chain.statuses() == {"first": "SUCCESS", "second": "NEW"}


def test_what_cannot_be_stored_is_not_acked(service: ServiceRoom) -> None:
    nowhere = service.environment | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    client = create_app(Settings.from_environment(nowhere)).test_client()
    for body in (json.dumps(START).encode(), b"garbage", json.dumps({"trigger_type": "sweep"}).encode()):
        assert client.post("/", data=body).status_code == 503
        assert service.push_body(body) == 204


def test_a_message_for_a_task_that_waits_is_a_log_line_that_names_the_missing_parents(
    service: ServiceRoom, tmp_path: Path
) -> None:
    applied(service, tmp_path, PROFIT)
    service.push({"trigger_type": "workflow", "workflow": "monthly_profit", "batch_id": "2024-03"})
    service.push({"trigger_type": "task", "task_id": service.task_id("profit"), "batch_id": "2024-03"})
    [line] = [line for line in service.lines() if "not to be started" in line["message"]]
    assert line["message"] == "profit is not to be started: it waits for load_sales, load_expenses"
    assert (line["workflow"], line["batch"], line["task"]) == ("monthly_profit", "2024-03", "profit")
