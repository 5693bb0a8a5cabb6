"""A job of Cloud Run, through the engine: it is run once, found again, asked for, and ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from database.sessions import Database
from run.clients import Clients
from run.clients.cloud_run import CloudRun as Client
from run.clients.rest import google_rest
from run.kinds.cloud_run_job import KEY, CloudRunJob, CloudRunJobConfig
from run.settings import Settings
from run.workflows.scope import Scope
from run.workflows.templates import NameType
from tests.engine_room import ME, EngineRoom
from tests.servers.cloud_run import JOB, CloudRun
from tests.servers.wire import Answered

PLACE = {"job": "extract", "location": "europe-west1"}


class Killed(BaseException):
    """What ends a worker without a word."""


class Wire(Client):
    """The real client, which a test may stop right before and right after an execution is begun."""

    def __init__(self, url: str) -> None:
        super().__init__("local", google_rest(url))
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []

    def run(self, job: str, overrides: Any) -> str:
        for what in self.before[:1]:
            self.before.remove(what)
            what()
        execution = super().run(job, overrides)
        for what in self.after[:1]:
            self.after.remove(what)
            what()
        return execution


@pytest.fixture
def cloud_run() -> Iterator[CloudRun]:
    with CloudRun() as server:
        yield server


@pytest.fixture
def wire(cloud_run: CloudRun) -> Wire:
    return Wire(cloud_run.url)


@pytest.fixture
def room(database: Database, wire: Wire) -> EngineRoom:
    settings = Settings(database_url="postgresql://nobody@localhost/none", project="local", landing_bucket="landing")
    clients = Clients(settings)
    clients._cloud_run = wire
    return EngineRoom(database, more_kinds=[CloudRunJob(clients)])


def begin(room: EngineRoom, *, retries: int = 0, timeout: int | None = None, **config: Any) -> None:
    details = {"kind": "cloud_run_job", "config": {**PLACE, **config}, "retries": retries, "timeout_seconds": timeout}
    room.apply({"a": [], "b": ["a"]}, details={"a": details})
    room.start()


def look_again(room: EngineRoom, times: int = 1) -> None:
    for _ in range(times):
        room.pass_time(120)
        room.sweep()
        room.deliver_all()


def die() -> None:
    raise Killed


def env_of(execution: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in execution["template"]["containers"][0]["env"]}


def test_a_job_is_run_with_what_the_task_says_and_its_end_is_awaited(room: EngineRoom, cloud_run: CloudRun) -> None:
    begin(room, args=["--day", "{batch_id}", "{0}"], env={"DAY": "{batch_id}"}, tasks=3, task_timeout="10m")
    room.deliver_all()
    [(name, execution)] = cloud_run.executions.items()
    [(uid,)] = room.rows("SELECT uid FROM task_batch")
    assert env_of(execution) == {"DAY": "2024-03", KEY: f"{uid}/cake/2024-03/a/1"}
    [asked] = cloud_run.requests("POST", ":run")
    container = asked.json["overrides"]["containerOverrides"][0]
    assert (container["args"], container["clearArgs"]) == (["--day", "2024-03", "{0}"], False)
    assert (asked.json["overrides"]["taskCount"], asked.json["overrides"]["timeout"]) == (3, "600s")
    assert room.rows("SELECT handle->>'execution' FROM batch_task WHERE handle IS NOT NULL") == [(name,)]
    look_again(room)
    assert room.statuses() == {"a": "PROCESSING", "b": "WAITING"}
    cloud_run.end(name)
    look_again(room)
    assert room.statuses() == {"a": "SUCCESS", "b": "SUCCESS"}
    [(details,)] = room.rows("SELECT details FROM task_log JOIN task USING (task_id) WHERE name = 'a'")
    counts = {"execution": name, "tasks": 3, "succeeded": 3, "failed": 0, "retried": 0}
    assert details == {**counts, "log": execution["logUri"]}
    assert len(cloud_run.executions) == 1


@pytest.mark.parametrize("retries", [0, 1])
def test_a_job_that_fails_says_which_tasks_and_why_and_may_be_run_by_another_attempt(
    room: EngineRoom, cloud_run: CloudRun, retries: int
) -> None:
    cloud_run.ends = "failed"
    begin(room, retries=retries, tasks=4)
    room.deliver_all()
    look_again(room)
    [name] = list(cloud_run.executions)[:1]
    (_, status, error) = room.log("a")[0]
    assert status == "ERROR"
    assert error == f"1 of 4 tasks of {name} failed: task 0 failed with exit code 3: boom"
    [(details,)] = room.rows("SELECT details FROM task_log WHERE attempt = 1")
    assert (details["failed"], details["succeeded"], details["retried"]) == (1, 3, 3)
    assert details["reasons"] == ["task 0 failed with exit code 3: boom"]
    look_again(room)
    assert len(cloud_run.executions) == 1 + retries
    keys = [env_of(one)[KEY] for one in cloud_run.executions.values()]
    assert [key[-4:] for key in keys] == ["/a/1", "/a/2"][: 1 + retries]


def test_a_job_that_somebody_cancels_is_not_run_again(room: EngineRoom, cloud_run: CloudRun) -> None:
    cloud_run.ends = "cancelled"
    begin(room, retries=3)
    room.deliver_all()
    look_again(room, 3)
    [name] = cloud_run.executions
    assert room.log("a") == [(1, "ERROR", f"{name} was cancelled")]


def test_an_execution_that_was_deleted_is_an_error(room: EngineRoom, cloud_run: CloudRun) -> None:
    begin(room)
    room.deliver_all()
    [name] = cloud_run.executions
    cloud_run.executions.clear()
    look_again(room)
    assert room.log("a") == [(1, "ERROR", f"{name} is gone, so nobody knows how it ended")]


def test_a_job_that_is_not_there_is_named(room: EngineRoom, cloud_run: CloudRun) -> None:
    begin(room, job="nothing")
    room.deliver_all()
    [(_, status, error)] = room.log("a")
    assert status == "ERROR"
    assert error.startswith(
        "running projects/local/locations/europe-west1/jobs/nothing: Resource 'nothing:run' was not"
    )


def test_a_missing_permission_names_the_role(room: EngineRoom, cloud_run: CloudRun) -> None:
    message = "Permission 'run.jobs.runWithOverrides' denied on resource"
    cloud_run.fails[":run"] = [Answered(403, {"error": {"message": message}})]
    begin(room)
    room.deliver_all()
    [(_, status, error)] = room.log("a")
    assert (status, error) == (
        "ERROR",
        f"running {JOB}: {message}; the service account may lack roles/run.developer on the job",
    )


@pytest.mark.parametrize("status", [429, 500, 503])
def test_cloud_run_that_is_busy_is_asked_again_by_the_same_attempt(
    room: EngineRoom, cloud_run: CloudRun, status: int
) -> None:
    cloud_run.fails[":run"] = [Answered(status)]
    begin(room)
    room.deliver_all()
    assert room.statuses()["a"] == "PROCESSING"
    cloud_run.ends = "succeeded"
    look_again(room, 2)
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert len(cloud_run.executions) == 1


def test_an_execution_whose_answer_was_lost_is_found_and_not_begun_twice(room: EngineRoom, cloud_run: CloudRun) -> None:
    for _ in range(150):
        cloud_run.begin(overrides={"containerOverrides": [{"env": [{"name": KEY, "value": "another attempt's"}]}]})
    cloud_run.loses[":run"] = 1
    begin(room)
    room.deliver_all()
    assert room.statuses()["a"] == "PROCESSING"
    for _ in range(150):
        cloud_run.begin(overrides={"containerOverrides": [{"env": [{"name": KEY, "value": "another attempt's"}]}]})
    look_again(room)
    [name] = [name for name, one in cloud_run.executions.items() if env_of(one)[KEY].endswith("/a/1")]
    cloud_run.end(name)
    look_again(room)
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert len(cloud_run.executions) == 301


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_that_dies_around_the_beginning_is_followed_by_one_that_looks_first(
    room: EngineRoom, cloud_run: CloudRun, wire: Wire, moment: str
) -> None:
    cloud_run.ends = "succeeded"
    getattr(wire, moment).append(die)
    begin(room)
    with pytest.raises(Killed):
        room.deliver_all()
    look_again(room, 2)
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert len(cloud_run.executions) == 1


def test_an_execution_is_found_though_the_clocks_do_not_agree(room: EngineRoom, cloud_run: CloudRun) -> None:
    cloud_run.behind = timedelta(seconds=50)
    cloud_run.loses[":run"] = 1
    begin(room)
    room.deliver_all()
    [name] = cloud_run.running()
    look_again(room)
    cloud_run.end(name)
    look_again(room)
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert list(cloud_run.executions) == [name]


def test_an_execution_that_does_not_say_whose_it_is_makes_the_outcome_unknown_and_nothing_is_begun(
    room: EngineRoom, cloud_run: CloudRun
) -> None:
    cloud_run.shows_overrides = False
    cloud_run.loses[":run"] = 1
    begin(room, retries=3)
    room.deliver_all()
    look_again(room, 3)
    [(_, status, error)] = room.log("a")
    assert status == "ERROR"
    assert error.startswith(f"outcome unknown: nobody heard whether an execution was begun, and {JOB}/executions/")
    assert len(cloud_run.executions) == 1


def test_an_answer_without_the_execution_s_name_is_no_loss(room: EngineRoom, cloud_run: CloudRun) -> None:
    begin(room)
    take = cloud_run.answer

    def without_metadata(asked: Any) -> Answered:
        answered = take(asked)
        return Answered(200, {"name": "operations/1"}) if asked.path.endswith(":run") else answered

    cloud_run.answer = without_metadata  # type: ignore[method-assign]
    room.deliver_all()
    look_again(room)
    [name] = cloud_run.executions
    cloud_run.end(name)
    look_again(room)
    assert room.log("a") == [(1, "SUCCESS", None)]


def test_a_worker_that_slept_and_lost_its_attempt_before_it_asked_begins_nothing(
    room: EngineRoom, cloud_run: CloudRun, database: Database, wire: Wire
) -> None:
    """It sleeps between looking at what is to be run and its last look at whose the attempt is."""
    cloud_run.ends = "succeeded"
    listed = wire.executions
    slept: list[bool] = []

    def executions(job: str, since: Any) -> Any:
        found = list(listed(job, since))
        if not slept:
            slept.append(True)
            room.pass_time(120)
            room.execute("a")
        return iter(found)

    wire.executions = executions  # type: ignore[method-assign]
    cloud_run.fails[":run"] = [Answered(503)]
    begin(room)
    room.deliver_all()
    look_again(room, 3)
    assert slept
    assert room.log("a") == [(1, "SUCCESS", None)]
    assert len(cloud_run.executions) == 1


def test_a_cancelled_batch_has_its_execution_cancelled_until_that_is_confirmed(
    room: EngineRoom, cloud_run: CloudRun
) -> None:
    cloud_run.slow_to_cancel = 1
    begin(room)
    room.deliver_all()
    room.moves.cancel_batch("cake", "2024-03", ME)
    room.sweep()
    assert len(cloud_run.running()) == 1
    for _ in range(2):
        room.pass_time(700)
        room.sweep()
    assert cloud_run.running() == []
    assert len(cloud_run.requests("POST", ":cancel")) == 2
    assert room.rows("SELECT * FROM cancellation") == []


def test_a_cancelled_attempt_whose_worker_died_before_it_heard_the_name_has_its_execution_found_and_cancelled(
    room: EngineRoom, cloud_run: CloudRun, wire: Wire
) -> None:
    wire.after.append(die)
    begin(room)
    with pytest.raises(Killed):
        room.deliver_all()
    stranger = cloud_run.begin()
    room.moves.cancel_batch("cake", "2024-03", ME)
    for _ in range(3):
        room.pass_time(700)
        room.sweep()
    assert cloud_run.running() == [stranger]
    assert room.rows("SELECT * FROM cancellation") == []


def test_an_execution_that_a_sleeping_worker_begins_after_the_cancelling_is_cancelled_too(
    room: EngineRoom, cloud_run: CloudRun, wire: Wire
) -> None:
    def cancel_meanwhile() -> None:
        room.moves.cancel_batch("cake", "2024-03", ME)
        room.pass_time(120)
        room.sweep()
        assert room.rows("SELECT count(*) FROM cancellation") == [(0,)]

    wire.before.append(cancel_meanwhile)
    begin(room)
    room.deliver_all()
    assert len(cloud_run.running()) == 1
    for _ in range(2):
        room.sweep()
        room.pass_time(700)
    assert cloud_run.running() == []
    assert room.log("a") == [(1, "CANCELLED", None)]


def test_a_job_that_takes_longer_than_the_attempt_may_is_cancelled_before_the_next_one(
    room: EngineRoom, cloud_run: CloudRun
) -> None:
    cloud_run.slow_to_cancel = 1
    begin(room, timeout=600, retries=1)
    room.deliver_all()
    room.pass_time(601)
    room.sweep()
    assert room.log("a") == [(1, "ERROR", "timed out after 600 s")]
    assert room.published() == []
    for _ in range(3):
        room.pass_time(700)
        room.sweep()
    assert cloud_run.running() == []
    assert set(room.published()) == {"a"}
    assert len(cloud_run.executions) == 1


def test_a_cancelling_whose_answer_was_lost_is_confirmed_when_asked_again(
    room: EngineRoom, cloud_run: CloudRun
) -> None:
    cloud_run.loses[":cancel"] = 1
    begin(room)
    room.deliver_all()
    room.moves.cancel_batch("cake", "2024-03", ME)
    for _ in range(2):
        room.sweep()
        room.pass_time(700)
    assert cloud_run.running() == []
    assert room.rows("SELECT * FROM cancellation") == []


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"env": {"PASSWORD": {"secret": "TOKEN"}}}, "give the job itself a variable that refers to it"),
        ({"env": {KEY: "1"}}, "is set for every execution already"),
        ({"env": {"CLOUD_RUN_TASK_INDEX": "1"}}, "is set for every execution already"),
        ({"env": {"A=B": "1"}}, "is no name of a variable"),
        ({"job": "Extract"}, "match pattern"),
        ({"location": "EU"}, "match pattern"),
        ({"tasks": 0}, "greater than or equal to 1"),
        ({"task_timeout": "8d"}, "lasts 7d at most"),
    ],
)
def test_what_cannot_be_run_is_refused(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        CloudRunJobConfig.model_validate({**PLACE, **config})


def test_a_name_that_is_nearly_a_known_one_is_a_problem() -> None:
    settings = Settings(database_url="postgresql://nobody@localhost/none", project="local", landing_bucket="landing")
    config = CloudRunJobConfig.model_validate({**PLACE, "args": ["{batch_ids}"], "env": {"DAY": "{bach_id}"}})
    scope = Scope(names={"batch_id": NameType.TEXT}, own_file=None)
    problems = dict(CloudRunJob(Clients(settings)).problems(config, scope))
    assert problems["args"] == "'{batch_ids}' is not a known name; did you mean 'batch_id'?"
    assert problems["env"] == "DAY: '{bach_id}' is not a known name; did you mean 'batch_id'?"
