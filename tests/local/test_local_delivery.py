from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from run.local.processes import StartFailed
from run.local.pubsub_emulator import DeadLetterPolicy, PubSubEmulator
from run.local.service import Service
from run.local.topics import SECONDS_BETWEEN_PUSHES, LoopbackTopic
from tests.local_parts import eventually, pushes_kept_in, require_pubsub_emulator

TOY = "tests.local.toy_service:app"


@pytest.fixture
def pushes(tmp_path: Path) -> Path:
    return tmp_path / "pushes"


@pytest.fixture
def service(tmp_path: Path, pushes: Path) -> Iterator[Service]:
    with Service(tmp_path / "logs", {"PUSHES": str(pushes)}, application=TOY) as running:
        yield running


def test_a_published_message_is_pushed_by_the_emulator(service: Service, pushes: Path, tmp_path: Path) -> None:
    require_pubsub_emulator()
    with PubSubEmulator(tmp_path / "logs") as emulator:
        topic = emulator.create_topic("work")
        emulator.create_push_subscription("work-push", topic="work", endpoint=f"{service.url}/")
        topic.publish(b"hello", {"colour": "blue"})
        (push,) = eventually(lambda: pushes_kept_in(pushes), "the push")
    assert push["subscription"] == "projects/local/subscriptions/work-push"
    assert base64.b64decode(push["message"]["data"]) == b"hello"
    assert push["message"]["attributes"] == {"colour": "blue"}


def test_the_emulator_gives_the_longest_ack_deadline_and_takes_a_topic_twice(service: Service, tmp_path: Path) -> None:
    require_pubsub_emulator()
    with PubSubEmulator(tmp_path / "logs") as emulator:
        for _ in range(2):
            emulator.create_topic("work")
            emulator.create_push_subscription("work-push", topic="work", endpoint=f"{service.url}/")
        url = f"http://{emulator.host}/v1/projects/local/subscriptions/work-push"
        assert requests.get(url, timeout=5).json()["ackDeadlineSeconds"] == 600


def test_the_emulator_is_told_when_to_push_again_and_when_to_give_up(tmp_path: Path) -> None:
    require_pubsub_emulator()
    with PubSubEmulator(tmp_path / "logs") as emulator:
        for topic in ("work", "dead"):
            emulator.create_topic(topic)
        emulator.create_push_subscription(
            "work-push",
            topic="work",
            endpoint="http://127.0.0.1:9/",
            ack_deadline=120,
            dead_letters=DeadLetterPolicy("dead", 7),
        )
        url = f"http://{emulator.host}/v1/projects/local/subscriptions/work-push"
        subscription = requests.get(url, timeout=5).json()
    assert subscription["ackDeadlineSeconds"] == 120
    assert subscription["deadLetterPolicy"] == {
        "deadLetterTopic": "projects/local/topics/dead",
        "maxDeliveryAttempts": 7,
    }


def test_loopback_delivery_sends_what_pubsub_sends(service: Service, pushes: Path) -> None:
    with LoopbackTopic(f"{service.url}/", "projects/local/subscriptions/work-push") as topic:
        topic.publish(b"hello", {"colour": "blue"})
        (push,) = eventually(lambda: pushes_kept_in(pushes), "the push")
    message = push["message"]
    assert push["subscription"] == "projects/local/subscriptions/work-push"
    assert base64.b64decode(message["data"]) == b"hello"
    assert message["attributes"] == {"colour": "blue"}
    assert message["messageId"] == message["message_id"]
    assert message["publishTime"] == message["publish_time"]


def test_loopback_delivery_tries_until_the_service_is_back_and_then_no_more(service: Service, pushes: Path) -> None:
    service.kill()
    with LoopbackTopic(f"{service.url}/", "projects/local/subscriptions/work-push") as topic:
        topic.publish(b"hello", {})
        service.start()
        eventually(lambda: pushes_kept_in(pushes), "the push")
        time.sleep(1.2 * SECONDS_BETWEEN_PUSHES)
    assert len(pushes_kept_in(pushes)) == 1


def test_a_killed_service_refuses_connections_and_starts_again_on_the_same_address(service: Service) -> None:
    url = service.url
    service.kill()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/health", timeout=5)
    service.start()
    assert service.url == url
    assert requests.get(f"{url}/health", timeout=5).status_code == 200


def test_a_service_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    service = Service(tmp_path / "logs", {}, application="tests.local.no_such_service:app")
    with pytest.raises(StartFailed, match=r"service\.log:(.|\n)*no_such_service"):
        service.start()
    service.close()
