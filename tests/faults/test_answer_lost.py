"""What has taken effect, while its answer has not come, is not done twice, and nothing that follows from it is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from database.sessions import Database
from run.local.postgres import Postgres
from tests.faults.kill.http_proxy import HttpProxy, Request
from tests.faults.kill.points import Fault
from tests.faults.kill.real_parts import Servers, Works, local_servers
from tests.faults.kill.scenarios import SCENARIOS
from tests.faults.kill.theatre import Theatre, theatre

DATABASE = "lost"


@pytest.fixture(scope="module")
def losing(postgres: Postgres, migrated: str) -> Iterator[Theatre]:
    url = postgres.create_database(DATABASE, template=migrated)
    with theatre(url, Fault.LOST_ANSWER) as one:
        yield one
    postgres.drop_database(DATABASE)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_an_answer_of_the_database_of_pubsub_or_of_a_kinds_other_side_is_lost(losing: Theatre, name: str) -> None:
    played = losing.play(name)
    assert not played.failures, played.told
    assert played.faults > 0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with local_servers(tmp_path_factory.mktemp("lost")) as servers:
        yield servers


@pytest.fixture
def works(database: Database, database_url: str, servers: Servers) -> Works:
    return Works(database, database_url, servers)


def asks(method: str, path: str, word: bytes = b"") -> Callable[[Request], bool]:
    """Whether a request is the one whose answer shall be lost."""
    return lambda request: request.method == method and path in request.path and word in request.body


CALLS = {
    "the load job is submitted": ("bigquery", asks("POST", "/jobs", b'"sourceUris"')),
    "the rows are written": ("bigquery", asks("POST", "/jobs", b"INSERT INTO")),
    "the file is copied": ("storage", asks("POST", "/rewriteTo/")),
    "the file is deleted": ("storage", asks("DELETE", "/b/landing/o/")),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_answer_of_bigquery_or_cloud_storage_is_lost(works: Works, call: str) -> None:
    server, is_it = CALLS[call]
    address = {"bigquery": works.servers.bigquery, "storage": works.servers.storage}[server]
    with HttpProxy(address) as proxy, works.service(**{f"{server.upper()}_EMULATOR_HOST": proxy.url}) as service:
        works.store(service, works.append_and_archive)
        works.land(service, b"id,amount\n1,10\n2,20\n3,30\n")
        proxy.lose_answer(is_it)
        works.deliver_until_quiet(service)
        assert len(proxy.lost) == 1
    assert works.statuses() == {"load": "SUCCESS", "keep": "SUCCESS"}
    assert works.log("load") == works.log("keep") == [(1, "SUCCESS", None)]
    assert works.count_rows("sales") == 3
    assert works.objects("landing") == []
    assert works.objects("archive") == [f"{works.name}/2024-03/2024-03.csv"]
