"""The messages that the service understands and sends, and how they are told apart.

Our own are JSON objects told apart by `trigger_type`; notifications of Cloud Storage by Google's attributes
(https://docs.cloud.google.com/storage/docs/pubsub-notifications). Keys that are not known are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from run.errors import Rejected
from run.pubsub.envelope import Delivery, quoted, read_time
from run.pubsub.json_text import LARGEST_INTEGER, read_json

LONGEST_NAME = 200
#: In bytes: https://cloud.google.com/storage/docs/objects#naming and .../buckets#naming; event types are short words.
LONGEST_OBJECT = 1024
LONGEST_BUCKET = 222
LONGEST_EVENT_TYPE = 64

Status = Literal["SUCCESS", "ERROR"]


@dataclass(frozen=True)
class TaskAddress:
    """A task by its id, or by its workflow and its name there; the other spelling is None."""

    task_id: int | None = None
    workflow: str | None = None
    task_name: str | None = None


@dataclass(frozen=True)
class FileMessage:
    """Something happened to one generation of an object; `event_type` is Google's, such as OBJECT_FINALIZE.

    `size` (bytes) and `metadata` are None when the notification carried no object resource.
    """

    event_type: str
    bucket: str
    name: str
    generation: int
    size: int | None
    metadata: Mapping[str, str] | None
    event_time: datetime | None


@dataclass(frozen=True)
class TaskMessage:
    """Run that task of that batch."""

    task: TaskAddress
    batch_id: str
    element: int | None = None


@dataclass(frozen=True)
class CompletedMessage:
    """An outside system says that work which we handed over is done; `result` is any JSON value."""

    task: TaskAddress
    batch_id: str
    status: Status
    attempt: int | None = None
    result: Any = None
    error: str | None = None
    element: int | None = None


@dataclass(frozen=True)
class WorkflowMessage:
    """Start a batch, or join it when it has equal params."""

    workflow: str
    batch_id: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SweepMessage:
    """The kick that mends, polls and schedules."""


Message = FileMessage | TaskMessage | CompletedMessage | WorkflowMessage | SweepMessage


def parse_message(delivery: Delivery) -> Message:
    """Return the message in a delivery; raises Rejected, saying what is wrong with which key."""
    if _is_notification(delivery.attributes):
        return _file_message(delivery)
    if not delivery.data:
        raise Rejected("the message has neither data nor the attributes of a storage notification")
    fields = _object(delivery.data, "the message's data")
    trigger_type = fields.get("trigger_type")
    parse = _PARSERS.get(trigger_type) if isinstance(trigger_type, str) else None
    if parse is None:
        known = ", ".join(_PARSERS)
        raise Rejected(f"trigger_type is {_shown(trigger_type)}; known are {known}, and storage notifications")
    return parse(fields)


def kind_of(message: Message) -> str:
    """Return the word for a message in logs: file, task, completed, workflow or sweep."""
    return type(message).__name__.removesuffix("Message").lower()


def execute_message(task_id: int, batch_id: str, element: int | None = None) -> dict[str, Any]:
    """Return our message "run that task of that batch"."""
    message = {"trigger_type": "task", "task_id": task_id, "batch_id": batch_id}
    return message if element is None else {**message, "element": element}


def completed_message(task_id: int, batch_id: str, status: Status, **optional: Any) -> dict[str, Any]:
    """Return the message "that task is done"; `optional` may hold attempt, result, error and element."""
    message = execute_message(task_id, batch_id)
    return {**message, "previous_task_id": task_id, "status": status, **optional}


def workflow_message(
    workflow: str, batch_id: str | None = None, params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return our message "start a batch of that workflow"."""
    message = {"trigger_type": "workflow", "workflow": workflow, "params": dict(params or {})}
    return message if batch_id is None else {**message, "batch_id": batch_id}


def sweep_message() -> dict[str, Any]:
    """Return our message "mend, poll and schedule"."""
    return {"trigger_type": "sweep"}


def _is_notification(attributes: Mapping[str, str]) -> bool:
    return "eventType" in attributes and bool({"bucketId", "objectId", "objectGeneration"} & attributes.keys())


def _file_message(delivery: Delivery) -> FileMessage:
    attributes = delivery.attributes
    resource = _object(delivery.data, "the object resource") if delivery.data else None
    return FileMessage(
        event_type=_attribute(attributes, "eventType", LONGEST_EVENT_TYPE),
        bucket=_attribute(attributes, "bucketId", LONGEST_BUCKET),
        name=_attribute(attributes, "objectId", LONGEST_OBJECT),
        generation=_generation(_attribute(attributes, "objectGeneration", LONGEST_NAME)),
        size=None if resource is None else _integer(resource, "size"),
        metadata=None if resource is None else _metadata(resource),
        event_time=read_time(attributes.get("eventTime", "")),
    )


def _attribute(attributes: Mapping[str, str], name: str, longest: int) -> str:
    value = attributes.get(name)
    if not value:
        raise Rejected(f"the storage notification has no {name}")
    if len(value.encode()) > longest:
        raise Rejected(f"{name} has {len(value.encode())} bytes; at most {longest} are allowed")
    return value


def _generation(text: str) -> int:
    generation = _decimal(text)
    if not generation:
        raise Rejected(f"objectGeneration must be a positive 64-bit number, not {quoted(text)}")
    return generation


def _metadata(resource: Mapping[str, Any]) -> Mapping[str, str]:
    metadata = {} if resource.get("metadata") is None else resource["metadata"]
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise Rejected("the object resource's metadata must be an object of texts")
    return metadata


def _task_or_completed(fields: Mapping[str, Any]) -> TaskMessage | CompletedMessage:
    if fields.get("previous_task_id") is None and fields.get("status") is None:
        return TaskMessage(_address(fields), _name(fields, "batch_id"), _integer(fields, "element"))
    return CompletedMessage(
        task=_completed_address(fields),
        batch_id=_name(fields, "batch_id"),
        status=_status(fields),
        attempt=_integer(fields, "attempt"),
        result=fields.get("result"),
        error=_optional_text(fields, "error"),
        element=_integer(fields, "element"),
    )


def _address(fields: Mapping[str, Any]) -> TaskAddress:
    by_name = [key for key in ("workflow", "task_name") if fields.get(key) is not None]
    task_id = _integer(fields, "task_id")
    if task_id is not None:
        if by_name:
            raise Rejected("a task is named by task_id, or by workflow and task_name, not by both")
        return TaskAddress(task_id=task_id)
    if not by_name:
        raise Rejected("task_id is missing, and so are workflow and task_name")
    return TaskAddress(workflow=_name(fields, "workflow"), task_name=_name(fields, "task_name"))


def _completed_address(fields: Mapping[str, Any]) -> TaskAddress:
    address = _address(fields)
    previous = _integer(fields, "previous_task_id")
    if address.task_id is None and previous is not None:
        raise Rejected("previous_task_id goes with task_id; with workflow and task_name, status alone says completed")
    if address.task_id != previous:
        raise Rejected(f"previous_task_id ({previous}) must equal task_id ({address.task_id}) in a completed message")
    return address


def _status(fields: Mapping[str, Any]) -> Status:
    match fields.get("status"):
        case "SUCCESS":
            return "SUCCESS"
        case "ERROR":
            return "ERROR"
        case other:
            raise Rejected(f"status must be SUCCESS or ERROR in a completed message; it is {_shown(other)}")


def _workflow_message(fields: Mapping[str, Any]) -> WorkflowMessage:
    params = fields.get("params")
    if params is not None and not isinstance(params, dict):
        raise Rejected("params must be an object")
    batch_id = None if fields.get("batch_id") is None else _name(fields, "batch_id")
    return WorkflowMessage(_name(fields, "workflow"), batch_id, params or {})


def _sweep_message(_fields: Mapping[str, Any]) -> SweepMessage:
    return SweepMessage()


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    value = read_json(data, what)
    if not isinstance(value, dict):
        raise Rejected(f"{what} must be a JSON object")
    return value


def _name(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if value is None:
        raise Rejected(f"{key} is missing")
    if not isinstance(value, str) or not value.strip():
        raise Rejected(f"{key} must be a text that is not empty, not {_shown(value)}")
    if len(value) > LONGEST_NAME:
        raise Rejected(f"{key} has {len(value)} characters; at most {LONGEST_NAME} are allowed")
    if re.search(r"[\x00-\x1f\x7f-\x9f]", value):
        raise Rejected(f"{key} has a control character: {quoted(value)}")
    return value


def _integer(fields: Mapping[str, Any], key: str) -> int | None:
    """A JSON integer, or its decimal digits as a text, as Google writes 64-bit numbers; never a boolean."""
    value = fields.get(key)
    if value is None:
        return None
    number = _decimal(value) if isinstance(value, str) else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise Rejected(f"{key} must be a whole number from 0 to 2^63-1, not {_shown(value)}")
    return number


def _decimal(text: str) -> int | None:
    if not re.fullmatch("[0-9]{1,19}", text) or int(text) > LARGEST_INTEGER:
        return None
    return int(text)


def _optional_text(fields: Mapping[str, Any], key: str) -> str | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise Rejected(f"{key} must be a text, not {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """A value in a reason, as its sender would write it; only the type of what may be long."""
    match value:
        case None:
            return "missing"
        case bool():
            return str(value).lower()
        case dict():
            return "an object"
        case list():
            return "an array"
        case _:
            return quoted(value)


_PARSERS: Mapping[str, Callable[[Mapping[str, Any]], Message]] = {
    "task": _task_or_completed,
    "workflow": _workflow_message,
    "sweep": _sweep_message,
}
