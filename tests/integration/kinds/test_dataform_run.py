"""What `dataform_run` asks Dataform for, what it makes of the answers, and that it never asks twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from run.clients.dataform import Dataform, Repository
from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.kinds.dataform_options import DataformRunConfig, problems_of
from run.kinds.kind import Finished, Progress
from run.workflows.scope import Scope
from run.workflows.templates import NameType
from tests.integration.kinds.dataform_room import PLACE, SUMMARY, DataformRoom, waited_for, work
from tests.servers.dataform import DataformServer
from tests.servers.dataform_code import error, target
from tests.servers.wire import Answered, Asked

EVERYTHING = {**PLACE, "commit": "main", "everything": True}
RELEASE = {**PLACE, "release": "production", "targets": "daily_sales_summary"}
PRODUCTION = {"gitCommitish": "main", "codeCompilationConfig": {"schemaSuffix": "prod", "vars": {"currency": "EUR"}}}


@pytest.fixture
def server() -> Iterator[DataformServer]:
    with DataformServer() as server:
        yield server


@pytest.fixture
def room(server: DataformServer) -> DataformRoom:
    return DataformRoom(server)


# What is asked for.


def test_only_the_configured_target_of_the_configured_repository_is_run(room: DataformRoom) -> None:
    other = room.server.repository("stocks", actions={"daily_sales_summary": []})
    finished = room.run()
    assert room.server.ran() == [["daily_sales_summary"]]
    assert not [one for one in room.server.asked if one.path.startswith(f"/v1/{other.path}/")]
    assert room.compiled() == [{"gitCommitish": "main"}]
    assert room.invoked() == [{"includedTargets": [target("daily_sales_summary")]}]
    assert finished.details["action_states"] == {"SUCCEEDED": 1}
    assert finished.details["actions"] == [
        {"target": "acme.reports.daily_sales_summary", "state": "SUCCEEDED", "job_id": "job-daily_sales_summary"}
    ]
    [name] = room.server.invocations
    assert (finished.details["invocation"], finished.details["commit"]) == (name, "c0ffee")


@pytest.mark.parametrize(
    ("choice", "ran"),
    [
        ({"targets": ["acme.reports.stock", "reports.top_products"]}, ["top_products", "stock"]),
        ({"tags": "daily"}, ["daily_sales", "stock"]),
        ({"tags": ["night"], "targets": "top_products"}, ["top_products", "stock"]),
        (
            {"targets": "daily_sales_summary", "dependencies": True},
            ["daily_sales", "daily_sales_summary"],
        ),
        ({"targets": "daily_sales_summary", "dependents": True}, ["daily_sales_summary", "top_products"]),
        ({"everything": True}, ["daily_sales", "daily_sales_summary", "top_products", "stock"]),
    ],
)
def test_targets_tags_dependencies_and_dependents_choose_what_is_run(
    room: DataformRoom, choice: dict[str, Any], ran: list[str]
) -> None:
    room.config = {**PLACE, "commit": "main", **choice}
    room.run()
    assert room.server.ran() == [ran]


def test_a_full_refresh_a_service_account_and_a_priority_are_handed_on(room: DataformRoom) -> None:
    room.config = {**EVERYTHING, "full_refresh": True, "service_account": "{team}@acme.iam", "priority": "batch"}
    room.run()
    assert room.invoked() == [
        {"fullyRefreshIncrementalTablesEnabled": True, "serviceAccount": "shop@acme.iam", "queryPriority": "BATCH"}
    ]


def test_variables_come_from_the_batch(room: DataformRoom) -> None:
    room.config["vars"] = {"day": "{day:%Y%m%d}", "filter": "{batch_id} {other}", "plain": "x"}
    room.run()
    settings = {"vars": {"day": "20240316", "filter": "2024-03-16 {other}", "plain": "x"}}
    assert room.compiled() == [{"gitCommitish": "main", "codeCompilationConfig": settings}]


def test_a_workspace_may_be_what_is_compiled(room: DataformRoom) -> None:
    room.code.workspaces.add("ann")
    room.config = {**EVERYTHING, "commit": None, "workspace": "ann"}
    assert room.run().details["commit"] is None
    assert room.compiled() == [{"workspace": f"{room.code.path}/workspaces/ann"}]


def test_a_release_is_compiled_with_its_own_settings(room: DataformRoom) -> None:
    room.code.releases["production"] = PRODUCTION
    room.config = RELEASE
    room.run()
    assert room.compiled() == [{"releaseConfig": f"{room.code.path}/releaseConfigs/production"}]
    assert room.invoked() == [{"includedTargets": [target("daily_sales_summary", "prod")]}]


def test_variables_are_added_to_those_of_a_release(room: DataformRoom) -> None:
    room.code.releases["production"] = PRODUCTION
    room.config = {**RELEASE, "vars": {"day": "{day}"}}
    room.run()
    settings = {"schemaSuffix": "prod", "vars": {"currency": "EUR", "day": "2024-03-16"}}
    assert room.compiled() == [{"gitCommitish": "main", "codeCompilationConfig": settings}]


def released(room: DataformRoom) -> str:
    """A release whose latest compilation result is of an older commit and of older settings; its name."""
    room.code.releases["production"] = {**PRODUCTION, "gitCommitish": "old"}
    room.code.commits["old"] = "0ldc0de"
    client = Dataform(room.server.url)
    latest = client.compile(Repository("acme", "europe-west1", "sales"), {"releaseConfig": _production(room)})
    room.code.releases["production"] = {"gitCommitish": "main", "releaseCompilationResult": latest.name}
    room.server.asked.clear()
    return latest.name


def _production(room: DataformRoom) -> str:
    return f"{room.code.path}/releaseConfigs/production"


def test_what_a_release_has_compiled_last_is_run_from_a_result_of_the_attempts_own(room: DataformRoom) -> None:
    latest = released(room)
    room.server.begin(latest)
    room.config = {**RELEASE, "as_released": True}
    finished = room.run()
    assert room.compiled() == [
        {"gitCommitish": "0ldc0de", "codeCompilationConfig": PRODUCTION["codeCompilationConfig"]}
    ]
    assert finished.details["commit"] == "0ldc0de"
    assert finished.details["compilation_result"] != latest
    assert len(room.server.invocations) == 2, "the one of the release was not adopted"


def test_a_release_that_was_never_compiled_cannot_be_run_as_released(room: DataformRoom) -> None:
    room.code.releases["production"] = PRODUCTION
    room.config = {**RELEASE, "as_released": True}
    with pytest.raises(PermanentFailure, match="production has no compilation result yet"):
        room.start()


def test_what_was_released_from_no_commit_cannot_be_run_as_released(room: DataformRoom) -> None:
    latest = released(room)
    del room.server.compilations[latest]["resolvedGitCommitSha"]
    room.config = {**RELEASE, "as_released": True}
    with pytest.raises(PermanentFailure, match="does not say which commit"):
        room.start()


# What cannot be run.


def test_code_that_does_not_compile_ends_the_task_with_every_message_and_path(room: DataformRoom) -> None:
    room.code.errors = [
        {
            "path": "definitions/a.sqlx",
            "message": "Unexpected identifier",
            "stack": "...",
            "actionTarget": {"name": "a"},
        },
        {"message": "Missing dependency detected: b"},
        *[{"path": f"definitions/c{number}.sqlx", "message": "no"} for number in range(20)],
    ]
    with pytest.raises(PermanentFailure) as caught:
        room.start()
    text = str(caught.value)
    assert "repository sales in europe-west1 of acme does not compile: definitions/a.sqlx: Unexpected" in text
    assert "the project: Missing dependency detected: b" in text
    assert text.endswith("; and 12 more")
    kept = caught.value.details["errors"]
    assert kept[0] == {"path": "definitions/a.sqlx", "message": "Unexpected identifier", "actionTarget": {"name": "a"}}
    assert len(kept) == 22
    assert room.invoked() == []


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"targets": "daily_sales_sumary"}, "no action is called 'daily_sales_sumary'; did you mean"),
        ({"targets": "nobody"}, "there are: acme.reports.daily_sales, acme.reports.daily_sales_summary"),
        ({"targets": "raw_sales"}, "no action is called 'raw_sales'"),
        ({"targets": "sales"}, "no action is called 'sales'"),
        ({"targets": "other.stock"}, "no action is called 'other.stock'"),
        ({"tags": "dayly"}, "no action has the tag 'dayly'; did you mean 'daily'"),
        ({"tags": "x"}, "there are: daily, night"),
    ],
)
def test_a_target_or_tag_that_is_not_there_is_named_before_anything_is_run(
    room: DataformRoom, choice: dict[str, Any], reason: str
) -> None:
    room.config = {**PLACE, "commit": "main", **choice}
    with pytest.raises(PermanentFailure, match=reason):
        room.start()
    assert room.invoked() == []


def test_a_name_that_fits_several_actions_is_refused_and_a_whole_one_is_not(room: DataformRoom) -> None:
    room.code.actions["v2.stock"] = []
    room.config["targets"] = "stock"
    with pytest.raises(PermanentFailure, match=r"'stock' may be any of acme.reports.stock, acme.reports.v2.stock"):
        room.start()
    room.config["targets"] = "acme.reports.stock"
    room.run()
    assert room.server.ran() == [["stock"]]


def test_all_pages_of_actions_are_read(room: DataformRoom) -> None:
    room.server.page = 1
    room.config = {**EVERYTHING, "everything": False, "targets": ["stock"], "tags": ["night"], "dependents": True}
    room.run()
    room.config = EVERYTHING
    assert room.run().details["action_states"] == {"SUCCEEDED": 4}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"repository": "nobody"}, "repositories/nobody not found"),
        ({"location": "us-central1"}, "us-central1"),
        ({"commit": "nobody"}, "Could not resolve git commitish nobody"),
        ({"commit": None, "workspace": "nobody"}, "workspaces/nobody not found"),
        ({"commit": None, "release": "nobody"}, "releaseConfigs/nobody not found"),
        ({"repository": "{day:%Y}/x"}, "'2024/x' is not letters"),
        ({"service_account": "{team}"}, "service_account: 'shop' is not the e-mail"),
        ({"vars": {"a": "{team:%Y}"}}, "'team' is text and takes no format"),
    ],
)
def test_what_dataform_does_not_know_is_a_permanent_failure_with_its_reason(
    room: DataformRoom, change: dict[str, Any], reason: str
) -> None:
    room.config |= change
    with pytest.raises(PermanentFailure, match=reason):
        room.start()


def test_the_server_refuses_what_the_real_one_refuses(room: DataformRoom) -> None:
    client, repository = Dataform(room.server.url), Repository("acme", "europe-west1", "sales")
    with pytest.raises(PermanentFailure, match="exactly one value"):
        client.compile(repository, {"gitCommitish": "main", "workspace": "w"})
    with pytest.raises(PermanentFailure, match="Unknown name 'branch'"):
        client.compile(repository, {"branch": "main"})
    with pytest.raises(PermanentFailure, match="not found in the compilation result"):
        client.invoke(
            client.compile(repository, {"gitCommitish": "main"}).name, {"includedTargets": [{"name": "stock"}]}
        )
    room.code.errors = [{"message": "no"}]
    with pytest.raises(PermanentFailure, match="with compilation errors"):
        client.invoke(client.compile(repository, {"gitCommitish": "main"}).name, {})


# What becomes of an invocation.


def test_a_running_invocation_is_asked_for_until_it_is_done(room: DataformRoom) -> None:
    begun = room.begin()
    for _ in range(3):
        assert waited_for(room.poll(begun.handle)).handle == begun.handle
    room.server.end()
    assert isinstance(room.poll(begun.handle), Finished)
    assert len(room.server.invocations) == 1


@pytest.mark.parametrize(("age", "seconds"), [(0, 1), (40, 10), (3600, 30)])
def test_the_longer_an_invocation_takes_the_rarer_it_is_asked_for(room: DataformRoom, age: int, seconds: float) -> None:
    room.server.age = timedelta(seconds=age)
    assert room.begin().poll_after == pytest.approx(seconds, abs=0.5)


def test_failed_actions_are_told_with_their_reasons(room: DataformRoom) -> None:
    room.config = EVERYTHING
    room.server.page = 1
    begun = room.begin()
    room.server.end("FAILED", {"daily_sales": 'reason:"invalidQuery" message:"Unrecognized name: x"', "stock": ""})
    with pytest.raises(PermanentFailure) as caught:
        room.poll(begun.handle)
    text = str(caught.value)
    assert 'acme.reports.daily_sales: reason:"invalidQuery" message:"Unrecognized name: x"' in text
    assert "acme.reports.stock: no reason given" in text
    details = caught.value.details
    assert details["action_states"] == {"FAILED": 2, "SKIPPED": 2}
    assert details["actions"][0] == {
        "target": "acme.reports.daily_sales",
        "state": "FAILED",
        "reason": 'reason:"invalidQuery" message:"Unrecognized name: x"',
        "job_id": "job-daily_sales",
    }
    assert [one["state"] for one in details["actions"]] == ["FAILED", "FAILED", "SKIPPED", "SKIPPED"]


@pytest.mark.parametrize(
    ("reasons", "failure"),
    [
        (['reason:"rateLimitExceeded" message:"x"'], PassingFailure),
        (["Transaction is aborted due to concurrent update against table acme:reports.stock"], PassingFailure),
        (['reason:"backendError"', 'reason:"invalidQuery" message:"internal"'], PermanentFailure),
        (["Assertion failed: expected zero rows, found 3"], PermanentFailure),
    ],
)
def test_a_failure_is_passing_when_every_failed_action_may_pass(
    room: DataformRoom, reasons: list[str], failure: type[Exception]
) -> None:
    room.config = EVERYTHING
    begun = room.begin()
    room.server.end("FAILED", dict(zip(["stock", "daily_sales"], reasons, strict=False)))
    with pytest.raises(failure, match="failed: "):
        room.poll(begun.handle)


def test_an_invocation_that_failed_without_an_action_is_a_permanent_failure(room: DataformRoom) -> None:
    begun = room.begin()
    room.server.end("FAILED")
    with pytest.raises(PermanentFailure, match="Dataform names no action"):
        room.poll(begun.handle)


def test_an_invocation_that_somebody_cancels_is_awaited_and_fails_the_attempt(room: DataformRoom) -> None:
    room.server.looks_until_cancelled = 3
    begun = room.begin()
    Dataform(room.server.url).cancel(begun.handle["invocation"])
    assert waited_for(room.poll(begun.handle)).handle == begun.handle
    with pytest.raises(PermanentFailure, match="was cancelled by somebody") as caught:
        room.finish(begun.handle)
    assert caught.value.details["action_states"] == {"CANCELLED": 1}
    assert len(room.invoked()) == 1


def test_an_invocation_that_somebody_deletes_fails_the_attempt(room: DataformRoom) -> None:
    begun = room.begin()
    room.server.invocations.clear()
    with pytest.raises(PermanentFailure, match="somebody has deleted it"):
        room.poll(begun.handle)
    assert len(room.invoked()) == 1


def test_without_the_editors_role_the_failure_names_it(room: DataformRoom) -> None:
    room.server.fails["/compilationResults"] = [error(403, "PERMISSION_DENIED", "Permission denied")]
    with pytest.raises(PermanentFailure, match=r"Permission denied .* may lack roles/dataform.editor"):
        room.start()


def test_an_account_that_the_service_may_not_act_as_is_named_with_the_permission(room: DataformRoom) -> None:
    room.server.may_act_as = {"other@acme.iam"}
    room.config["service_account"] = "runner@acme.iam"
    with pytest.raises(PermanentFailure, match=r"iam.serviceAccounts.actAs .* on runner@acme.iam"):
        room.begin()
    del room.config["service_account"]
    with pytest.raises(PermanentFailure, match=r"actAs .* on the service account that the repository runs as"):
        room.begin()


# Answers that say nothing, workers that die or sleep: nothing is begun twice.

MOST_TRIES = 20
NOTHING_SAID = [
    error(429, "RESOURCE_EXHAUSTED", "Quota exceeded"),
    error(409, "ABORTED", "The operation was aborted"),
    error(500, "INTERNAL", "Internal error"),
    Answered(200, "<html>not Dataform</html>"),
    Answered(200, {"name": None, "state": 7, "workflowInvocations": [3], "compilationResultActions": [3]}),
]


def persisted(room: DataformRoom) -> tuple[Finished, list[str]]:
    """The attempt, gone on with after each answer that said nothing, as the engine does; what was said."""
    handle: Mapping[str, Any] | None = None
    said: list[str] = []
    for _ in range(MOST_TRIES):
        try:
            progress: Progress = room.start() if handle is None else room.poll(handle)
        except Unavailable as nothing:
            said.append(str(nothing))
            continue
        if isinstance(progress, Finished):
            return progress, said
        handle = waited_for(progress).handle
        if "invocation" in handle:
            room.server.end()
    raise AssertionError(said)


@pytest.mark.parametrize("answered", NOTHING_SAID[:3], ids=["429", "409", "500"])
@pytest.mark.parametrize(
    "call",
    [
        "POST {code}/compilationResults",
        "GET {code}/workflowInvocations",
        "POST {code}/workflowInvocations",
        ":query",
    ],
)
def test_a_call_that_dataform_has_no_time_for_is_made_again_later(
    room: DataformRoom, call: str, answered: Answered
) -> None:
    room.server.fails[call.format(code=f"/v1/{room.code.path}")] = [answered] * 2
    finished, said = persisted(room)
    assert finished.details["state"] == "SUCCEEDED"
    assert len(said) == 2
    assert len(room.server.invocations) == 1


@pytest.mark.parametrize(
    "call", ["POST {code}/compilationResults", "GET {code}/workflowInvocations", "POST {code}/workflowInvocations"]
)
@pytest.mark.parametrize("answered", NOTHING_SAID[3:], ids=["a page", "another shape"])
def test_an_answer_that_is_not_understood_says_nothing(room: DataformRoom, call: str, answered: Answered) -> None:
    room.server.fails[call.format(code=f"/v1/{room.code.path}")] = [answered]
    finished, said = persisted(room)
    assert finished.details["state"] == "SUCCEEDED"
    assert "the answer is not" in said[0]


def test_a_dataform_that_is_down_leaves_the_attempt_as_it_is(room: DataformRoom) -> None:
    begun = room.begin()
    room.server.fails["GET /v1/" + begun.handle["invocation"]] = [Answered(503)] * 4
    with pytest.raises(Unavailable):
        room.poll(begun.handle)
    room.server.end()
    assert room.finish(begun.handle).details["state"] == "SUCCEEDED"


def test_a_compilation_whose_answer_was_lost_is_made_again_and_only_one_is_invoked(room: DataformRoom) -> None:
    room.server.loses["/compilationResults"] = 1
    with pytest.raises(Unavailable, match="no answer"):
        room.start()
    room.run()
    assert len(room.server.compilations) == 2
    assert len(room.server.invocations) == 1


def test_an_invocation_whose_answer_was_lost_is_adopted(room: DataformRoom) -> None:
    started = room.start()
    room.server.loses["POST /v1/" + room.code.path + "/workflowInvocations"] = 1
    with pytest.raises(Unavailable, match="no answer"):
        room.poll(started.handle)
    [name] = room.server.invocations
    assert waited_for(room.poll(started.handle)).handle["invocation"] == name
    assert len(room.invoked()) == 1


@pytest.mark.parametrize("ended", [False, True])
def test_an_invocation_whose_worker_died_before_its_name_was_stored_is_adopted(room: DataformRoom, ended: bool) -> None:
    room.server.page = 1
    started = room.start()
    name = waited_for(room.poll(started.handle)).handle["invocation"]
    if ended:
        room.server.end()
    for _ in range(3):
        room.server.begin(_compiled_by_somebody(room))
    assert (name in str(room.poll(started.handle))) or ended
    room.server.end()
    assert room.finish(started.handle).details["invocation"] == name
    assert len(room.invoked()) == 1


def _compiled_by_somebody(room: DataformRoom) -> str:
    client = Dataform(room.server.url)
    return client.compile(Repository("acme", "europe-west1", "sales"), {"gitCommitish": "main"}).name


def test_an_invocation_that_failed_before_its_name_was_stored_fails_the_attempt(room: DataformRoom) -> None:
    started = room.start()
    room.poll(started.handle)
    room.server.end("FAILED", {"daily_sales_summary": "it went wrong"})
    with pytest.raises(PermanentFailure, match="it went wrong"):
        room.poll(started.handle)
    assert len(room.invoked()) == 1


def test_two_attempts_and_two_batches_never_share_an_invocation(room: DataformRoom) -> None:
    room.code.releases["production"] = PRODUCTION
    room.config = RELEASE
    begun = [room.begin(), replace_work(room, attempt=2).begin(), replace_work(room, batch_id="2024-03-17").begin()]
    assert len({one.handle["invocation"] for one in begun}) == 3


def replace_work(room: DataformRoom, **changes: Any) -> DataformRoom:
    other = replace(room, work=work(**changes))
    other.server.code[room.code.path] = other.code = room.code
    return other


def test_one_that_the_list_does_not_show_yet_is_followed_all_the_same(room: DataformRoom) -> None:
    room.server.late_lists = 2
    begun = room.begin()
    room.server.end()
    assert room.finish(begun.handle).details["invocation"] == begun.handle["invocation"]


def test_of_two_workers_that_both_looked_before_either_began_the_later_one_yields(room: DataformRoom) -> None:
    """The first has looked and found nothing; while it sleeps another takes over, looks, begins and follows its own."""
    started = room.start()
    woken: list[Progress] = []
    taken_over: list[Progress] = []

    def sleep_once(asked: Asked) -> None:
        if str(asked).startswith("POST") and asked.path.endswith("/workflowInvocations") and not woken:
            woken.append(started)
            taken_over.append(room.poll(started.handle))

    room.server.before = sleep_once
    late = waited_for(room.poll(started.handle))
    [followed] = taken_over
    assert late.handle == waited_for(followed).handle
    assert room.server.states() == ["RUNNING", "CANCELING"]
    room.server.end()
    assert room.finish(waited_for(followed).handle).details["state"] == "SUCCEEDED"


def test_who_follows_an_invocation_that_another_worker_has_ended_goes_on_with_the_first(room: DataformRoom) -> None:
    started = room.start()
    first = waited_for(room.poll(started.handle)).handle["invocation"]
    second = room.server.begin(started.handle["compilation_result"])
    Dataform(room.server.url).cancel(second)
    gone_on = waited_for(room.poll({**started.handle, "invocation": second}))
    assert gone_on.handle["invocation"] == first


def test_who_finds_the_first_invocation_cancelled_follows_the_one_that_runs(room: DataformRoom) -> None:
    started = room.start()
    first = waited_for(room.poll(started.handle)).handle["invocation"]
    second = room.server.begin(started.handle["compilation_result"])
    Dataform(room.server.url).cancel(first)
    gone_on = waited_for(room.poll({**started.handle, "invocation": first}))
    assert gone_on.handle["invocation"] == second
    assert room.server.invocations[second]["state"] == "RUNNING"


def test_two_workers_that_begin_at_the_same_moment_end_up_with_one(room: DataformRoom) -> None:
    started = room.start()
    both = threading.Barrier(2)
    done: list[Progress] = []

    def meet(asked: Asked) -> None:
        if asked.method == "POST" and asked.path.endswith("/workflowInvocations"):
            both.wait(10)

    room.server.before = meet
    workers = [threading.Thread(target=lambda: done.append(room.poll(started.handle))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert sorted(room.server.states()) == ["CANCELING", "RUNNING"]
    room.server.end()
    ended = {room.finish(waited_for(one).handle).details["invocation"] for one in done}
    assert len(ended) == 1


# Cancelling.


def test_a_running_invocation_is_cancelled_and_its_end_awaited(room: DataformRoom) -> None:
    begun = room.begin()
    assert not room.cancel(begun.handle)
    assert room.server.states() == ["CANCELING"]
    while not room.cancel(begun.handle):
        assert room.server.states() == ["CANCELING"]
    assert room.server.states() == ["CANCELLED"]


def test_an_attempt_that_has_compiled_nothing_has_nothing_to_end(room: DataformRoom) -> None:
    assert room.cancel(None)
    assert room.server.asked == []


def test_an_invocation_that_no_handle_names_is_found_and_cancelled(room: DataformRoom) -> None:
    room.server.page = 1
    started = room.start()
    strangers = room.server.begin(_compiled_by_somebody(room))
    room.poll(started.handle)
    assert not room.cancel(started.handle)
    assert room.server.states() == ["RUNNING", "CANCELING"]
    while not room.cancel(started.handle):
        pass
    assert room.server.invocations[strangers]["state"] == "RUNNING"


def test_every_invocation_of_the_attempt_is_cancelled(room: DataformRoom) -> None:
    begun = room.begin()
    room.server.begin(begun.handle["compilation_result"])
    room.server.looks_until_cancelled = 0
    assert not room.cancel(begun.handle)
    assert room.cancel(begun.handle)
    assert room.server.states() == ["CANCELLED", "CANCELLED"]


def test_an_invocation_that_the_list_does_not_show_is_cancelled_by_its_name(room: DataformRoom) -> None:
    begun = room.begin()
    room.server.late_lists = 1
    assert not room.cancel(begun.handle)
    assert room.server.states() == ["CANCELING"]


def test_an_invocation_that_is_over_stays_as_it_is(room: DataformRoom) -> None:
    begun = room.begin()
    room.server.end()
    assert room.cancel(begun.handle)
    assert room.server.states() == ["SUCCEEDED"]


def test_an_invocation_that_ends_while_it_is_being_cancelled_is_over(room: DataformRoom) -> None:
    begun = room.begin()

    def end_first(asked: Asked) -> None:
        if asked.path.endswith(":cancel"):
            room.server.end()

    room.server.before = end_first
    assert not room.cancel(begun.handle)
    assert room.cancel(begun.handle)
    assert room.server.states() == ["SUCCEEDED"]


def test_a_cancelling_whose_answer_was_lost_is_confirmed_when_asked_again(room: DataformRoom) -> None:
    begun = room.begin()
    room.server.loses[":cancel"] = 1
    with pytest.raises(Unavailable):
        room.cancel(begun.handle)
    while not room.cancel(begun.handle):
        pass
    assert room.server.states() == ["CANCELLED"]


def test_without_the_right_to_cancel_the_role_is_named(room: DataformRoom) -> None:
    begun = room.begin()
    room.server.fails[":cancel"] = [error(403, "PERMISSION_DENIED", "Permission denied")]
    with pytest.raises(PermanentFailure, match=r"roles/dataform.editor"):
        room.cancel(begun.handle)


def test_who_wakes_after_the_attempt_was_cancelled_begins_no_other_invocation(room: DataformRoom) -> None:
    started = room.start()
    room.server.looks_until_cancelled = 0
    room.poll(started.handle)
    while not room.cancel(started.handle):
        pass
    with pytest.raises(PermanentFailure, match="was cancelled"):
        room.poll(started.handle)
    assert len(room.invoked()) == 1


# What `workflow check` says.

NAMES = {"project": NameType.TEXT, "batch_id": NameType.TEXT, "team": NameType.TEXT, "day": NameType.DATE}


def problems(**config: Any) -> dict[str, str]:
    return dict(problems_of(DataformRunConfig.model_validate({**SUMMARY, **config}), Scope(NAMES, None)))


def test_templates_may_be_used_in_every_text() -> None:
    assert (
        problems(
            location="europe-{team}",
            repository="{team}_sales",
            commit="release/{day:%Y-%m}",
            targets=["{team}.daily_{day:%Y}"],
            tags=["{team}"],
            vars={"day": "{day}", "other": "{}"},
            service_account="{team}@{project}.iam.gserviceaccount.com",
        )
        == {}
    )


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("project", "acme/other", "the id of a project"),
        ("location", "Europe", "a location such as"),
        ("repository", "projects/acme/locations/x/repositories/y", "letters, digits"),
        ("repository", "{reop}", "not a known name"),
        ("commit", "", "a branch, a tag or a commit"),
        ("targets", ["two words"], "name, dataset.name"),
        ("targets", ["{teem}"], "did you mean"),
        ("tags", [""], "a tag"),
        ("vars", {"day": "{team:%Y}"}, "takes no format"),
        ("service_account", "runner", "e-mail"),
    ],
)
def test_a_wrong_text_is_named_by_its_key(key: str, value: Any, reason: str) -> None:
    assert reason in problems(**{key: value})[key]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"commit": "main"}, "write targets, tags or both"),
        ({"commit": "main", "targets": "a", "everything": True}, "write targets, tags or both"),
        ({"commit": "main", "everything": True, "dependents": True}, "everything has its dependencies"),
        ({"targets": "a"}, "write one of commit, workspace and release"),
        ({"commit": "main", "workspace": "w", "targets": "a"}, "write one of commit, workspace and release"),
        ({"commit": "main", "as_released": True, "targets": "a"}, "as_released is for a release"),
        ({"commit": "main", "targets": "a", "priority": "urgent"}, "'interactive' or 'batch'"),
        ({"commit": "main", "targets": "a", "vars": {"limit": 5}}, "valid string"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        DataformRunConfig.model_validate({**PLACE, **config})
