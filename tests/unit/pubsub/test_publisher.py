from __future__ import annotations

import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc  # type: ignore[import-untyped]
import pytest
from google.pubsub_v1 import PublishRequest, PublishResponse

from run.clients.pubsub import PubSubPublisher
from run.errors import Unavailable
from run.pubsub.envelope import Delivery, read_delivery
from run.pubsub.messages import execute_message
from run.pubsub.publisher import LoopbackPublisher
from run.settings import Settings

MESSAGES = [execute_message(number, "2024-03") for number in range(20)]


class Receiver:
    """A push endpoint that writes down what comes and answers as it is told, then 204."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.connections: set[tuple[str, int]] = set()
        self.answers: list[int] = []
        self.keep_alive = True
        self.says_so = True
        self.body = b""
        self.says_length = True
        self.gate = threading.Event()
        self.gate.set()
        self.under_way = 0
        self.most_under_way = 0
        self._lock = threading.Lock()
        self.url = ""

    def receive(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        with self._lock:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        self.gate.wait(10)
        with self._lock:
            self.under_way -= 1
            self.deliveries.append(read_delivery(dict(request.headers), body))
            self.connections.add(request.client_address)
            status = self.answers.pop(0) if self.answers else 204
        request.close_connection = not self.keep_alive or not self.says_length
        request.send_response(status)
        if not self.keep_alive and self.says_so:
            request.send_header("Connection", "close")
        if self.says_length:
            request.send_header("Content-Length", str(len(self.body)))
        request.end_headers()
        request.wfile.write(self.body)

    def tasks(self) -> list[int]:
        return sorted(json.loads(delivery.data)["task_id"] for delivery in self.deliveries)

    def wait_for(self, count: int) -> None:
        until(lambda: len(self.deliveries) >= count)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.receive(self)

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield receiver
        receiver.gate.set()
        server.shutdown()


def loopback_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "loopback"]


@contextmanager
def loopback(
    url: str, most_at_once: int = 4, retry_delays: Sequence[float] = (0.02, 0.02)
) -> Iterator[LoopbackPublisher]:
    publisher = LoopbackPublisher(url, most_at_once, retry_delays)
    yield publisher
    publisher.close(timeout=1)


def test_every_message_is_delivered_once_as_a_wrapped_push(receiver: Receiver) -> None:
    with loopback(receiver.url) as publisher:
        publisher.publish(MESSAGES)
        receiver.wait_for(20)

    assert receiver.tasks() == list(range(20))
    assert {delivery.source for delivery in receiver.deliveries} == {"wrapped"}
    assert len({delivery.message_id for delivery in receiver.deliveries}) == 20
    assert all(delivery.publish_time for delivery in receiver.deliveries)


def test_connections_are_kept_and_no_more_than_allowed(receiver: Receiver) -> None:
    with loopback(receiver.url, most_at_once=3) as publisher:
        for message in MESSAGES:
            publisher.publish([message])
        receiver.wait_for(20)

    assert len(receiver.connections) <= 3


def test_deliveries_do_not_wait_for_one_that_takes_long(receiver: Receiver) -> None:
    with loopback(receiver.url, most_at_once=4) as publisher:
        publisher.publish(MESSAGES[:1])
        receiver.wait_for(1)
        receiver.gate.clear()
        publisher.publish(MESSAGES[1:7])
        until(lambda: receiver.under_way == 4)
        receiver.gate.set()
        receiver.wait_for(7)

    assert receiver.most_under_way == 4


def test_a_refused_delivery_is_tried_again(receiver: Receiver) -> None:
    receiver.answers = [503, 500]
    with loopback(receiver.url) as publisher:
        publisher.publish(MESSAGES[:1])
        receiver.wait_for(3)

    assert receiver.tasks() == [0, 0, 0]
    assert len({delivery.message_id for delivery in receiver.deliveries}) == 1


def test_a_delivery_that_is_refused_every_time_is_given_up_with_a_warning(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [503] * 3
    with loopback(receiver.url) as publisher:
        publisher.publish(MESSAGES[:1])
        until(lambda: "given up after 3 tries: status 503" in caplog.text)
        publisher.publish(MESSAGES[1:2])
        receiver.wait_for(4)

    assert receiver.tasks() == [0, 0, 0, 1]


@pytest.mark.parametrize("says_so", [True, False])
def test_a_connection_that_the_server_closed_is_opened_again_without_a_delay(receiver: Receiver, says_so: bool) -> None:
    receiver.keep_alive, receiver.says_so = False, says_so
    with loopback(receiver.url, most_at_once=1, retry_delays=()) as publisher:
        for count, message in enumerate(MESSAGES, start=1):
            publisher.publish([message])
            receiver.wait_for(count)

    assert receiver.tasks() == list(range(20))


def test_an_answer_with_a_body_leaves_the_connection_to_the_next_message(receiver: Receiver) -> None:
    receiver.answers, receiver.body = [200] * 20, b"HTTP/1.1 503 no status, but a body\r\n\r\n"
    with loopback(receiver.url, most_at_once=1, retry_delays=()) as publisher:
        publisher.publish(MESSAGES)
        receiver.wait_for(20)

    assert receiver.tasks() == list(range(20))
    assert len(receiver.connections) == 1


def test_an_answer_whose_length_nobody_says_ends_its_connection(receiver: Receiver) -> None:
    receiver.answers, receiver.body, receiver.says_length = [500], b"Internal Server Error", False
    with loopback(receiver.url, most_at_once=1) as publisher:
        publisher.publish(MESSAGES[:1])
        receiver.wait_for(2)

    assert receiver.tasks() == [0, 0]
    assert len(receiver.connections) == 2


@contextmanager
def talker(*said: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """The address of a server that says these texts on each connection, one for each request, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(8) as threads:

        def talk(connected: socket.socket) -> None:
            with connected, suppress(OSError):
                for text in said:
                    asked.append(connected.recv(65_536))
                    connected.sendall(text)
                # Whoever wants to hear more waits until the other side has had enough.
                connected.recv(65_536)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threads.submit(talk, server.accept()[0])

        threads.submit(accept)
        yield f"127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)


def test_what_does_not_speak_http_is_given_up_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    greeting = b"220 mail.example.com ESMTP\r\n"
    with talker(greeting) as (address, _), loopback(f"http://{address}/", retry_delays=(0.01,)) as publisher:
        publisher.publish(MESSAGES[:1])
        until(lambda: "given up after 2 tries: ValueError: the answer is not HTTP/1" in caplog.text)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 204", b"HTTP/1.1 500 ERROR\r\nContent-Length: 5\r\n\r\n"], ids=["nothing", "half", "head"]
)
def test_an_answer_that_does_not_come_in_time_costs_no_thread(caplog: pytest.LogCaptureFixture, said: bytes) -> None:
    with talker(said) as (address, asked):
        publisher = LoopbackPublisher(f"http://{address}/", 1, (), timeout=1)
        publisher.publish(MESSAGES[:2])
        until(lambda: caplog.text.count("given up after 1 tries: TimeoutError: no answer within 1 s") == 2)
        publisher.close(timeout=1)
    assert len(asked) == 2


def test_an_answer_that_does_not_come_on_a_kept_connection_costs_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    with talker(b"HTTP/1.1 204 NO CONTENT\r\n\r\n", b"") as (address, asked):
        publisher = LoopbackPublisher(f"http://{address}/", 1, (), timeout=1)
        publisher.publish(MESSAGES[:3])
        until(lambda: len(asked) == 3)
        publisher.close(timeout=1)
    # The second message had no answer; the third had one, on a connection of its own.
    assert caplog.text.count("given up after 1 tries: TimeoutError: no answer within 1 s") == 1


def test_an_answer_that_was_announced_before_it_came_counts() -> None:
    announced = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\nHTTP/1.1 204 NO CONTENT\r\n\r\n"
    with (
        talker(announced, announced) as (address, asked),
        loopback(f"http://{address}/", most_at_once=1, retry_delays=()) as publisher,
    ):
        publisher.publish(MESSAGES[:2])
        until(lambda: len(asked) == 2)
    assert [json.loads(request.split(b"\r\n\r\n")[1])["subscription"] for request in asked] == ["loopback"] * 2


def test_the_request_goes_to_the_path_and_names_the_host_without_its_password() -> None:
    with (
        talker(b"HTTP/1.1 204 NO CONTENT\r\n\r\n") as (address, asked),
        loopback(f"http://baker:flour-and-water@{address}/push/here") as publisher,
    ):
        publisher.publish(MESSAGES[:1])
        until(lambda: len(asked) == 1)
    first, host = asked[0].split(b"\r\n")[:2]
    assert (first, host) == (b"POST /push/here HTTP/1.1", f"Host: {address}".encode())
    assert b"flour" not in asked[0]


def test_a_service_that_is_not_there_is_given_up_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with loopback("http://127.0.0.1:9/", retry_delays=(0.01,)) as publisher:
        publisher.publish(MESSAGES[:1])
        until(lambda: "given up after 2 tries: ConnectionRefusedError" in caplog.text)


def test_closing_waits_for_what_is_under_way_and_takes_nothing_more(receiver: Receiver) -> None:
    threads_of_others = set(loopback_threads())
    publisher = LoopbackPublisher(receiver.url)
    publisher.publish(MESSAGES)
    started = time.monotonic()
    publisher.close(timeout=30)

    assert time.monotonic() - started < 10
    assert receiver.tasks() == list(range(20))
    with pytest.raises(Unavailable):
        publisher.publish(MESSAGES[:1])
    until(lambda: set(loopback_threads()) <= threads_of_others)


def test_closing_does_not_wait_for_ever(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    receiver.gate.clear()
    publisher = LoopbackPublisher(receiver.url, most_at_once=1)
    publisher.publish(MESSAGES[:3])
    until(lambda: receiver.under_way == 1)
    publisher.close(timeout=0.05)

    assert "2 loop-back deliveries given up at the end" in caplog.text


class Topic:
    """Pub/Sub's publish call over real gRPC, answering with the given errors first."""

    def __init__(self) -> None:
        self.requests: list[PublishRequest] = []
        self.errors: list[grpc.StatusCode] = []

    def publish(self, request: PublishRequest, context: grpc.ServicerContext) -> PublishResponse:
        if self.errors:
            context.abort(self.errors.pop(0), "as told")
        self.requests.append(request)
        return PublishResponse(message_ids=[str(number) for number in range(len(request.messages))])


@pytest.fixture
def topic() -> Iterator[tuple[Topic, PubSubPublisher]]:
    topic = Topic()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    method = grpc.unary_unary_rpc_method_handler(topic.publish, PublishRequest.deserialize, PublishResponse.serialize)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", {"Publish": method})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    settings = Settings(
        database_url="postgresql://db/x",
        project="my-project",
        landing_bucket="landing",
        pubsub_emulator_host=f"127.0.0.1:{port}",
    )
    publisher = PubSubPublisher(settings)
    yield topic, publisher
    publisher.close()
    server.stop(0).wait()


def test_all_messages_are_published_in_one_request(topic: tuple[Topic, PubSubPublisher]) -> None:
    topic[1].publish(MESSAGES)

    (request,) = topic[0].requests
    assert request.topic == "projects/my-project/topics/cloud-accelerator"
    assert [json.loads(message.data) for message in request.messages] == MESSAGES


def test_more_messages_than_a_request_may_have_are_split(topic: tuple[Topic, PubSubPublisher]) -> None:
    topic[1].publish([execute_message(number, "b") for number in range(1001)])

    assert [len(request.messages) for request in topic[0].requests] == [1000, 1]


def test_publishing_nothing_asks_nothing(topic: tuple[Topic, PubSubPublisher]) -> None:
    topic[1].publish([])

    assert topic[0].requests == []


def test_a_passing_error_of_pubsub_is_overcome(topic: tuple[Topic, PubSubPublisher]) -> None:
    topic[0].errors = [grpc.StatusCode.UNAVAILABLE]
    topic[1].publish(MESSAGES[:1])

    assert len(topic[0].requests) == 1


@pytest.mark.parametrize("error", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED])
def test_what_pubsub_refuses_is_unavailable(topic: tuple[Topic, PubSubPublisher], error: grpc.StatusCode) -> None:
    topic[0].errors = [error]

    with pytest.raises(Unavailable, match="publishing to projects/my-project/topics/cloud-accelerator failed"):
        topic[1].publish(MESSAGES[:1])


def test_the_envelope_is_the_one_of_pubsub(receiver: Receiver) -> None:
    with loopback(receiver.url) as publisher:
        publisher.publish(MESSAGES[:1])
        receiver.wait_for(1)

    message = json.loads(receiver.deliveries[0].body)["message"]
    assert json.loads(base64.b64decode(message["data"])) == MESSAGES[0]
