"""A refresh in the hands of the engine: let go of, found again after a death, ended, tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from pydantic import SecretStr

from database.sessions import Database
from run.clients import Clients
from run.clients.power_bi import Dataset, History
from run.kinds.kind import Progress, Work
from run.kinds.power_bi_refresh import PowerBiRefresh
from run.kinds.refresh_options import PowerBiRefreshConfig
from run.settings import Settings
from tests.engine_room import ME, EngineRoom
from tests.servers.microsoft_login import CLIENT_ID, SECRET, TENANT, MicrosoftLogin
from tests.servers.power_bi import CREDENTIALS, DATASET, GATEWAY, REPORT, WORKSPACE, PowerBiServer, failed
from tests.servers.wire import Answered

APP = {"workspace": WORKSPACE, "tenant": TENANT, "client_id": CLIENT_ID, "client_secret": {"secret": "POWER_BI"}}
STANDARD = {**APP, "dataset": DATASET}
ENHANCED = {**STANDARD, "type": "full", "partitions": {"Sales": ["Sales-{batch_id}"]}}
POST = f"POST /v1.0/myorg/groups/{WORKSPACE}/datasets/{DATASET}/refreshes"
each_way = pytest.mark.parametrize("config", [STANDARD, ENHANCED], ids=["standard", "enhanced"])


class Killed(BaseException):
    """The death of a process."""


class DiesAfterThePost(PowerBiRefresh):
    """The same kind in a process that dies when it has asked for a refresh, before anybody knows."""

    def poll(self, config: PowerBiRefreshConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        super().poll(config, work, handle)
        raise Killed


@pytest.fixture
def power_bi() -> Iterator[PowerBiServer]:
    """Power BI, in which a refresh goes on until the test ends it."""
    with MicrosoftLogin() as login, PowerBiServer(login) as server:
        server.held = True
        yield server


@pytest.fixture
def clients(power_bi: PowerBiServer) -> Clients:
    return Clients(
        Settings(
            database_url="postgresql://nobody@localhost/none",
            project="local",
            landing_bucket="landing",
            power_bi_url=power_bi.url,
            microsoft_login_url=power_bi.login.url,
            secrets={"POWER_BI": SecretStr(SECRET)},
        )
    )


@pytest.fixture
def room(database: Database, clients: Clients) -> EngineRoom:
    return EngineRoom(database, more_kinds=[PowerBiRefresh(clients)])


def begin(room: EngineRoom, config: Mapping[str, Any] = STANDARD, **details: Any) -> None:
    """Start a batch in which the refresh follows a load, and deliver its messages."""
    told = {"kind": "power_bi_refresh", "config": dict(config), **details}
    room.apply({"load": [], "refresh": ["load"], "mail": ["refresh"]}, details={"refresh": told})
    room.start()
    room.deliver_all()


def go_on(room: EngineRoom, seconds: float = 31) -> None:
    room.pass_time(seconds)
    room.sweep()
    room.deliver_all()


@pytest.mark.parametrize(
    "config", [STANDARD, ENHANCED, {**APP, "report": REPORT}], ids=["standard", "enhanced", "report"]
)
def test_what_follows_starts_when_power_bi_says_that_the_refresh_is_done(
    room: EngineRoom, power_bi: PowerBiServer, config: dict[str, Any]
) -> None:
    begin(room, config)
    for _ in range(3):
        go_on(room)
        assert room.statuses() == {"load": "SUCCESS", "refresh": "PROCESSING", "mail": "WAITING"}
    [ours] = power_bi.ours()
    power_bi.end(ours)
    go_on(room)
    assert room.statuses() == {"load": "SUCCESS", "refresh": "SUCCESS", "mail": "SUCCESS"}
    [(kept,)] = room.rows("SELECT details FROM task_log JOIN task USING (task_id) WHERE name = 'refresh'")
    assert (kept["refresh_id"], kept["dataset"], kept["adopted"]) == (ours["requestId"], DATASET, False)
    assert len(power_bi.requests("POST")) == 1


def test_the_moment_is_in_the_database_before_power_bi_is_asked_for_a_refresh(
    room: EngineRoom, power_bi: PowerBiServer
) -> None:
    stored: list[dict[str, Any]] = []
    known = power_bi.has("Scheduled", timedelta(hours=1), lasted=timedelta(minutes=1))
    power_bi.on_refresh = lambda: stored.extend(
        handle for (handle,) in room.rows("SELECT handle FROM batch_task WHERE handle IS NOT NULL")
    )
    begin(room)
    [handle] = stored
    assert handle["known"] == [known["requestId"]]


@each_way
@pytest.mark.parametrize("is_over", [False, True])
def test_a_worker_that_dies_after_asking_is_followed_by_one_that_adopts_its_refresh(
    room: EngineRoom, power_bi: PowerBiServer, clients: Clients, config: dict[str, Any], *, is_over: bool
) -> None:
    dying = EngineRoom(room.database, publisher=room.publisher, more_kinds=[DiesAfterThePost(clients)])
    with pytest.raises(Killed):
        begin(dying, config)
    assert len(power_bi.ours()) == 1
    if is_over:
        power_bi.end_all()
    go_on(room, 120)
    assert room.rows("SELECT sum(takeovers) FROM batch_task") == [(1,)]
    power_bi.end_all()
    go_on(room)
    assert [status for _, status, _ in room.log("refresh")] == ["SUCCESS"]
    assert len(power_bi.requests("POST")) == 1


@each_way
def test_a_lost_answer_costs_no_second_refresh(
    room: EngineRoom, power_bi: PowerBiServer, config: dict[str, Any]
) -> None:
    power_bi.loses[POST] = 1
    begin(room, config)
    assert room.log("refresh") == [(1, "PROCESSING", None)]
    go_on(room)
    power_bi.end_all()
    go_on(room)
    assert room.log("refresh") == [(1, "SUCCESS", None)]
    assert len(power_bi.requests("POST")) == 1


@each_way
def test_two_workers_of_one_attempt_that_ask_at_the_same_time_follow_one_refresh(
    power_bi: PowerBiServer, clients: Clients, config: dict[str, Any], room: EngineRoom
) -> None:
    """One was frozen when the other took over; both have looked, and then both ask."""
    kind, work = PowerBiRefresh(clients), _work()
    checked = kind.config.model_validate(config)
    begun = kind.start(checked, work)
    handle = begun.handle  # type: ignore[union-attr]
    power_bi.slow[POST] = 0.3
    seen: list[Progress] = []
    threads = [threading.Thread(target=lambda: seen.append(kind.poll(checked, work, handle))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    followed = {kind.poll(checked, work, one.handle).handle["refresh"] for one in seen}  # type: ignore[union-attr]
    assert len(power_bi.requests("POST")) == 2
    assert [one["requestId"] for one in power_bi.ours()] == list(followed)


def sleep_before_asking(clients: Clients, meanwhile: Callable[[], object]) -> None:
    """Let the first worker sleep after it has seen that nothing is in the way of a refresh."""
    power_bi = clients.power_bi(TENANT, CLIENT_ID, SECRET)
    look, looks = power_bi.history, count(1)

    def history(dataset: Dataset) -> History:
        seen = look(dataset)
        if next(looks) == 2:
            meanwhile()
        return seen

    power_bi.history = history  # type: ignore[method-assign]


@each_way
def test_a_worker_that_slept_before_asking_begins_nothing_when_another_has_refreshed_meanwhile(
    room: EngineRoom, power_bi: PowerBiServer, clients: Clients, config: dict[str, Any]
) -> None:
    def be_taken_over() -> None:
        room.pass_time(120)
        room.execute("refresh")
        power_bi.end_all()
        go_on(room)

    sleep_before_asking(clients, be_taken_over)
    begin(room, config)
    assert room.log("refresh") == [(1, "SUCCESS", None)]
    assert len(power_bi.requests("POST")) == 1


@each_way
def test_a_worker_that_slept_before_asking_begins_nothing_for_a_batch_that_was_cancelled_meanwhile(
    room: EngineRoom, power_bi: PowerBiServer, clients: Clients, config: dict[str, Any]
) -> None:
    def be_cancelled() -> None:
        room.moves.cancel_batch("cake", "2024-03", ME)
        room.pass_time(600)
        room.sweep()

    sleep_before_asking(clients, be_cancelled)
    begin(room, config)
    assert power_bi.requests("POST") == []
    go_on(room, 600)
    assert room.rows("SELECT * FROM cancellation") == []


def test_two_batches_that_need_the_dataset_share_a_refresh_that_began_after_both(
    room: EngineRoom, power_bi: PowerBiServer
) -> None:
    other = power_bi.has("OnDemand", timedelta(minutes=1))
    begin(room)
    room.start("2024-04")
    room.deliver_all()
    power_bi.end(other)
    go_on(room)
    assert len(power_bi.ours()) == 1
    power_bi.end_all()
    for _ in range(2):
        go_on(room)
    assert room.statuses()["refresh"] == room.statuses("2024-04")["refresh"] == "SUCCESS"
    assert len(power_bi.ours()) == 1


@pytest.mark.parametrize("seconds", ["9" * 20, "9" * 400])
def test_a_power_bi_that_names_no_sensible_time_is_asked_again_within_a_day(
    room: EngineRoom, power_bi: PowerBiServer, seconds: str
) -> None:
    power_bi.fails[POST] = [Answered(429, {"message": "You have exceeded the amount"}, {"Retry-After": seconds})]
    begin(room)
    assert room.statuses()["refresh"] == "PROCESSING"
    go_on(room, 24 * 3600)
    assert len(power_bi.ours()) == 1


def test_a_cancelled_enhanced_refresh_ends_at_power_bi(room: EngineRoom, power_bi: PowerBiServer) -> None:
    begin(room, ENHANCED)
    room.moves.cancel_batch("cake", "2024-03", ME)
    for _ in range(2):
        go_on(room, 600)
    assert power_bi.ours()[0]["status"] == "Cancelled"
    assert room.rows("SELECT * FROM cancellation") == []


def test_a_standard_refresh_that_takes_too_long_is_awaited_before_the_next_attempt(
    room: EngineRoom, power_bi: PowerBiServer
) -> None:
    begin(room, timeout_seconds=600, retries=1)
    for _ in range(3):
        go_on(room, 700)
    assert room.log("refresh") == [(1, "ERROR", "timed out after 600 s")]
    [(problem,)] = room.rows("SELECT problem FROM cancellation")
    assert "cannot be cancelled; its end is awaited" in problem
    power_bi.end_all()
    go_on(room, 700)
    assert [status for _, status, _ in room.log("refresh")] == ["ERROR", "PROCESSING"]
    assert len(power_bi.ours()) == 2


def test_an_enhanced_refresh_that_takes_too_long_is_cancelled(room: EngineRoom, power_bi: PowerBiServer) -> None:
    begin(room, ENHANCED, timeout_seconds=600)
    for _ in range(3):
        go_on(room, 700)
    assert room.log("refresh") == [(1, "ERROR", "timed out after 600 s")]
    assert power_bi.ours()[0]["status"] == "Cancelled"
    assert room.rows("SELECT * FROM cancellation") == []


def test_after_a_failed_refresh_a_retry_asks_for_one_of_its_own(room: EngineRoom, power_bi: PowerBiServer) -> None:
    begin(room, retries=1)
    power_bi.end_all(**failed(GATEWAY))
    go_on(room)
    [(_, status, error)] = room.log("refresh")
    assert status == "ERROR"
    assert "DM_GWPipeline_Gateway_TimeoutError: The gateway took too long." in error
    go_on(room, 4000)
    assert [one["status"] for one in power_bi.ours()] == ["Unknown", "Failed"]
    power_bi.end_all()
    go_on(room)
    assert [status for _, status, _ in room.log("refresh")] == ["ERROR", "SUCCESS"]
    assert room.batch_status() == "SUCCESS"


def test_a_refresh_that_cannot_succeed_is_not_tried_again_and_skips_what_follows(
    room: EngineRoom, power_bi: PowerBiServer
) -> None:
    begin(room, retries=3)
    power_bi.end_all(**failed(CREDENTIALS))
    go_on(room)
    assert room.statuses() == {"load": "SUCCESS", "refresh": "ERROR", "mail": "SKIPPED:upstream_failed"}
    go_on(room, 4000)
    assert len(power_bi.ours()) == 1
    [(kept,)] = room.rows("SELECT details FROM task_log WHERE status = 'ERROR'")
    assert kept["error"] == CREDENTIALS["errorCode"]


def test_no_row_has_the_secret_or_a_token(room: EngineRoom, power_bi: PowerBiServer) -> None:
    begin(room, retries=1)
    [token] = power_bi.login.tokens
    power_bi.end_all(status="Failed", serviceExceptionJson=f"{token} and {SECRET} were seen")
    go_on(room)
    kept = str(room.rows("SELECT to_jsonb(l), to_jsonb(b), to_jsonb(v) FROM task_log l, batch_task b, task_version v"))
    assert "[hidden] and [hidden] were seen" in kept
    assert token not in kept
    assert SECRET not in kept


def _work() -> Work:
    work = Work("w", "2024-03", "refresh", 1, "b", {"batch_id": "2024-03"}, {}, {}, {})
    return replace(work, store_handle=lambda _handle: None)
