"""A run of Dataform in the hands of the engine: let go of, found again after a death, ended, tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from database.sessions import Database
from run.clients import Clients
from run.clients.dataform import Dataform, Invocation
from run.kinds.dataform_options import DataformRunConfig
from run.kinds.dataform_run import DataformRun
from run.kinds.kind import Progress, Work
from run.settings import Settings
from tests.engine_room import ME, EngineRoom
from tests.integration.kinds.dataform_room import ACTIONS, LONG_AGO, SUMMARY, TAGS
from tests.local_parts import eventually
from tests.servers.dataform import DataformServer
from tests.servers.dataform_code import error
from tests.servers.wire import Asked

#: The longest pause between two looks at an invocation, and a lease, in seconds.
LOOK, LEASE = 31, 61
COMPILE, INVOKE = "/compilationResults", "/workflowInvocations"


class Killed(BaseException):
    """The death of a process."""


class DiesAfterCompiling(DataformRun):
    """The same kind in a process that dies before anybody knows its compilation result."""

    def start(self, config: DataformRunConfig, work: Work) -> Progress:
        super().start(config, work)
        raise Killed


class DiesAfterInvoking(DataformRun):
    """The same kind in a process that dies before anybody knows its invocation."""

    def poll(self, config: DataformRunConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        super().poll(config, work, handle)
        raise Killed


@pytest.fixture
def server() -> Iterator[DataformServer]:
    """Dataform, in which an invocation goes on until the test ends it, and is old enough not to be waited for."""
    with DataformServer() as server:
        server.age = LONG_AGO
        server.repository(actions=dict(ACTIONS), tags=TAGS)
        yield server


@pytest.fixture
def clients(server: DataformServer) -> Clients:
    settings = Settings(
        database_url="postgresql://nobody@localhost/none",
        project="acme",
        landing_bucket="landing",
        dataform_url=server.url,
    )
    return Clients(settings)


@pytest.fixture
def room(database: Database, clients: Clients) -> EngineRoom:
    return EngineRoom(database, more_kinds=[DataformRun(clients)])


def apply(room: EngineRoom, **details: Any) -> None:
    """Start a batch in which the summary follows a load."""
    told = {"kind": "dataform_run", "config": {**SUMMARY, "vars": {"period": "{batch_id}"}}, **details}
    room.apply({"load": [], "summary": ["load"], "report": ["summary"]}, details={"summary": told})
    room.start()
    room.execute("load")
    room.publisher.messages.clear()


def begin(room: EngineRoom, **details: Any) -> None:
    """The same, and deliver the summary's message."""
    apply(room, **details)
    room.execute("summary")


def go_on(room: EngineRoom, seconds: float = LOOK) -> None:
    room.pass_time(seconds)
    room.sweep()
    room.deliver_all()


def taken_away(room: EngineRoom) -> None:
    """The worker's lease runs out, and somebody else goes on with what it has left."""
    go_on(room, LEASE)


def details(room: EngineRoom) -> list[dict[str, Any]]:
    """What the task log keeps of the attempts at the summary."""
    rows = room.rows("SELECT details FROM task_log JOIN task USING (task_id) WHERE name = 'summary' ORDER BY attempt")
    return [kept for (kept,) in rows]


def cancellations(room: EngineRoom) -> int:
    return len(room.rows("SELECT * FROM cancellation"))


def until_cancelled(room: EngineRoom) -> None:
    """Sweep until nothing is left to be ended."""
    for _ in range(10):
        if not cancellations(room):
            return
        go_on(room, 3600)
    raise AssertionError("never confirmed")


@contextmanager
def asleep_before(server: DataformServer, end: str, room: EngineRoom) -> Iterator[None]:
    """A worker that has the summary's message stands still right before this POST arrives, for the whole block."""
    arrived, wake = threading.Event(), threading.Event()

    def sleep_once(asked: Asked) -> None:
        if asked.method == "POST" and asked.path.endswith(end) and not arrived.is_set():
            arrived.set()
            assert wake.wait(30)

    server.before = sleep_once
    with ThreadPoolExecutor(1) as workers:
        worker = workers.submit(room.execute, "summary")
        try:
            assert arrived.wait(10)
            yield
        finally:
            wake.set()
        worker.result(20)


# The good way, and the ways in which it fails.


def test_what_follows_starts_when_dataform_says_that_the_run_is_done(room: EngineRoom, server: DataformServer) -> None:
    begin(room)
    [invocation] = server.invocations
    for _ in range(3):
        assert room.statuses() == {"load": "SUCCESS", "summary": "PROCESSING", "report": "WAITING"}
        go_on(room)
    server.end()
    go_on(room)
    assert room.statuses() == {"load": "SUCCESS", "summary": "SUCCESS", "report": "SUCCESS"}
    assert room.log("summary") == [(1, "SUCCESS", None)]
    [kept] = details(room)
    assert (kept["invocation"], kept["commit"]) == (invocation, "c0ffee")
    [compiled] = server.compilations.values()
    assert compiled["codeCompilationConfig"] == {"vars": {"period": "2024-03"}}
    assert server.ran() == [["daily_sales_summary"]]


def test_the_compilation_result_is_in_the_database_before_anything_is_invoked(
    room: EngineRoom, server: DataformServer
) -> None:
    stored: list[Any] = []

    def look(asked: Asked) -> None:
        if asked.method == "POST" and asked.path.endswith(INVOKE):
            stored.extend(room.rows("SELECT handle FROM batch_task WHERE handle IS NOT NULL"))

    server.before = look
    begin(room)
    [(handle,)] = stored
    assert [handle["compilation_result"]] == list(server.compilations)
    assert "invocation" not in handle


def test_a_run_that_failed_starts_nothing_and_its_reasons_are_kept(room: EngineRoom, server: DataformServer) -> None:
    begin(room, retries=3)
    server.end("FAILED", {"daily_sales_summary": 'reason:"invalidQuery" message:"Unrecognized name: x"'})
    go_on(room)
    assert room.statuses() == {"load": "SUCCESS", "summary": "ERROR", "report": "SKIPPED:upstream_failed"}
    [(attempt, status, reason)] = room.log("summary")
    assert (attempt, status) == (1, "ERROR")
    assert "acme.reports.daily_sales_summary" in reason
    assert "Unrecognized name: x" in reason
    assert details(room)[0]["actions"][0]["state"] == "FAILED"
    assert cancellations(room) == 0


def test_code_that_does_not_compile_ends_the_task_and_invokes_nothing(room: EngineRoom, server: DataformServer) -> None:
    [code] = server.code.values()
    code.errors = [{"path": "definitions/a.sqlx", "message": "Unexpected identifier"}]
    begin(room, retries=3)
    [(_, status, reason)] = room.log("summary")
    assert (status, "definitions/a.sqlx: Unexpected identifier" in reason) == ("ERROR", True)
    assert details(room)[0]["errors"] == code.errors
    assert server.invocations == {}


def test_a_passing_failure_is_tried_again_with_a_compilation_result_of_its_own(
    room: EngineRoom, server: DataformServer
) -> None:
    begin(room, retries=1)
    server.end("FAILED", {"daily_sales_summary": 'reason:"rateLimitExceeded" message:"slow down"'})
    go_on(room)
    assert room.statuses()["summary"] == "WAITING"
    go_on(room, 3600)
    server.end()
    go_on(room)
    assert [status for _, status, _ in room.log("summary")] == ["ERROR", "SUCCESS"]
    assert (len(server.compilations), server.states()) == (2, ["FAILED", "SUCCEEDED"])


def test_a_dataform_that_is_busy_costs_time_and_no_attempt(room: EngineRoom, server: DataformServer) -> None:
    busy = error(429, "RESOURCE_EXHAUSTED", "Quota exceeded for 'Workflow invocation requests per minute'")
    server.fails = {COMPILE: [busy], f"POST /v1/{next(iter(server.code))}{INVOKE}": [busy] * 2}
    begin(room)
    for _ in range(3):
        assert room.statuses()["summary"] == "PROCESSING"
        assert not server.invocations
        go_on(room, 310)
    server.end()
    go_on(room)
    assert room.log("summary") == [(1, "SUCCESS", None)]
    assert server.states() == ["SUCCEEDED"]


# Answers that are lost, workers that die.


def test_an_invocation_whose_answer_was_lost_is_adopted_by_the_same_attempt(
    room: EngineRoom, server: DataformServer
) -> None:
    server.loses[f"POST /v1/{next(iter(server.code))}{INVOKE}"] = 1
    begin(room)
    assert server.states() == ["RUNNING"]
    assert room.statuses()["summary"] == "PROCESSING"
    go_on(room)
    server.end()
    go_on(room)
    assert room.log("summary") == [(1, "SUCCESS", None)]
    assert server.states() == ["SUCCEEDED"]


def test_a_compilation_whose_answer_was_lost_is_made_again_by_the_same_attempt(
    room: EngineRoom, server: DataformServer
) -> None:
    server.loses[COMPILE] = 1
    begin(room)
    assert server.invocations == {}
    go_on(room)
    server.end()
    go_on(room)
    assert room.log("summary") == [(1, "SUCCESS", None)]
    assert (len(server.compilations), server.states()) == (2, ["SUCCEEDED"])


@pytest.mark.parametrize("ended", [False, True])
def test_an_invocation_whose_worker_died_before_its_name_was_stored_is_found_again(
    room: EngineRoom, server: DataformServer, clients: Clients, *, ended: bool
) -> None:
    dying = EngineRoom(room.database, more_kinds=[DiesAfterInvoking(clients)])
    apply(room)
    with pytest.raises(Killed):
        dying.execute("summary")
    assert room.rows("SELECT 1 FROM batch_task WHERE handle ? 'invocation'") == []
    if ended:
        server.end()
    taken_away(room)
    server.end()
    go_on(room)
    assert room.log("summary") == [(1, "SUCCESS", None)]
    assert server.states() == ["SUCCEEDED"]


def test_a_worker_that_died_after_compiling_is_followed_by_one_that_compiles_and_invokes_once(
    room: EngineRoom, server: DataformServer, clients: Clients
) -> None:
    dying = EngineRoom(room.database, more_kinds=[DiesAfterCompiling(clients)])
    apply(room)
    with pytest.raises(Killed):
        dying.execute("summary")
    taken_away(room)
    server.end()
    go_on(room)
    assert room.log("summary") == [(1, "SUCCESS", None)]
    assert (len(server.compilations), server.states()) == (2, ["SUCCEEDED"])


def test_workers_that_die_again_and_again_end_the_attempt_and_what_they_began(
    room: EngineRoom, server: DataformServer, clients: Clients
) -> None:
    dying = EngineRoom(room.database, more_kinds=[DiesAfterInvoking(clients)])
    apply(room)
    for _ in range(3):
        with pytest.raises(Killed):
            dying.execute("summary")
        room.pass_time(LEASE)
    room.execute("summary")
    assert room.log("summary") == [(1, "ERROR", "the worker died 3 times")]
    until_cancelled(room)
    assert server.states() == ["CANCELLED"]


def test_of_a_worker_that_slept_before_it_invoked_and_the_one_that_took_over_only_one_runs_on(
    room: EngineRoom, server: DataformServer
) -> None:
    apply(room)
    other = EngineRoom(room.database, more_kinds=room.more_kinds)
    with asleep_before(server, INVOKE, room):
        taken_away(other)
        assert server.states() == ["RUNNING"]
    assert server.states() == ["RUNNING", "CANCELING"]
    server.end()
    go_on(other)
    assert room.log("summary") == [(1, "SUCCESS", None)]
    assert details(room)[0]["invocation"] == next(iter(server.invocations))


def sleep_after_looking(clients: Clients, meanwhile: Callable[[], object]) -> None:
    """Let the first worker sleep after it has seen that there is no invocation yet."""
    look, looks = clients.dataform.invocations, count(1)

    def invocations(compilation_result: str) -> list[Invocation]:
        seen = look(compilation_result)
        if next(looks) == 1:
            meanwhile()
        return seen

    clients.dataform.invocations = invocations  # type: ignore[method-assign]


def test_a_worker_that_slept_after_looking_invokes_nothing_when_another_has_the_attempt(
    room: EngineRoom, server: DataformServer, clients: Clients
) -> None:
    sleep_after_looking(clients, lambda: taken_away(room))
    apply(room)
    room.execute("summary")
    assert server.states() == ["RUNNING"]
    server.end()
    go_on(room)
    assert room.log("summary") == [(1, "SUCCESS", None)]
    assert server.states() == ["SUCCEEDED"]


def test_a_worker_that_slept_after_looking_invokes_nothing_for_a_batch_that_was_cancelled_meanwhile(
    room: EngineRoom, server: DataformServer, clients: Clients
) -> None:
    sleep_after_looking(clients, lambda: room.moves.cancel_batch("cake", "2024-03", ME))
    apply(room)
    room.execute("summary")
    assert server.states() == []
    until_cancelled(room)


def test_a_worker_that_slept_in_its_compilation_invokes_nothing_when_others_have_the_attempt(
    room: EngineRoom, server: DataformServer
) -> None:
    apply(room)
    other = EngineRoom(room.database, more_kinds=room.more_kinds)
    with asleep_before(server, COMPILE, room):
        taken_away(other)
    assert len(server.compilations) == 2
    assert server.states() == ["RUNNING"]


# Cancelling, and time that is over.


def test_a_cancelled_batch_ends_its_run_before_the_task_may_start_again(
    room: EngineRoom, server: DataformServer
) -> None:
    server.looks_until_cancelled = 3
    begin(room)
    room.moves.cancel_batch("cake", "2024-03", ME)
    room.moves.rerun_batch("cake", "2024-03", ME)
    room.sweep()
    assert (server.states(), cancellations(room)) == (["CANCELING"], 1)
    assert room.statuses()["summary"] == "WAITING"
    until_cancelled(room)
    assert server.states()[0] == "CANCELLED"
    room.deliver_all()
    assert server.states() == ["CANCELLED", "RUNNING"]
    assert len(server.compilations) == 2


def test_a_batch_that_is_cancelled_before_its_invocation_has_a_name_ends_it_all_the_same(
    room: EngineRoom, server: DataformServer, clients: Clients
) -> None:
    dying = EngineRoom(room.database, more_kinds=[DiesAfterInvoking(clients)])
    apply(room)
    with pytest.raises(Killed):
        dying.execute("summary")
    room.moves.cancel_batch("cake", "2024-03", ME)
    until_cancelled(room)
    assert server.states() == ["CANCELLED"]


def test_a_batch_that_is_cancelled_while_its_worker_compiles_invokes_nothing(
    room: EngineRoom, server: DataformServer
) -> None:
    apply(room)
    with asleep_before(server, COMPILE, room):
        room.moves.cancel_batch("cake", "2024-03", ME)
        until_cancelled(room)
    until_cancelled(room)
    assert (len(server.compilations), server.invocations) == (1, {})
    assert room.statuses()["summary"] == "CANCELLED"


def test_what_a_worker_invokes_that_slept_through_the_cancelling_is_cancelled_when_it_wakes(
    room: EngineRoom, server: DataformServer
) -> None:
    apply(room)
    with asleep_before(server, INVOKE, room):
        room.moves.cancel_batch("cake", "2024-03", ME)
        until_cancelled(room)
        assert server.invocations == {}
    assert (server.states(), cancellations(room)) == (["RUNNING"], 1)
    until_cancelled(room)
    assert server.states() == ["CANCELLED"]


def test_a_run_that_takes_longer_than_the_attempt_may_is_cancelled_before_the_next_attempt(
    room: EngineRoom, server: DataformServer
) -> None:
    begin(room, timeout_seconds=600, retries=1)
    server.looks_until_cancelled = 3
    go_on(room, 601)
    assert room.log("summary") == [(1, "ERROR", "timed out after 600 s")]
    go_on(room, 3600)
    assert (server.states(), room.statuses()["summary"]) == (["CANCELING"], "WAITING")
    until_cancelled(room)
    go_on(room)
    assert server.states() == ["CANCELLED", "RUNNING"]
    server.end()
    go_on(room)
    assert [status for _, status, _ in room.log("summary")] == ["ERROR", "SUCCESS"]


def test_a_run_that_is_done_when_its_time_is_over_is_a_success(room: EngineRoom, server: DataformServer) -> None:
    begin(room, timeout_seconds=600)
    server.end()
    go_on(room, 601)
    assert room.log("summary") == [(1, "SUCCESS", None)]


def test_a_run_of_seconds_is_done_with_its_message(room: EngineRoom, server: DataformServer) -> None:
    server.age *= 0
    apply(room)
    with ThreadPoolExecutor(1) as workers:
        working = workers.submit(room.execute, "summary")
        eventually(lambda: server.invocations, "the invocation")
        server.end()
        working.result(10)
    assert room.log("summary") == [(1, "SUCCESS", None)]


def test_a_person_who_cancels_it_in_dataform_ends_the_task(room: EngineRoom, server: DataformServer) -> None:
    begin(room, retries=3)
    Dataform(server.url).cancel(next(iter(server.invocations)))
    for _ in range(3):
        go_on(room)
    [(_, status, reason)] = room.log("summary")
    assert (status, "was cancelled by somebody" in reason) == ("ERROR", True)
    assert len(server.invocations) == 1
