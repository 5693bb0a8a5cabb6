from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from run.errors import Rejected
from run.pubsub.envelope import read_delivery
from run.pubsub.messages import (
    CompletedMessage,
    FileMessage,
    Message,
    SweepMessage,
    TaskAddress,
    TaskMessage,
    WorkflowMessage,
    completed_message,
    execute_message,
    kind_of,
    parse_message,
    sweep_message,
    workflow_message,
)

TASK = {"trigger_type": "task", "task_id": 7, "batch_id": "2024-03"}
NOTIFICATION = {
    "Eventtype": "OBJECT_FINALIZE",
    "Bucketid": "landing",
    "Objectid": "sales/2024-03.csv",
    "Objectgeneration": "1710000000000001",
}


def parsed(fields: object) -> Message:
    return parse_message(read_delivery({}, json.dumps(fields).encode()))


def notified(body: bytes = b"", **changed: Any) -> Message:
    return parse_message(read_delivery({**NOTIFICATION, **changed}, body))


def reason_of(fields: object) -> str:
    with pytest.raises(Rejected) as caught:
        parsed(fields)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (execute_message(7, "2024-03"), TaskMessage(TaskAddress(task_id=7), "2024-03")),
        (execute_message(0, "b", 3), TaskMessage(TaskAddress(task_id=0), "b", 3)),
        (
            completed_message(0, "b", "ERROR", attempt=2, error="no sugar"),
            CompletedMessage(TaskAddress(task_id=0), "b", "ERROR", attempt=2, error="no sugar"),
        ),
        (workflow_message("profit"), WorkflowMessage("profit")),
        (workflow_message("profit", "b", {"x": [1]}), WorkflowMessage("profit", "b", {"x": [1]})),
        (sweep_message(), SweepMessage()),
    ],
)
def test_what_we_send_is_what_we_understand(fields: dict[str, object], message: Message) -> None:
    assert parsed(fields) == message


def test_a_task_is_named_by_its_id_or_by_workflow_and_name() -> None:
    by_name = {"trigger_type": "task", "workflow": "profit", "task_name": "load", "batch_id": "b"}

    assert parsed({**TASK, "task_id": "7"}) == TaskMessage(TaskAddress(task_id=7), "2024-03")
    assert parsed(by_name) == TaskMessage(TaskAddress(workflow="profit", task_name="load"), "b")


def test_a_completed_message_by_name_needs_only_its_status() -> None:
    by_name = {"trigger_type": "task", "workflow": "profit", "task_name": "load", "batch_id": "b", "status": "SUCCESS"}

    assert parsed({**by_name, "result": {"rows": 1}}) == CompletedMessage(
        TaskAddress(workflow="profit", task_name="load"), "b", "SUCCESS", result={"rows": 1}
    )


def test_a_previous_task_id_of_null_is_none() -> None:
    assert isinstance(parsed({**TASK, "previous_task_id": None}), TaskMessage)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"task_id": True}, "task_id must be a whole number"),
        ({"task_id": -1}, "task_id must be a whole number"),
        ({"task_id": 7.0}, "task_id must be a whole number"),
        ({"task_id": "seven"}, "task_id must be a whole number"),
        ({"task_id": "9223372036854775808"}, "task_id must be a whole number"),
        ({"task_id": None}, "task_id is missing"),
        ({"task_id": None, "workflow": "w"}, "task_name is missing"),
        ({"workflow": "w", "task_name": "t"}, "not by both"),
        ({"batch_id": None}, "batch_id is missing"),
        ({"batch_id": 202403}, "batch_id must be a text"),
        ({"batch_id": " "}, "batch_id must be a text that is not empty"),
        ({"batch_id": "x" * 201}, "201 characters"),
        ({"batch_id": "a\nb"}, "control character"),
        ({"element": "three"}, "element must be a whole number"),
        ({"previous_task_id": 6, "status": "SUCCESS"}, r"previous_task_id \(6\) must equal task_id \(7\)"),
        ({"status": "SUCCESS"}, "must equal task_id"),
        ({"previous_task_id": 7}, "status must be SUCCESS or ERROR"),
        ({"previous_task_id": 7, "status": "DONE"}, "status must be SUCCESS or ERROR.*'DONE'"),
        ({"previous_task_id": 7, "status": "ERROR", "error": {}}, "error must be a text, not an object"),
        ({"previous_task_id": 7, "status": "ERROR", "attempt": False}, "attempt must be a whole number.*not false"),
        ({"trigger_type": "tusk"}, "'tusk'; known are task, workflow, sweep"),
        ({"trigger_type": None}, "trigger_type is missing; known are task"),
        ({"trigger_type": ["task"]}, "trigger_type is an array; known are task"),
    ],
)
def test_a_wrong_task_message_is_rejected_naming_the_key(changed: dict[str, object], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        parsed({**TASK, **changed})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"workflow": None}, "workflow is missing"),
        ({"workflow": "w", "params": []}, "params must be an object"),
        ({"workflow": "w", "batch_id": ""}, "batch_id must be a text"),
    ],
)
def test_a_wrong_workflow_message_is_rejected(fields: dict[str, object], reason: str) -> None:
    assert reason in reason_of({"trigger_type": "workflow", **fields})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "neither data nor the attributes"),
        (b"\xff", "not UTF-8"),
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 9223372036854775808}', "does not fit into 64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "does not fit into 64 bits"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'{"a": ["\\ud800"]}', "surrogate"),
        (b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", "levels deep"),
        (b"[" * 100_000, "levels deep"),
    ],
)
def test_data_that_cannot_be_stored_is_rejected(data: bytes, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        parse_message(read_delivery({}, data))


def test_the_largest_integer_is_accepted() -> None:
    assert parsed({**TASK, "task_id": 2**63 - 1}) == TaskMessage(TaskAddress(task_id=2**63 - 1), "2024-03")


def test_a_notification_without_an_object_resource_has_no_size_and_no_metadata() -> None:
    message = notified(Eventtime="2024-03-05T06:07:08.123456Z")

    assert message == FileMessage(
        "OBJECT_FINALIZE",
        "landing",
        "sales/2024-03.csv",
        1710000000000001,
        None,
        None,
        datetime(2024, 3, 5, 6, 7, 8, 123456, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("resource", "size", "metadata"),
    [({}, None, {}), ({"size": "12", "metadata": {"a": "b"}}, 12, {"a": "b"}), ({"size": 0}, 0, {})],
)
def test_a_notification_with_an_object_resource_says_size_and_metadata(
    resource: dict[str, object], size: int | None, metadata: dict[str, str]
) -> None:
    message = notified(json.dumps(resource).encode())

    assert isinstance(message, FileMessage)
    assert (message.size, message.metadata) == (size, metadata)


@pytest.mark.parametrize("generation", ["0", "-1", "1.5", "x", "", "9223372036854775808", "\u0661", "1" * 5000])
def test_a_generation_that_is_no_positive_number_is_rejected(generation: str) -> None:
    with pytest.raises(Rejected, match="objectGeneration"):
        notified(Objectgeneration=generation)


@pytest.mark.parametrize("name", ["Bucketid", "Objectid"])
def test_a_notification_without_its_object_is_rejected(name: str) -> None:
    with pytest.raises(Rejected, match=f"has no {name[:-2].lower()}Id"):
        notified(b"", **{name: ""})


@pytest.mark.parametrize("body", [b"[]", b'{"metadata": []}', b'{"metadata": {"a": 1}}', b'{"size": "x"}'])
def test_a_notification_with_a_wrong_resource_is_rejected(body: bytes) -> None:
    with pytest.raises(Rejected):
        notified(body)


def test_every_kind_of_message_has_a_word() -> None:
    assert [kind_of(message) for message in (notified(), parsed(TASK), parsed(sweep_message()))] == [
        "file",
        "task",
        "sweep",
    ]


@pytest.mark.parametrize(("attribute", "longest"), [("Objectid", 1024), ("Bucketid", 222), ("Eventtype", 64)])
def test_an_attribute_that_no_index_could_hold_is_rejected(attribute: str, longest: int) -> None:
    notified(b"", **{attribute: "x" * longest})
    with pytest.raises(Rejected, match=f"at most {longest} are allowed"):
        notified(b"", **{attribute: "x" * (longest + 1)})
    with pytest.raises(Rejected, match="bytes"):
        notified(b"", **{attribute: "é" * longest})
