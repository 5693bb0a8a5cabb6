"""Tasks whose work is done by another service, and a proxy before that service which kills whoever asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.faults.kill.http_proxy import HttpProxy, Request
from tests.integration.kinds.dataform_room import ACTIONS, LONG_AGO
from tests.servers.cloud_run import CloudRun
from tests.servers.dataform import DataformServer
from tests.servers.microsoft_login import CLIENT_ID, SECRET, TENANT, MicrosoftLogin
from tests.servers.power_bi import DATASET, WORKSPACE, PowerBiServer
from tests.servers.rest_service import RestService
from tests.servers.wire import Answered, Asked, WireServer


@dataclass(frozen=True)
class Service:
    """Another service, a task that asks it, and how often it has done what the task wants."""

    server: WireServer
    kind: str
    config: Mapping[str, Any]
    #: The variable that says where the service is; without one the address is in the configuration.
    variable: str | None
    #: How often the service has done the work of all tasks so far.
    done: Callable[[], int]
    environment: Mapping[str, str]
    #: Whether a task that lost its worker may end as ERROR, because nobody can know how its work ended.
    may_be_unknown: bool = False


@contextmanager
def power_bi() -> Iterator[Service]:
    """A refresh, which is done when it is asked for."""
    config = {
        "workspace": WORKSPACE,
        "dataset": DATASET,
        "type": "full",
        "tenant": TENANT,
        "client_id": CLIENT_ID,
        "client_secret": {"secret": "POWER_BI"},
    }
    with MicrosoftLogin() as login, PowerBiServer(login) as server:
        environment = {"MICROSOFT_LOGIN_URL": login.url, "SECRET_POWER_BI": SECRET}
        yield Service(server, "power_bi_refresh", config, "POWER_BI_URL", lambda: len(server.ours()), environment)


@contextmanager
def dataform() -> Iterator[Service]:
    """A run of one action, which is done when it is asked for."""
    config = {
        "project": "acme",
        "location": "europe-west1",
        "repository": "sales",
        "commit": "main",
        "targets": ["reports.daily_sales_summary"],
    }
    with QuickDataform() as server:
        server.age = LONG_AGO
        server.repository(actions=dict(ACTIONS))
        yield Service(server, "dataform_run", config, "DATAFORM_URL", lambda: len(server.invocations), {})


class QuickDataform(DataformServer):
    """Ends every invocation before it is looked at."""

    def answer(self, asked: Asked) -> Answered:
        if asked.method == "GET":
            self.end()
        return super().answer(asked)


@contextmanager
def cloud_run() -> Iterator[Service]:
    """An execution of a job, which ends at once."""
    config = {"job": "extract", "location": "europe-west1"}
    with CloudRun() as server:
        server.ends = "succeeded"
        yield Service(server, "cloud_run_job", config, "CLOUD_RUN_URL", lambda: len(server.executions), {})


@contextmanager
def repeatable_request() -> Iterator[Service]:
    """A request that the other side takes once, however often it comes."""
    with RestService() as server:
        config = {"method": "PUT", "url": "/orders", "body": {"batch": "{batch_id}"}}
        yield Service(server, "http_request", config, None, lambda: len(server.orders), {})


@contextmanager
def request_that_must_not_be_repeated() -> Iterator[Service]:
    """A request that may have been carried out when its answer does not come."""
    with RestService() as server:
        config = {"method": "POST", "url": "/orders", "body": {"batch": "{batch_id}"}}
        done = lambda: len(server.requests("POST"))  # noqa: E731
        yield Service(server, "http_request", config, None, done, {}, may_be_unknown=True)


SERVICES = {
    "a run of Dataform": dataform,
    "a refresh of Power BI": power_bi,
    "a job of Cloud Run": cloud_run,
    "a request that may be repeated": repeatable_request,
    "a request that must not be repeated": request_that_must_not_be_repeated,
}


class DeadlyProxy(HttpProxy):
    """Counts requests; around the one with the number `at`, `strike` is called, before or after it takes effect."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.count = 0
        self.at: tuple[str, int] | None = None
        self.strike: Callable[[], object] = bool

    def expect(self, moment: str, number: int, strike: Callable[[], object]) -> None:
        """Strike around the request of this number from now on."""
        self.count, self.at, self.strike = 0, (moment, number), strike

    def wait_while_held(self, request: Request) -> None:
        super().wait_while_held(request)
        self.count += 1
        if self.at == ("before", self.count):
            self.strike()

    def is_lost(self, request: Request) -> bool:
        if self.at == ("after", self.count):
            self.at = None
            self.strike()
            return True
        return super().is_lost(request)
