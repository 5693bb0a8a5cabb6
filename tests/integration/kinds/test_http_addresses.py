"""Where a request may go, and what a workflow may say of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from run.clients.http import Http, Request
from run.errors import PassingFailure, PermanentFailure
from run.kinds.http_config import HttpRequestConfig, config_problems
from run.workflows.scope import Scope
from run.workflows.templates import NameType
from tests.servers.rest_service import RestService

URL = "https://service.example/orders"
SCOPE = Scope(names={"batch_id": NameType.TEXT, "period": NameType.DATE}, own_file=None)
SECRET = {"secret": "TOKEN"}


@pytest.fixture
def service() -> Iterator[RestService]:
    with RestService() as server:
        yield server


def problems(**config: Any) -> list[tuple[str, str]]:
    return list(config_problems(HttpRequestConfig.model_validate({"url": URL, **config}), SCOPE))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"url": "http://10.0.0.7:8080/in-the-network?x={period:%Y}"},
        {"url": "http://127.0.0.1:8080/here", "headers": {"X-Token": SECRET}},
        {"method": "POST", "body": {"of": "{batch_id} {attempt}", "regex": "{2}"}},
        {"headers": {"Authorization": {**SECRET, "prefix": "Bearer "}, "X-Batch": "{batch_id}"}},
        {"identity": "google", "audience": "https://other.example"},
        {"expected_status": [200, "404", "5xx", "410-412"]},
    ],
)
def test_what_is_sound_has_no_problem(config: dict[str, Any]) -> None:
    assert problems(**config) == []


@pytest.mark.parametrize(
    ("config", "key", "reason"),
    [
        ({"url": "service.example/orders"}, "url", "is no address"),
        ({"url": "ftp://service.example/"}, "url", "is no address"),
        ({"url": "https://service.example:many/"}, "url", "is no address"),
        ({"url": "https://[::1/"}, "url", "is no address"),
        ({"url": "https://{batch_id}.example/"}, "url", "host must be written out"),
        ({"url": "https://me:word@service.example/"}, "url", "name the secret in a header"),
        ({"url": URL + "#part"}, "url", "never sent"),
        ({"url": URL + "/{batch}"}, "url", "not a known name"),
        ({"url": "http://metadata.google.internal/computeMetadata/v1/"}, "url", "metadata server"),
        ({"url": "http://METADATA.google.internal./"}, "url", "metadata server"),
        ({"url": "http://169.254.169.254/computeMetadata/v1/"}, "url", "gives our credentials away"),
        ({"url": "http://[::ffff:169.254.169.254]/"}, "url", "gives our credentials away"),
        ({"url": "http://[fd20:ce::254]/"}, "url", "gives our credentials away"),
        ({"url": "http://service.example/", "headers": {"X-Token": SECRET}}, "url", "over https:// only"),
        ({"url": "http://service.example/", "identity": "google"}, "url", "over https:// only"),
        ({"headers": {"Authorization": "Bearer abc"}}, "headers", "instead of writing it"),
        ({"headers": {"x-api-key": "abc"}}, "headers", "instead of writing it"),
        ({"headers": {"Authorization": SECRET}, "identity": "google"}, "headers", "leave out one of them"),
        ({"headers": {"Idempotency-Key": "1"}}, "headers", "set by the service itself"),
        ({"headers": {"Host": "other.example"}}, "headers", "set by the service itself"),
        ({"headers": {"X Y": "1"}}, "headers", "no name of a header"),
        ({"headers": {"X-Batch": "{batch_ids}"}}, "headers", "did you mean 'batch_id'"),
        ({"body": {"a": ["{batch_ids}"]}, "method": "POST"}, "body", "did you mean 'batch_id'"),
        ({"body": {}}, "body", "a GET request has none"),
        ({"audience": "https://x.example"}, "audience", "identity: google only"),
    ],
)
def test_what_is_wrong_is_named(config: dict[str, Any], key: str, reason: str) -> None:
    [(where, why)] = problems(**config)
    assert where == key
    assert reason in why
    assert "abc" not in why


@pytest.mark.parametrize(
    "config",
    [
        {"expected_status": ["ok"]},
        {"expected_status": [99]},
        {"expected_status": []},
        {"request_timeout": "20m"},
        {"request_timeout": 0},
        {"method": "get"},
        {"headers": {"X-Token": {"secret": "not a name"}}},
    ],
)
def test_what_cannot_be_read_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        problems(**config)


def request(url: str) -> Request:
    return Request("GET", url, {}, None, 2)


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_on_cloud_run_no_request_reaches_the_service_itself_whatever_its_address_is_called(
    service: RestService, address: str
) -> None:
    url = service.url.replace("127.0.0.1", address)
    with pytest.raises(PermanentFailure, match="trusts what comes from inside"):
        Http(may_reach_itself=False).send(request(f"{url}/echo"))
    assert service.asked == []
    assert Http(may_reach_itself=True).send(request(f"{service.url}/echo")).status == 200


def test_a_name_that_leads_to_a_forbidden_address_is_judged_by_the_address(
    service: RestService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an author's own name server could answer; the resolver is the only part that is not real."""
    resolve = socket.getaddrinfo

    def answer(host: str, *args: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == "innocent.example" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with pytest.raises(PermanentFailure, match=r"no request may go to innocent\.example at 127\.0\.0\.1"):
        Http(may_reach_itself=False).send(request(service.url.replace("127.0.0.1", "innocent.example")))
    assert service.asked == []


def test_the_environment_s_proxy_and_netrc_are_not_used(
    service: RestService, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password of-ann\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    answered = Http(may_reach_itself=True).send(request(f"{service.url}/echo"))
    assert answered.status == 200
    assert "authorization" not in service.asked[0].headers


def test_a_service_whose_certificate_nobody_trusts_is_sent_nothing(service: RestService) -> None:
    with pytest.raises(PassingFailure, match="no connection to 127"):
        Http(may_reach_itself=True).send(request(service.url.replace("http://", "https://")))
    assert service.asked == []
