"""A request whose answer is lost, whose worker dies or sleeps, and one whose service says later that it is done."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from database.sessions import Database
from run.clients import Clients
from run.clients.http import Http, Request, Response
from run.kinds.http_request import HttpRequest
from run.pubsub.envelope import read_delivery
from run.pubsub.messages import CompletedMessage, parse_message
from tests.engine_room import ME, EngineRoom
from tests.integration.kinds.test_http_request import SETTINGS
from tests.servers.rest_service import RestService
from tests.servers.wire import Answered

UNKNOWN = "outcome unknown: "


class Killed(BaseException):
    """What ends a worker without a word."""


class Wire(Http):
    """The real client, which a test may stop right before and right after a request is sent."""

    def __init__(self) -> None:
        super().__init__(may_reach_itself=True)
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []

    def send(self, request: Request) -> Response:
        for what in self.before[:1]:
            self.before.remove(what)
            what()
        response = super().send(request)
        for what in self.after[:1]:
            self.after.remove(what)
            what()
        return response


@pytest.fixture
def service() -> Iterator[RestService]:
    with RestService() as server:
        yield server


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def room(database: Database, wire: Wire) -> EngineRoom:
    clients = Clients(SETTINGS)
    clients._http = wire
    return EngineRoom(database, more_kinds=[HttpRequest(clients)])


def order(room: EngineRoom, service: RestService, *, retries: int = 0, **config: Any) -> None:
    """Open a batch with one task that orders something; its message is on the list."""
    full = {"url": f"{service.url}/orders", "method": "POST", "body": {"of": "{batch_id}"}, **config}
    awaits = config.get("wait_for_completion", False)
    details = {"kind": "http_request", "config": full, "retries": retries, "awaits_completion": awaits}
    room.apply({"a": []}, details={"a": {**details, "timeout_seconds": 3600}})
    room.start()


def die() -> None:
    raise Killed


def go_on_after_death(room: EngineRoom) -> None:
    room.pass_time(120)
    room.sweep()
    room.deliver_all()


def status_and_error(room: EngineRoom) -> tuple[str, str]:
    [(_, status, error)] = room.log("a")
    return status, error or ""


def test_a_post_whose_answer_is_lost_is_not_sent_again_and_its_outcome_is_unknown(
    room: EngineRoom, service: RestService
) -> None:
    service.loses["/orders"] = 1
    order(room, service, retries=5)
    room.deliver_all()
    status, error = status_and_error(room)
    assert status == "ERROR"
    assert error.startswith(f"{UNKNOWN}no answer to POST {service.url}/orders (ConnectionError)")
    assert "mark the task as a success, or run it again" in error
    room.pass_time(4000)
    room.sweep()
    room.deliver_all()
    assert len(service.asked) == 1
    assert room.statuses() == {"a": "ERROR"}


def test_a_post_that_is_not_answered_in_time_is_not_sent_again(room: EngineRoom, service: RestService) -> None:
    service.slow["/orders"] = 2
    order(room, service, request_timeout=1, retries=5)
    room.deliver_all()
    status, error = status_and_error(room)
    assert (status, error[: len(UNKNOWN)]) == ("ERROR", UNKNOWN)
    assert "ReadTimeout" in error


def answered(seconds: int, head: str, *parts: bytes, pause: float = 0) -> Response:
    """What is kept of an answer that comes in these parts."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(10_000)
            connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        response = Http(may_reach_itself=True).send(Request("GET", url, {}, None, seconds))
        serving.join(30)
    return response


@pytest.mark.parametrize(
    ("head", "drop"),
    [("Content-Length: 100", b"x"), ("Transfer-Encoding: chunked", b"1\r\nx\r\n"), ("Connection: close", b"x")],
)
def test_an_answer_that_comes_drop_by_drop_is_read_as_long_as_it_may_take(head: str, drop: bytes) -> None:
    # The time of the request has no room for all of them.
    response = answered(1, head, *[drop] * 30, pause=0.1)
    assert (response.status, response.is_whole) == (200, False)
    assert response.text == "x" * len(response.text)
    assert 0 < len(response.text) < 30


@pytest.mark.parametrize("head", ["Content-Length: 100", "Connection: close"])
def test_a_pause_in_an_answer_is_no_longer_than_what_is_left_of_its_time(head: str) -> None:
    response = answered(2, head, b"x", b"x", b"x", pause=1.5)
    assert not response.is_whole
    assert len(response.text) < 3


def test_an_answer_that_comes_compressed_is_kept_as_what_it_says() -> None:
    body = gzip.compress(b"done " * 1000)
    head = f"Content-Encoding: gzip\r\nContent-Length: {len(body)}"
    assert answered(5, head, body[:20], body[20:], pause=0.05).text == "done " * 1000


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_that_did_not_see_the_answer_leaves_the_outcome_of_a_post_unknown(
    room: EngineRoom, service: RestService, status: int
) -> None:
    service.fails["/orders"] = [Answered(status, "no upstream")]
    order(room, service, retries=5)
    room.deliver_all()
    assert status_and_error(room)[1].startswith(f"{UNKNOWN}POST {service.url}/orders was answered with {status}")
    assert room.statuses() == {"a": "ERROR"}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_post_whose_worker_died_around_it_is_not_sent_again(
    room: EngineRoom, service: RestService, wire: Wire, moment: str
) -> None:
    getattr(wire, moment).append(die)
    order(room, service)
    with pytest.raises(Killed):
        room.deliver_all()
    go_on_after_death(room)
    status, error = status_and_error(room)
    assert (status, error[: len(UNKNOWN)]) == ("ERROR", UNKNOWN)
    assert len(service.orders) == (moment == "after")


def test_a_post_whose_worker_was_shut_down_around_it_is_not_sent_again(
    room: EngineRoom, service: RestService, wire: Wire
) -> None:
    def shut_down() -> None:
        assert room.life.give_back_all() == 1
        room.sweep()

    wire.before.append(shut_down)
    order(room, service)
    room.deliver_all()
    assert status_and_error(room)[1].startswith(UNKNOWN)
    assert len(service.asked) == 1


def test_a_post_is_sent_once_when_its_owner_slept_right_before_it_and_was_taken_over(
    room: EngineRoom, service: RestService, wire: Wire
) -> None:
    def taken_over_meanwhile() -> None:
        room.pass_time(120)
        room.execute("a")

    wire.before.append(taken_over_meanwhile)
    order(room, service)
    room.deliver_all()
    assert len(service.asked) == 1
    assert status_and_error(room)[1].startswith(UNKNOWN), "who took over could not know that it would be sent"


def test_nothing_is_sent_for_a_batch_that_was_cancelled_before(
    room: EngineRoom, service: RestService, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = Clients(SETTINGS).secrets
    clients = Clients(SETTINGS)
    room = EngineRoom(room.database, more_kinds=[HttpRequest(clients)])
    clients._secrets = secrets
    value = secrets.value

    def cancel_meanwhile(name: str) -> str:
        room.moves.cancel_batch("cake", "2024-03", ME)
        return value(name)

    monkeypatch.setattr(secrets, "value", cancel_meanwhile)
    order(room, service, headers={"X-Token": {"secret": "TOKEN"}})
    room.deliver_all()
    room.pass_time(120)
    room.sweep()
    assert service.asked == []
    assert room.log("a") == [(1, "CANCELLED", None)]
    assert room.rows("SELECT * FROM cancellation") == []


@pytest.mark.parametrize("config", [{"method": "PUT"}, {"repeatable": True}], ids=["PUT", "repeatable"])
def test_a_request_that_may_be_repeated_is_sent_again_with_the_same_key_when_its_answer_is_lost(
    room: EngineRoom, service: RestService, config: dict[str, Any]
) -> None:
    service.loses["/orders"] = 1
    order(room, service, **config)
    room.deliver_all()
    assert room.statuses() == {"a": "PROCESSING"}
    room.pass_time(60)
    room.sweep()
    room.deliver_all()
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert (len(service.asked), len(service.orders)) == (2, 1)


@pytest.mark.parametrize("config", [{"method": "PUT"}, {"repeatable": True}], ids=["PUT", "repeatable"])
def test_a_request_that_may_be_repeated_is_sent_again_with_the_same_key_when_its_worker_died(
    room: EngineRoom, service: RestService, wire: Wire, config: dict[str, Any]
) -> None:
    wire.after.append(die)
    order(room, service, **config)
    with pytest.raises(Killed):
        room.deliver_all()
    go_on_after_death(room)
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert (len(service.asked), len(service.orders)) == (2, 1)


def test_a_put_that_must_not_be_repeated_is_not(room: EngineRoom, service: RestService) -> None:
    service.loses["/orders"] = 1
    order(room, service, method="PUT", repeatable=False)
    room.deliver_all()
    assert status_and_error(room)[1].startswith(UNKNOWN)


def test_a_service_that_never_answers_is_given_up_when_the_time_of_the_attempt_is_over(
    room: EngineRoom, service: RestService
) -> None:
    service.loses["/orders"] = 100
    order(room, service, method="PUT")
    room.deliver_all()
    room.pass_time(3601)
    room.sweep()
    room.deliver_all()
    assert status_and_error(room) == ("ERROR", "timed out after 3600 s")
    room.sweep()
    assert room.rows("SELECT * FROM cancellation") == []


def test_a_service_that_cannot_be_reached_was_sent_nothing_and_may_be_asked_by_another_attempt(
    room: EngineRoom, service: RestService
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/orders"
        order(room, service, url=nobody, retries=1)
        room.deliver_all()
    [(_, status, error)] = room.log("a")
    assert status == "ERROR"
    assert error.startswith("no connection to 127.0.0.1 (")
    assert room.statuses() == {"a": "WAITING"}


def test_another_attempt_has_another_key(room: EngineRoom, service: RestService) -> None:
    service.fails["/orders"] = [Answered(500)]
    order(room, service, retries=1)
    room.deliver_all()
    room.pass_time(60)
    room.sweep()
    room.deliver_all()
    assert [status for _, status, _ in room.log("a")] == ["ERROR", "SUCCESS"]
    assert [asked.headers["idempotency-key"][-4:] for asked in service.asked] == ["/a/1", "/a/2"]


def announced(service: RestService) -> dict[str, Any]:
    """What the request says of how to complete the task."""
    told: dict[str, Any] = json.loads(service.asked[-1].headers["cloud-accelerator-completion"])
    return told


def test_a_service_that_works_on_says_with_the_message_it_was_given_that_it_is_done(
    room: EngineRoom, service: RestService
) -> None:
    order(room, service, wait_for_completion=True)
    room.deliver_all()
    assert room.statuses() == {"a": "PROCESSING"}
    data = json.dumps(announced(service) | {"status": "SUCCESS", "result": {"rows": 3}})
    message = parse_message(read_delivery({"x-goog-pubsub-message-id": "1"}, data.encode()))
    assert isinstance(message, CompletedMessage)
    assert (message.task.workflow, message.task.task_name, message.batch_id) == ("cake", "a", "2024-03")
    room.completed("a", attempt=message.attempt, result=message.result)
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert room.rows("SELECT details FROM task_log") == [({"result": {"rows": 3}},)]


def test_each_element_of_a_mapped_task_is_told_the_message_that_ends_it(room: EngineRoom, service: RestService) -> None:
    config = {"url": f"{service.url}/orders", "method": "POST", "body": {}, "wait_for_completion": True}
    orders = {"kind": "http_request", "config": config, "awaits_completion": True}
    mapped = {"map": {"over": "list.of", "max_failures": 0}}
    room.apply({"list": [], "a": ["list"]}, details={"a": orders | mapped})
    room.told.orders["list"] = lambda _work: {"of": ["x", "y"]}
    room.start()
    room.deliver_all()
    for asked in service.asked:
        data = json.dumps(json.loads(asked.headers["cloud-accelerator-completion"]) | {"status": "SUCCESS"})
        message = parse_message(read_delivery({"x-goog-pubsub-message-id": "1"}, data.encode()))
        assert isinstance(message, CompletedMessage)
        room.completed("a", attempt=message.attempt, element=message.element)
    assert room.elements("a") == ["SUCCESS", "SUCCESS"]
    assert room.batch_status() == "SUCCESS"


def test_a_service_may_be_done_before_it_has_answered(room: EngineRoom, service: RestService, wire: Wire) -> None:
    wire.after.append(lambda: room.completed("a", attempt=1))
    order(room, service, wait_for_completion=True)
    room.deliver_all()
    assert room.log("a") == [(1, "SUCCESS", None)]


@pytest.mark.parametrize("comes", [True, False])
def test_an_order_whose_answer_was_lost_is_decided_by_the_message_or_by_the_timeout(
    room: EngineRoom, service: RestService, comes: bool
) -> None:
    service.loses["/orders"] = 1
    order(room, service, wait_for_completion=True)
    room.deliver_all()
    assert room.statuses() == {"a": "PROCESSING"}
    if comes:
        room.completed("a", attempt=1)
        assert room.log("a") == [(1, "SUCCESS", None)]
    else:
        room.pass_time(3601)
        room.sweep()
        assert status_and_error(room) == ("ERROR", "timed out: no completion message has come")
    assert len(service.asked) == 1


def test_an_order_whose_worker_died_is_decided_by_the_message(
    room: EngineRoom, service: RestService, wire: Wire
) -> None:
    wire.after.append(die)
    order(room, service, wait_for_completion=True)
    with pytest.raises(Killed):
        room.deliver_all()
    go_on_after_death(room)
    assert room.statuses() == {"a": "PROCESSING"}
    room.completed("a", attempt=1)
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert len(service.asked) == 1


def test_an_order_that_is_refused_waits_for_no_message(room: EngineRoom, service: RestService) -> None:
    service.fails["/orders"] = [Answered(400, "no")]
    order(room, service, wait_for_completion=True)
    room.deliver_all()
    assert status_and_error(room) == ("ERROR", f"POST {service.url}/orders was answered with 400: no")


def test_cancelling_a_batch_that_waits_for_a_message_tells_nobody(room: EngineRoom, service: RestService) -> None:
    order(room, service, wait_for_completion=True)
    room.deliver_all()
    room.moves.cancel_batch("cake", "2024-03", ME)
    room.sweep()
    assert room.log("a") == [(1, "CANCELLED", None)]
    assert room.rows("SELECT * FROM cancellation") == []
    assert len(service.asked) == 1
