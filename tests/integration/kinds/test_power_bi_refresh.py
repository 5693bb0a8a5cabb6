"""A refresh of Power BI: what is asked for, what is adopted, what is refused, and what is shown of the secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from run.clients import Clients
from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.kinds.kind import Finished, GoesOn, Progress, Work
from run.kinds.power_bi_refresh import PowerBiRefresh
from run.kinds.refresh_options import PowerBiRefreshConfig
from run.logs import configure_logging
from run.settings import Settings
from run.workflows.scope import Scope
from run.workflows.templates import NameType, Value
from tests.servers.microsoft_login import CLIENT_ID, SECRET, TENANT, MicrosoftLogin
from tests.servers.power_bi import (
    CREDENTIALS,
    DATASET,
    GATEWAY,
    OTHER_DATASET,
    OTHER_REPORT,
    OTHER_WORKSPACE,
    REPORT,
    WORKSPACE,
    PowerBiServer,
    failed,
)
from tests.servers.wire import Answered

APP = {"tenant": TENANT, "client_id": CLIENT_ID, "client_secret": {"secret": "POWER_BI"}}
STANDARD: dict[str, Any] = {"workspace": WORKSPACE, "dataset": DATASET, **APP}
ENHANCED = {**STANDARD, "type": "full", "tables": ["Sales"]}
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
REFRESHES = f"/datasets/{DATASET}/refreshes"
each_way = pytest.mark.parametrize("config", [STANDARD, ENHANCED], ids=["standard", "enhanced"])
each_standard = pytest.mark.parametrize("other", ["Scheduled", "OnDemand", "ViaApi"])


@pytest.fixture
def login() -> Iterator[MicrosoftLogin]:
    with MicrosoftLogin() as server:
        yield server


@pytest.fixture
def server(login: MicrosoftLogin) -> Iterator[PowerBiServer]:
    with PowerBiServer(login) as server:
        yield server


def settings(login: MicrosoftLogin, server: PowerBiServer, **secrets: str) -> Settings:
    return Settings(
        database_url="postgresql://nobody@localhost/none",
        project="local",
        landing_bucket="landing",
        power_bi_url=server.url,
        microsoft_login_url=login.url,
        secrets={name: SecretStr(value) for name, value in {"POWER_BI": SECRET, **secrets}.items()},
    )


@dataclass
class Attempt:
    """One attempt at a refresh, in the hands of one process; its handle is kept as the database would."""

    kind: PowerBiRefresh
    config: dict[str, Any]
    values: dict[str, Value] = field(default_factory=dict)
    handle: dict[str, Any] | None = None
    waits: list[float] = field(default_factory=list)

    @property
    def work(self) -> Work:
        return Work(
            batch_uid="b",
            workflow="w",
            batch_id="2024-03",
            task="refresh",
            attempt=1,
            values=self.values,
            params={},
            batch_values={},
            files={},
            # Nobody takes the attempt away here; tests/integration/kinds/test_power_bi_in_the_engine.py does.
            store_handle=lambda _handle: None,
        )

    def look(self) -> Progress:
        """Do the next call of the engine."""
        config = self.kind.config.model_validate(self.config)
        if self.handle is None:
            progress = self.kind.start(config, self.work)
        else:
            progress = self.kind.poll(config, self.work, self.handle)
        if isinstance(progress, GoesOn):
            self.handle = json.loads(json.dumps(progress.handle))
            self.waits.append(progress.poll_after)
        return progress

    def finish(self) -> Finished:
        for _ in range(30):
            progress = self.look()
            if isinstance(progress, Finished):
                return progress
        raise AssertionError("not done after 30 looks")

    def looks(self, times: int) -> None:
        for _ in range(times):
            assert isinstance(self.look(), GoesOn)

    def cancel(self) -> bool:
        return self.kind.cancel(self.kind.config.model_validate(self.config), self.work, self.handle)


@pytest.fixture
def kind(login: MicrosoftLogin, server: PowerBiServer) -> PowerBiRefresh:
    return PowerBiRefresh(Clients(settings(login, server)))


def quicker(server: PowerBiServer, other: str) -> list[dict[str, Any]]:
    """Let another refresh begin right before our first request for one; it is in the list then."""
    others: list[dict[str, Any]] = []

    def begin() -> None:
        if not others:
            others.append(server.has(other, timedelta()))

    server.on_refresh = begin
    return others


# What is asked for.


@each_way
def test_a_refresh_is_asked_for_once_and_success_is_what_power_bi_confirms(
    kind: PowerBiRefresh, server: PowerBiServer, config: dict[str, Any]
) -> None:
    server.held = True
    attempt = Attempt(kind, config)
    attempt.looks(5)
    [ours] = server.ours()
    server.end(ours)
    details = attempt.finish().details
    assert (details["refresh_id"], details["status"], details["adopted"]) == (ours["requestId"], "Completed", False)
    assert len(server.requests("POST")) == 1


def test_nothing_is_asked_for_before_the_moment_is_stored(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    known = server.has("Scheduled", HOUR, lasted=MINUTE)
    attempt = Attempt(kind, STANDARD)
    attempt.looks(1)
    assert attempt.waits == [0]
    assert server.requests("POST") == []
    assert attempt.handle is not None
    assert attempt.handle["known"] == [known["requestId"]]
    assert attempt.handle["told_at"].startswith("2024-03-16T12:00:0"), "the clock is Power BI's"


def test_a_standard_refresh_says_nothing_but_that_nobody_is_to_get_mail(
    kind: PowerBiRefresh, server: PowerBiServer
) -> None:
    server.is_shared = True
    Attempt(kind, STANDARD).finish()
    assert server.ours()[0]["request"] == {"notifyOption": "NoNotification"}


def test_an_enhanced_refresh_says_what_the_task_says(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    more = {
        "type": "data_only",
        "tables": ["Shops", "T_{period:%Y}"],
        "partitions": {"Sales": ["Sales-{period:%Y-%m}"]},
        "commit_mode": "partial_batch",
        "apply_refresh_policy": False,
        "max_parallelism": 4,
        "retry_count": 2,
        "attempt_timeout": "90m",
    }
    Attempt(kind, {**STANDARD, **more}, {"period": date(2024, 3, 1)}).finish()
    assert server.ours()[0]["request"] == {
        "type": "DataOnly",
        "commitMode": "PartialBatch",
        "objects": [
            {"table": "Shops"},
            {"table": "T_2024"},
            {"table": "Sales", "partition": "Sales-2024-03"},
        ],
        "applyRefreshPolicy": False,
        "maxParallelism": 4,
        "retryCount": 2,
        "timeout": "01:30:00",
    }


def test_the_policy_may_take_another_date_for_today(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    config = {**STANDARD, "apply_refresh_policy": True, "effective_date": "{period:%Y-%m-31}"}
    Attempt(kind, config, {"period": date(2024, 3, 1)}).finish()
    assert server.ours()[0]["request"]["effectiveDate"] == "2024-03-31T00:00:00Z"
    with pytest.raises(PermanentFailure, match="'2024-02-31' is no date"):
        Attempt(kind, config, {"period": date(2024, 2, 1)}).finish()


def test_the_ids_may_be_templates(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    config = {**STANDARD, "dataset": "{dataset}", "tenant": "{tenant}"}
    Attempt(kind, config, {"dataset": DATASET, "tenant": TENANT}).finish()
    assert len(server.ours()) == 1
    with pytest.raises(PermanentFailure, match=r"dataset: '\.\./x' is no id"):
        Attempt(kind, config, {"dataset": "../x", "tenant": TENANT}).finish()


def test_a_report_stands_for_its_dataset(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    details = Attempt(kind, {**APP, "workspace": WORKSPACE, "report": REPORT}).finish().details
    assert details["dataset"] == DATASET
    assert len(server.ours()) == 1


def test_the_dataset_of_a_report_may_live_in_another_workspace(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    server.datasets_of_reports[OTHER_REPORT] = OTHER_DATASET
    report = {**APP, "workspace": WORKSPACE, "report": OTHER_REPORT}
    with pytest.raises(PermanentFailure, match=f"dataset {OTHER_DATASET} of workspace {WORKSPACE}.* 404"):
        Attempt(kind, report).finish()
    Attempt(kind, {**report, "dataset_workspace": OTHER_WORKSPACE}).finish()
    assert len(server.ours(OTHER_DATASET)) == 1


def test_a_report_without_a_dataset_is_refused(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    server.datasets_of_reports[REPORT] = None
    with pytest.raises(PermanentFailure, match=f"report {REPORT} .* has no dataset"):
        Attempt(kind, {**APP, "workspace": WORKSPACE, "report": REPORT}).finish()


def test_the_longer_a_refresh_takes_the_rarer_it_is_asked_for(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    server.held = True
    attempt = Attempt(kind, STANDARD)
    attempt.looks(3)
    for passed in (MINUTE, HOUR):
        server.passed += passed
        attempt.looks(1)
    assert attempt.waits == [0, 5, 5, pytest.approx(15, abs=1), 30]


# One refresh at a time, and which one is adopted.


@each_way
def test_a_refresh_that_was_running_before_is_waited_for_and_then_comes_ours(
    kind: PowerBiRefresh, server: PowerBiServer, config: dict[str, Any]
) -> None:
    other = server.has("Scheduled", MINUTE)
    attempt = Attempt(kind, config)
    attempt.looks(4)
    assert server.requests("POST") == []
    server.end(other)
    assert attempt.finish().details["adopted"] is False
    assert len(server.ours()) == 1


def test_a_refresh_that_was_running_before_is_not_adopted_when_it_shows_late(
    kind: PowerBiRefresh, server: PowerBiServer
) -> None:
    attempt = Attempt(kind, STANDARD)
    attempt.looks(1)
    late = server.has("ViaApi", MINUTE, lasted=MINUTE)
    assert attempt.finish().details["refresh_id"] != late["requestId"]
    assert len(server.ours()) == 1


@each_way
def test_when_power_bi_refuses_a_second_refresh_ours_comes_later(
    kind: PowerBiRefresh, server: PowerBiServer, config: dict[str, Any]
) -> None:
    """Another one begins between the look and the request; it does less than this task is to do."""
    others = quicker(server, "ViaXmlaEndpoint")
    attempt = Attempt(kind, config)
    attempt.looks(4)
    assert (len(server.requests("POST")), server.ours()) == (1, [])
    server.end(others[0])
    assert attempt.finish().details["adopted"] is False
    assert len(server.ours()) == 1


@each_standard
@pytest.mark.parametrize("is_over", [False, True])
def test_a_standard_refresh_that_began_after_the_moment_is_adopted(
    kind: PowerBiRefresh, server: PowerBiServer, other: str, *, is_over: bool
) -> None:
    attempt = Attempt(kind, STANDARD)
    attempt.looks(1)
    server.passed = MINUTE
    theirs = server.has(other, timedelta(seconds=30), lasted=timedelta(seconds=10) if is_over else None)
    if not is_over:
        attempt.looks(2)
        server.end(theirs)
    details = attempt.finish().details
    assert (details["refresh_id"], details["adopted"]) == (theirs["requestId"], True)
    assert server.requests("POST") == []


def test_a_refresh_that_was_refused_for_one_that_began_after_the_moment_adopts_that(
    kind: PowerBiRefresh, server: PowerBiServer
) -> None:
    others = quicker(server, "Scheduled")
    attempt = Attempt(kind, STANDARD)
    attempt.looks(3)
    server.end(others[0])
    assert attempt.finish().details["refresh_id"] == others[0]["requestId"]
    assert len(server.requests("POST")) == 1


def test_a_scheduled_refresh_that_has_failed_takes_nothing_from_us(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    attempt = Attempt(kind, STANDARD)
    attempt.looks(1)
    server.end(server.has("Scheduled", timedelta()), **failed(GATEWAY))
    assert attempt.finish().details["adopted"] is False


@pytest.mark.parametrize(
    "request_of_other",
    [
        {"type": "Full", "commitMode": "Transactional", "objects": [{"table": "Shops"}]},
        {"type": "Calculate", "commitMode": "Transactional", "objects": [{"table": "Sales"}]},
    ],
    ids=["another table", "another type"],
)
def test_an_enhanced_refresh_of_something_else_is_waited_for_and_not_adopted(
    kind: PowerBiRefresh, server: PowerBiServer, request_of_other: dict[str, Any]
) -> None:
    attempt = Attempt(kind, ENHANCED)
    attempt.looks(1)
    other = server.has("ViaEnhancedApi", timedelta()) | {"held": True}
    server.refreshes[DATASET][0]["request"] = request_of_other
    server.held = True
    attempt.looks(2)
    assert server.requests("POST") == []
    server.held = False
    assert attempt.finish().details["refresh_id"] != other["requestId"]
    assert len(server.requests("POST")) == 1


def test_a_refresh_that_the_history_never_ended_does_not_block_for_ever(
    kind: PowerBiRefresh, server: PowerBiServer
) -> None:
    server.has("Scheduled", timedelta(hours=25))
    attempt = Attempt(kind, STANDARD)
    attempt.looks(2)
    assert len(server.requests("POST")) == 1


# Answers that do not come.


@each_way
def test_after_a_lost_answer_the_refresh_is_found_and_not_begun_again(
    kind: PowerBiRefresh, server: PowerBiServer, config: dict[str, Any]
) -> None:
    server.held = True
    server.loses["POST " + f"/v1.0/myorg/groups/{WORKSPACE}{REFRESHES}"] = 1
    attempt = Attempt(kind, config)
    attempt.looks(1)
    with pytest.raises(Unavailable, match="no answer to POST"):
        attempt.look()
    attempt.looks(2)
    server.held = False
    details = attempt.finish().details
    [ours] = server.ours()
    assert (details["refresh_id"], details["adopted"]) == (ours["requestId"], True)
    assert len(server.requests("POST")) == 1


@pytest.mark.parametrize("status", [408, 500, 503])
def test_a_request_that_may_have_been_heard_is_looked_for_before_it_is_repeated(
    kind: PowerBiRefresh, server: PowerBiServer, status: int
) -> None:
    server.fails[f"POST /v1.0/myorg/groups/{WORKSPACE}{REFRESHES}"] = [Answered(status)]
    attempt = Attempt(kind, STANDARD)
    attempt.looks(1)
    with pytest.raises(Unavailable, match=str(status)):
        attempt.look()
    attempt.finish()
    asked = [one.method for one in server.asked]
    assert asked == ["GET", "GET", "POST", "GET", "POST", "GET"]


def test_a_refresh_that_the_history_shows_late_is_not_begun_again(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    server.hidden_looks = 4
    assert Attempt(kind, STANDARD).finish().details["adopted"] is False
    assert len(server.requests("POST")) == 1


def test_a_lost_answer_and_a_late_history_are_one_refresh_all_the_same(
    kind: PowerBiRefresh, server: PowerBiServer
) -> None:
    server.held, server.hidden_looks = True, 2
    server.loses[f"POST /v1.0/myorg/groups/{WORKSPACE}{REFRESHES}"] = 1
    attempt = Attempt(kind, STANDARD)
    attempt.looks(1)
    with pytest.raises(Unavailable):
        attempt.look()
    attempt.looks(4)
    server.held = False
    attempt.finish()
    assert len(server.ours()) == 1


def test_a_refresh_that_power_bi_drops_is_given_up_after_some_minutes(
    kind: PowerBiRefresh, server: PowerBiServer
) -> None:
    server.drops = True
    attempt = Attempt(kind, STANDARD)
    attempt.looks(3)
    with pytest.raises(Unavailable, match="does not show yet"):
        attempt.cancel()
    server.passed = 9 * MINUTE
    attempt.looks(1)
    server.passed = 11 * MINUTE
    with pytest.raises(PassingFailure, match=r"has accepted refresh .* and does not show it"):
        attempt.look()
    assert attempt.cancel() is True
    assert len(server.requests("POST")) == 1


@pytest.mark.parametrize("status", [502, 503])
def test_a_power_bi_that_does_not_answer_is_asked_again_later(
    kind: PowerBiRefresh, server: PowerBiServer, status: int
) -> None:
    server.fails[REFRESHES] = [Answered(status)] * 4
    attempt = Attempt(kind, STANDARD)
    with pytest.raises(Unavailable):
        attempt.look()
    attempt.finish()


@pytest.mark.parametrize("looks", [0, 1, 2])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_too_many_requests_wait_as_long_as_power_bi_says(
    kind: PowerBiRefresh, server: PowerBiServer, method: str, looks: int
) -> None:
    attempt = Attempt(kind, STANDARD)
    attempt.looks(looks)
    path = f"{method} /v1.0/myorg/groups/{WORKSPACE}{REFRESHES}"
    server.fails[path] = [Answered(429, {"message": "You have exceeded the amount"}, {"Retry-After": "3392"})]
    attempt.finish()
    assert attempt.waits.count(3392) == (0 if (method, looks) == ("POST", 2) else 1)
    assert len(server.ours()) == 1


# How a refresh ends.


def test_a_failed_refresh_is_a_passing_failure_with_power_bi_s_own_reason(
    kind: PowerBiRefresh, server: PowerBiServer
) -> None:
    server.ends = [failed(GATEWAY)]
    with pytest.raises(PassingFailure, match="DM_GWPipeline_Gateway_TimeoutError: The gateway took too long") as caught:
        Attempt(kind, STANDARD).finish()
    assert caught.value.details["error"] == "DM_GWPipeline_Gateway_TimeoutError: The gateway took too long."
    assert caught.value.details["refresh_id"] == server.ours()[0]["requestId"]


def test_the_messages_of_an_enhanced_refresh_are_its_reason(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    messages = [{"code": "0xC11C0020", "message": "The column Amount was not found.", "type": "Error"}]
    server.ends = [{"status": "Failed", "extendedStatus": "Failed", "messages": messages}]
    with pytest.raises(PassingFailure, match="0xC11C0020: The column Amount was not found"):
        Attempt(kind, ENHANCED).finish()


@pytest.mark.parametrize(
    ("how", "failure", "words"),
    [
        (failed(CREDENTIALS), PermanentFailure, "CredentialsNotSpecified"),
        ({"status": "Failed", "serviceExceptionJson": "no JSON at all"}, PassingFailure, "no JSON at all"),
        ({"status": "Failed"}, PassingFailure, "no reason was given"),
        ({"status": "Disabled"}, PermanentFailure, "ended as Disabled"),
        ({"status": "Cancelled"}, PermanentFailure, "ended as Cancelled"),
        ({"status": "Failed", "extendedStatus": "TimedOut"}, PassingFailure, "ended as TimedOut"),
        ({"status": "Unknown"}, PassingFailure, "ended as Unknown"),
    ],
)
def test_each_end_says_whether_another_try_may_help(
    kind: PowerBiRefresh, server: PowerBiServer, how: dict[str, Any], failure: type[Exception], words: str
) -> None:
    server.ends = [how]
    with pytest.raises(failure, match=words):
        Attempt(kind, STANDARD).finish()


@pytest.mark.parametrize("told", [{"status": "InProgress"}, {"status": "Unknown", "extendedStatus": "NotStarted"}])
def test_every_word_for_running_is_running(kind: PowerBiRefresh, server: PowerBiServer, told: dict[str, Any]) -> None:
    server.held = True
    attempt = Attempt(kind, STANDARD)
    attempt.looks(2)
    server.ours()[0].update(told)
    attempt.looks(2)


# The budget.


@pytest.fixture
def eight(server: PowerBiServer) -> PowerBiServer:
    """Eight refreshes in the last 24 hours, as shared capacity allows them."""
    server.is_shared = True
    for hours in range(1, 8):
        server.has("Scheduled" if hours % 2 else "ViaApi", hours * HOUR, lasted=MINUTE)
    server.end(server.has("ViaApi", 23 * HOUR), **failed(GATEWAY))
    return server


def test_the_ninth_refresh_of_a_day_is_refused_before_it_is_asked_for(
    kind: PowerBiRefresh, eight: PowerBiServer
) -> None:
    with pytest.raises(PassingFailure, match=r"8 times in the last 24 hours.* daily_budget is 8.* 2024-03-16 13:00"):
        Attempt(kind, STANDARD).finish()
    assert eight.requests("POST") == []


def test_the_reason_says_when_there_is_room_however_many_there_were(kind: PowerBiRefresh, eight: PowerBiServer) -> None:
    """By hand people refresh more often than the budget allows: then more of them must be a day old."""
    with pytest.raises(PassingFailure, match=r"8 times in the last 24 hours.* daily_budget is 3.* 2024-03-17 09:00"):
        Attempt(kind, {**STANDARD, "daily_budget": 3}).finish()


def test_the_eighth_refresh_is_not_refused(kind: PowerBiRefresh, eight: PowerBiServer) -> None:
    eight.passed = 2 * HOUR
    Attempt(kind, STANDARD).finish()
    assert len(eight.ours()) == 1


def test_what_power_bi_does_not_count_is_not_counted(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    server.is_shared = True
    for hours in range(1, 10):
        server.has("OnDemand", hours * HOUR, lasted=MINUTE)
        server.end(server.has("Disabled", hours * HOUR), status="Disabled")
    Attempt(kind, STANDARD).finish()
    assert len(server.requests("POST")) == 1


def test_a_budget_of_its_own_counts_for_any_refresh(kind: PowerBiRefresh, eight: PowerBiServer) -> None:
    eight.is_shared = False
    Attempt(kind, ENHANCED).finish()
    Attempt(kind, {**STANDARD, "daily_budget": 10}).finish()
    for config in ({**STANDARD, "daily_budget": 10}, {**ENHANCED, "daily_budget": 9}):
        with pytest.raises(PassingFailure, match="10 times in the last 24 hours"):
            Attempt(kind, config).finish()
    Attempt(kind, {**STANDARD, "daily_budget": "unlimited"}).finish()


def test_power_bi_s_own_refusal_of_one_too_many_may_pass(kind: PowerBiRefresh, eight: PowerBiServer) -> None:
    with pytest.raises(PassingFailure, match="in last 24 hours exceeded limit"):
        Attempt(kind, {**STANDARD, "daily_budget": "unlimited"}).finish()


def test_a_refresh_that_is_adopted_costs_nothing(kind: PowerBiRefresh, eight: PowerBiServer) -> None:
    attempt = Attempt(kind, STANDARD)
    attempt.looks(1)
    eight.passed = MINUTE
    eight.has("Scheduled", timedelta(seconds=10), lasted=timedelta(seconds=5))
    assert attempt.finish().details["adopted"] is True


# Cancelling.


def test_an_enhanced_refresh_is_cancelled(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    server.held = True
    attempt = Attempt(kind, ENHANCED)
    attempt.looks(2)
    assert attempt.cancel() is False, "it was asked to end"
    assert attempt.cancel() is True
    assert server.ours()[0]["status"] == "Cancelled"


def test_a_standard_refresh_is_waited_for(kind: PowerBiRefresh, server: PowerBiServer) -> None:
    server.held = True
    attempt = Attempt(kind, STANDARD)
    attempt.looks(2)
    for _ in range(2):
        with pytest.raises(Unavailable, match="a standard one, which cannot be cancelled; its end is awaited"):
            attempt.cancel()
    server.end_all()
    assert attempt.cancel() is True
    assert server.requests("DELETE") == []


@each_way
def test_the_lost_refresh_of_a_cancelled_attempt_is_waited_for(
    kind: PowerBiRefresh, server: PowerBiServer, config: dict[str, Any]
) -> None:
    server.held = True
    attempt = Attempt(kind, config)
    attempt.looks(1)
    server.loses[f"POST /v1.0/myorg/groups/{WORKSPACE}{REFRESHES}"] = 1
    with pytest.raises(Unavailable):
        attempt.look()
    with pytest.raises(Unavailable, match="its end is awaited"):
        attempt.cancel()
    server.end_all()
    assert attempt.cancel() is True
    assert server.requests("DELETE") == []


def test_the_refresh_of_another_is_not_cancelled_with_the_attempt_that_adopted_it(
    kind: PowerBiRefresh, server: PowerBiServer
) -> None:
    server.held = True
    adopting, first = Attempt(kind, ENHANCED), Attempt(kind, ENHANCED)
    adopting.looks(1)
    first.looks(2)
    adopting.looks(2)
    with pytest.raises(Unavailable, match="may be somebody else's"):
        adopting.cancel()
    server.held = False
    assert first.finish().details["adopted"] is False


def test_the_refresh_of_another_is_not_cancelled_in_place_of_one_that_does_not_show(
    kind: PowerBiRefresh, server: PowerBiServer
) -> None:
    server.drops = server.held = True
    dropped, other = Attempt(kind, ENHANCED), Attempt(kind, ENHANCED)
    dropped.looks(2)
    server.drops, server.passed = False, 11 * MINUTE
    other.looks(2)
    with pytest.raises(Unavailable, match="may be somebody else's"):
        dropped.cancel()
    assert server.requests("DELETE") == []


def test_an_attempt_whose_adopted_refresh_is_cancelled_with_another_s_attempt_asks_for_its_own(
    kind: PowerBiRefresh, server: PowerBiServer
) -> None:
    server.held = True
    adopting, first = Attempt(kind, ENHANCED), Attempt(kind, ENHANCED)
    adopting.looks(1)
    first.looks(2)
    adopting.looks(2)
    assert len(server.requests("POST")) == 1
    assert [first.cancel(), first.cancel()] == [False, True]
    adopting.looks(2)
    server.held = False
    assert adopting.finish().details["adopted"] is False
    assert [one["status"] for one in server.ours()] == ["Completed", "Cancelled"]
    with pytest.raises(PermanentFailure, match="ended as Cancelled"):
        first.look()


@pytest.mark.parametrize("looks", [0, 1, 3])
def test_an_attempt_that_has_begun_nothing_is_cancelled_at_once(
    kind: PowerBiRefresh, server: PowerBiServer, looks: int
) -> None:
    server.has("Scheduled", MINUTE)
    attempt = Attempt(kind, STANDARD)
    attempt.looks(looks)
    assert attempt.cancel() is True
    assert server.requests("POST") == []


# Who asks.


def test_one_token_serves_many_requests(kind: PowerBiRefresh, server: PowerBiServer, login: MicrosoftLogin) -> None:
    for _ in range(3):
        Attempt(kind, STANDARD).finish()
    assert len(login.requests("POST", "/oauth2/v2.0/token")) == 1


def test_a_token_that_is_nearly_spent_is_replaced(
    kind: PowerBiRefresh, server: PowerBiServer, login: MicrosoftLogin
) -> None:
    login.lasts = 200
    Attempt(kind, STANDARD).finish()
    assert len(login.requests("POST", "/oauth2/v2.0/token")) > 1


def test_a_wrong_secret_is_refused_without_showing_it(login: MicrosoftLogin, server: PowerBiServer) -> None:
    clients = Clients(settings(login, server, POWER_BI="not-the-right-one"))
    with pytest.raises(PermanentFailure, match=f"{CLIENT_ID}.* AADSTS7000215: Invalid client secret") as caught:
        Attempt(PowerBiRefresh(clients), STANDARD).finish()
    assert "not-the-right-one" not in str(caught.value)
    assert "Trace ID" not in str(caught.value)
    assert server.asked == []


def test_a_task_that_names_the_right_secret_is_not_held_up_by_one_that_names_a_wrong_one(
    login: MicrosoftLogin, server: PowerBiServer
) -> None:
    kind = PowerBiRefresh(Clients(settings(login, server, OLD="spent-long-ago")))
    with pytest.raises(PermanentFailure):
        Attempt(kind, {**STANDARD, "client_secret": {"secret": "OLD"}}).finish()
    Attempt(kind, STANDARD).finish()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"tenant": "fabrikam.com"}, "does not know the tenant fabrikam.com"),
        ({"client_id": "00000000-0000-0000-0000-000000000000"}, "AADSTS700016: Application with identifier"),
    ],
)
def test_an_unknown_tenant_or_app_is_named(kind: PowerBiRefresh, config: dict[str, Any], words: str) -> None:
    with pytest.raises(PermanentFailure, match=words):
        Attempt(kind, {**STANDARD, **config}).finish()


@pytest.mark.parametrize("what", ["openid-configuration", "token"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_login_service_that_does_not_answer_is_asked_again_later(
    login: MicrosoftLogin, server: PowerBiServer, what: str, status: int
) -> None:
    login.fails[what] = [Answered(status, {"error": "temporarily_unavailable"}, {"Retry-After": "1"})]
    with pytest.raises(Unavailable, match=login.url):
        Attempt(PowerBiRefresh(Clients(settings(login, server))), STANDARD).finish()


def test_a_token_for_somebody_else_is_refused_by_power_bi(
    kind: PowerBiRefresh, server: PowerBiServer, login: MicrosoftLogin
) -> None:
    login.audience = "https://graph.microsoft.com"
    with pytest.raises(PermanentFailure, match=r"401 \(PowerBINotAuthorizedException\); the app needs the tenant sett"):
        Attempt(kind, STANDARD).finish()


def test_an_app_that_is_no_member_of_the_workspace_is_told_what_it_needs(
    kind: PowerBiRefresh, server: PowerBiServer
) -> None:
    server.forbidden.add(WORKSPACE)
    with pytest.raises(PermanentFailure, match=f"{WORKSPACE}.* 403 .*must be a member, contributor or admin"):
        Attempt(kind, STANDARD).finish()


def test_the_secret_and_the_token_are_shown_nowhere(
    kind: PowerBiRefresh, server: PowerBiServer, login: MicrosoftLogin
) -> None:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging(
        Settings.model_validate({**settings(login, server).model_dump(), "log_level": "DEBUG"}),
        stream,
    )
    try:
        Attempt(kind, STANDARD).finish()
        [token] = login.tokens
        logging.getLogger("a library").warning("Authorization: Bearer %s of %s", token, SECRET)
    finally:
        root.handlers, root.level = before, level
    assert "Bearer [hidden] of [hidden]" in stream.getvalue()
    assert token not in stream.getvalue()
    assert SECRET not in stream.getvalue()


# What is wrong already in the workflow file.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"report": REPORT}, "write dataset or report"),
        ({"dataset": None}, "write dataset or report"),
        ({"dataset_workspace": OTHER_WORKSPACE}, "dataset_workspace is where the dataset of a report lives"),
        ({"client_secret": SECRET}, r"name the secret as \{secret: NAME\}"),
        ({"commit_mode": "partial_batch"}, "needs apply_refresh_policy: false"),
        ({"apply_refresh_policy": False, "effective_date": "2024-03-01"}, "effective_date is for the refresh policy"),
        ({"type": "Full"}, "data_only"),
        ({"daily_budget": 0}, "greater than or equal to 1"),
        ({"daily_budget": 61}, "less than or equal to 60"),
        ({"attempt_timeout": "24h"}, "less than or equal to 86399"),
        ({"partitions": {"Sales": []}}, "at least 1 item"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(change: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        PowerBiRefreshConfig.model_validate({**STANDARD, **change})
    assert SECRET not in str([problem["msg"] for problem in caught.value.errors()])


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"workspace": "Finance"}, "workspace", "'Finance' is no id"),
        ({"dataset": "{tenent}"}, "dataset", "'{tenent}' is not a known name"),
        ({"tenant": "https://contoso.com"}, "tenant", "is no tenant"),
        ({"effective_date": "2024-02-31"}, "effective_date", "'2024-02-31' is no date"),
        ({"tables": ["a", "{period:%Y}", "{tenant:%Y}"]}, "tables.2", "takes no format"),
        ({"partitions": {"{tenant:%Y}": ["b"]}}, "partitions", "takes no format"),
    ],
)
def test_wrong_ids_and_templates_are_named(
    kind: PowerBiRefresh, change: Mapping[str, Any], key: str, words: str
) -> None:
    scope = Scope(names={"tenant": NameType.TEXT, "period": NameType.DATE}, own_file=None)
    config = PowerBiRefreshConfig.model_validate({**STANDARD, **change})
    found = list(kind.problems(config, scope))
    assert [name for name, _ in found] == [key] * len(found)
    assert any(words in reason for _, reason in found), found
