"""A request to another service: what is sent, which answer is right, and what is kept of it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from database.sessions import Database
from run.clients import Clients
from run.kinds.http_request import HttpRequest
from run.logs import configure_logging
from run.redaction import HIDDEN
from run.settings import Settings
from tests.engine_room import EngineRoom
from tests.servers.rest_service import RestService
from tests.servers.wire import Answered

SECRET = "s3cret/token+of=the-test"
SETTINGS = Settings.model_validate(
    {
        "DATABASE_URL": "postgresql://nobody@localhost/none",
        "GOOGLE_CLOUD_PROJECT": "local",
        "LANDING_BUCKET": "landing",
        "SECRET_*": {
            "TOKEN": SECRET,
            "WHOLE": f"Bearer {SECRET}\n",
            "OTHER": "Bearer of-another-t0ken",
            "ODD": "zwölf-geheime-Worte",
        },
    }
)


@pytest.fixture
def service() -> Iterator[RestService]:
    with RestService() as server:
        yield server


@pytest.fixture
def room(database: Database) -> EngineRoom:
    return EngineRoom(database, more_kinds=[HttpRequest(Clients(SETTINGS))])


def ask(room: EngineRoom, url: str, batch_id: str = "2024-03", retries: int = 0, **config: Any) -> tuple[Any, ...]:
    """Run a task with this request; its status, error and details."""
    details = {"kind": "http_request", "config": {"url": url, **config}, "retries": retries}
    room.apply({"a": []}, details={"a": details})
    room.start(batch_id)
    room.deliver_all()
    [ended] = room.rows("SELECT status, error, details FROM task_log")
    return ended


def test_a_request_is_answered_and_the_task_log_keeps_the_answer(room: EngineRoom, service: RestService) -> None:
    body = {"month": "{period}", "rows": 3, "of": ["{workflow}", None], "untouched": "{2}"}
    status, error, details = ask(room, f"{service.url}/orders", method="POST", body=body, headers={"X-By": "{task}"})
    assert (status, error) == ("SUCCESS", None)
    assert details == {"status": 201, "response": {"order": 1}}
    [(key, ordered)] = service.orders.items()
    assert ordered == {"month": "2024-03", "rows": 3, "of": ["cake", None], "untouched": "{2}"}
    [(uid,)] = room.rows("SELECT uid FROM task_batch")
    assert key == f"{uid}/cake/2024-03/a/1"
    [asked] = service.asked
    assert (asked.headers["x-by"], asked.headers["content-type"]) == ("a", "application/json")


def test_what_a_template_puts_into_the_url_stays_one_part_of_it(room: EngineRoom, service: RestService) -> None:
    batch = "../admin?all=1&x#ü"
    _, _, details = ask(room, f"{service.url}/echo/{{batch_id}}?of={{batch_id}}&attempt={{attempt}}", batch)
    said = details["response"]
    assert said["path"] == "/echo/..%2Fadmin%3Fall%3D1%26x%23%C3%BC"
    assert said["query"] == {"of": batch, "attempt": "1"}
    assert "idempotency-key" not in said["headers"], "what only reads needs none"


@pytest.mark.parametrize("batch", [".", ".."])
def test_a_value_cannot_lead_to_another_path(room: EngineRoom, service: RestService, batch: str) -> None:
    status, error, _ = ask(room, f"{service.url}/orders/{{batch_id}}", batch, method="DELETE")
    assert status == "ERROR"
    assert error == f"{service.url}/orders/{batch} leads to another path; no part of it may be '.' or '..'"
    assert service.asked == []


def test_a_key_is_plain_whatever_the_batch_is_called(room: EngineRoom, service: RestService) -> None:
    assert ask(room, f"{service.url}/orders", "März 2024", method="POST", body={})[0] == "SUCCESS"
    assert next(iter(service.orders)).endswith("/cake/M%C3%A4rz%202024/a/1")


@pytest.mark.parametrize(
    ("expected", "status", "outcome"),
    [
        (["2xx"], 204, "SUCCESS"),
        ([200, 404], 404, "SUCCESS"),
        (["200-299", "410"], 410, "SUCCESS"),
        ([500], 500, "SUCCESS"),
        ([200], 201, "ERROR"),
        (["2xx"], 404, "ERROR"),
        (["2xx"], 301, "ERROR"),
    ],
)
def test_which_status_is_right_is_for_the_workflow_to_say(
    room: EngineRoom, service: RestService, expected: list[Any], status: int, outcome: str
) -> None:
    service.fails["/echo"] = [Answered(status)]
    assert ask(room, f"{service.url}/echo", expected_status=expected)[0] == outcome


@pytest.mark.parametrize(
    ("status", "is_retried"),
    [(400, False), (401, False), (404, False), (409, False), (422, False), (408, True), (429, True), (500, True)],
)
def test_what_may_pass_is_retried_and_what_cannot_is_not(
    room: EngineRoom, service: RestService, status: int, is_retried: bool
) -> None:
    service.fails["/orders"] = [Answered(status, {"why": "because"})]
    ended, error, details = ask(room, f"{service.url}/orders", method="POST", body={}, retries=1)
    assert ended == "ERROR"
    assert error == f'POST {service.url}/orders was answered with {status}: {{"why": "because"}}'
    assert details == {"status": status, "response": {"why": "because"}}
    assert room.statuses()["a"] == ("WAITING" if is_retried else "ERROR")


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_says_when_to_come_again_gets_the_same_request_then(
    room: EngineRoom, service: RestService, status: int
) -> None:
    service.fails["/orders"] = [Answered(status, None, {"Retry-After": "120"})]
    details = {"kind": "http_request", "config": {"url": f"{service.url}/orders", "method": "POST", "body": {}}}
    room.apply({"a": []}, details={"a": details})
    room.start()
    room.deliver_all()
    assert room.statuses() == {"a": "PROCESSING"}
    [(seconds,)] = room.rows("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM batch_task")
    assert 110 < seconds <= 120
    room.pass_time(121)
    room.sweep()
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert len({asked.headers["idempotency-key"] for asked in service.asked}) == len(service.orders) == 1


def test_when_to_come_again_may_be_said_as_a_time(room: EngineRoom, service: RestService) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    service.fails["/echo"] = [Answered(503, None, {"Retry-After": later})]
    details = {"kind": "http_request", "config": {"url": f"{service.url}/echo"}}
    room.apply({"a": []}, details={"a": details})
    room.start()
    room.deliver_all()
    [(seconds,)] = room.rows("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM batch_task")
    assert 280 < seconds <= 300


def test_a_redirect_is_not_followed(room: EngineRoom, service: RestService) -> None:
    headers = {"Authorization": {"secret": "TOKEN", "prefix": "Bearer "}}
    status, error, _ = ask(room, f"{service.url}/moved", headers=headers)
    assert status == "ERROR"
    assert error.endswith(f"it points to {service.url}/echo, which must be the url, as it is not followed")
    assert len(service.asked) == 1


def test_an_answer_that_is_too_long_is_kept_in_part(room: EngineRoom, service: RestService) -> None:
    service.fails["/echo"] = [Answered(200, {"rows": ["x" * 100] * 200})]
    _, _, details = ask(room, f"{service.url}/echo")
    assert details["response"].startswith('{"rows": ["xxx')
    assert len(details["response"]) == 1000


def test_an_answer_without_end_is_read_up_to_a_million_bytes(room: EngineRoom, service: RestService) -> None:
    service.fails["/echo"] = [Answered(200, "y" * 3_000_000)]
    assert ask(room, f"{service.url}/echo")[2] == {"status": 200, "response": "y" * 1000}


def test_an_answer_that_is_no_json_is_kept_as_text(room: EngineRoom, service: RestService) -> None:
    service.fails["/echo"] = [Answered(200, "<p>\x00done")]
    assert ask(room, f"{service.url}/echo")[2] == {"status": 200, "response": "<p>\N{REPLACEMENT CHARACTER}done"}


@pytest.mark.parametrize("charset", ["idna", "undefined", "rot13", "nobody-knows"])
def test_an_answer_in_no_encoding_of_texts_is_an_answer_all_the_same(
    room: EngineRoom, service: RestService, charset: str
) -> None:
    service.fails["/echo"] = [
        Answered(200, "d\N{LATIN SMALL LETTER O WITH DIAERESIS}ne", {"Content-Type": f"text/plain; charset={charset}"})
    ]
    assert ask(room, f"{service.url}/echo")[2] == {
        "status": 200,
        "response": "d\N{LATIN SMALL LETTER O WITH DIAERESIS}ne",
    }


@pytest.mark.parametrize("depth", [90, 900, 30_000])
def test_an_answer_that_is_nested_however_deep_is_an_answer_all_the_same(
    room: EngineRoom, service: RestService, depth: int
) -> None:
    service.fails["/echo"] = [Answered(200, "[" * depth + "]" * depth)]
    status, error, details = ask(room, f"{service.url}/echo")
    assert (status, error, details["status"]) == ("SUCCESS", None, 200)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging(SETTINGS.model_copy(update={"log_level": "DEBUG"}), stream)
    yield stream
    root.handlers, root.level = before, level


@pytest.mark.parametrize("path", ["echo", "text", "refusing", "moved"])
@pytest.mark.parametrize(
    "header", [{"secret": "TOKEN", "prefix": "Bearer "}, {"secret": "WHOLE"}], ids=["prefix", "whole"]
)
def test_a_secret_in_a_header_arrives_and_is_shown_nowhere_even_when_the_service_repeats_it(
    room: EngineRoom, service: RestService, log: io.StringIO, path: str, header: dict[str, str]
) -> None:
    service.bearer = SECRET
    ask(room, f"{service.url}/{path}", headers={"Authorization": header})
    assert service.asked[0].headers["authorization"] == f"Bearer {SECRET}"
    tables = "task_log l, batch_task b, task_version v"
    kept = json.dumps(room.rows(f"SELECT to_jsonb(l)::text, to_jsonb(b)::text, to_jsonb(v)::text FROM {tables}"))
    assert SECRET not in kept
    assert SECRET not in log.getvalue()
    assert (HIDDEN in kept) is (path != "moved")


def test_a_token_that_is_repeated_without_the_word_before_it_is_not_shown_either(
    room: EngineRoom, service: RestService
) -> None:
    _, _, details = ask(room, f"{service.url}/token", headers={"Authorization": {"secret": "OTHER"}})
    assert details["response"] == {"your token": HIDDEN}


@pytest.mark.parametrize("length", range(900, 1010, 10))
def test_no_part_of_a_secret_is_left_where_an_answer_is_cut(
    room: EngineRoom, service: RestService, length: int
) -> None:
    service.fails["/text"] = [Answered(200, "x" * length + SECRET + "y" * 500)]
    _, _, details = ask(room, f"{service.url}/text", headers={"X-Token": {"secret": "TOKEN"}})
    assert "s3c" not in details["response"]


def test_a_secret_that_comes_back_in_a_completion_message_is_not_shown_either(
    room: EngineRoom, service: RestService
) -> None:
    config = {"url": f"{service.url}/orders", "method": "POST", "headers": {"X-Token": {"secret": "TOKEN"}}}
    details = {"kind": "http_request", "config": {**config, "wait_for_completion": True}, "awaits_completion": True}
    room.apply({"a": []}, details={"a": details})
    room.start()
    room.deliver_all()
    room.completed("a", result={"you sent": [SECRET]})
    assert room.rows("SELECT status, details FROM task_log") == [("SUCCESS", {"result": {"you sent": [HIDDEN]}})]


def test_a_secret_that_a_header_cannot_have_is_refused_without_showing_it(
    room: EngineRoom, service: RestService
) -> None:
    status, error, _ = ask(room, f"{service.url}/echo", headers={"X-Odd": {"secret": "ODD"}})
    assert (status, error) == ("ERROR", "the header X-Odd can have printable ASCII characters only")
    assert service.asked == []


def test_a_value_cannot_add_a_header(room: EngineRoom, service: RestService) -> None:
    status, error, _ = ask(room, f"{service.url}/echo", "x\r\nX-Evil: 1", headers={"X-Batch": "{batch_id}"})
    assert (status, error) == ("ERROR", "the header X-Batch can have printable ASCII characters only")
    assert service.asked == []


def test_a_secret_that_is_not_there_is_named_and_nothing_is_sent(room: EngineRoom, service: RestService) -> None:
    clients = Clients(SETTINGS.model_copy(update={"secret_manager_url": service.url}))
    room = EngineRoom(room.database, more_kinds=[HttpRequest(clients)])
    status, error, _ = ask(room, f"{service.url}/echo", headers={"X-Token": {"secret": "NOBODY"}})
    assert status == "ERROR"
    assert "there is no secret NOBODY" in error
    assert service.requests("GET", "/echo") == []
