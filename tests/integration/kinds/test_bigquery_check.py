"""Checks on the local BigQuery server, on the wire, and in the engine: what is judged, kept and said."""

from __future__ import annotations

import logging
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from database.sessions import Database
from run.clients import Clients
from run.errors import PermanentFailure, Unavailable
from run.kinds import build_kinds
from run.kinds.bigquery_check import BigQueryCheckConfig
from run.kinds.kind import Finished, GoesOn
from run.settings import Settings
from tests.engine_room import EngineRoom
from tests.integration.kinds.bigquery_wire import STOPPED, BigQueryWire
from tests.integration.kinds.room import Room

THIRTY = "SELECT id FROM UNNEST(GENERATE_ARRAY(1, 30)) AS id ORDER BY id"
VALUE = {"sql": "SELECT 1 AS share", "expect": {"min": 0.95}}


def check(room: Room, config: dict[str, Any], attempt: int = 1, **params: Any) -> Finished:
    work = room.work("check", attempt=attempt, values={"period": date(2024, 3, 1)}, params=params)
    return room.start("bigquery_check", config, work)


def test_no_row_is_fine(room: Room) -> None:
    details = check(room, {"sql": "SELECT 1 AS id FROM UNNEST([1]) WHERE FALSE"}).details
    assert (details["row_count"], details["rows"]) == (0, [])
    assert "warning" not in details


def test_rows_that_should_not_be_there_fail_the_task_and_the_first_of_them_are_kept(room: Room) -> None:
    with pytest.raises(PermanentFailure, match="30 rows came back, and none is expected") as caught:
        check(room, {"sql": THIRTY})
    assert caught.value.details["row_count"] == 30
    assert caught.value.details["rows"] == [{"id": number} for number in range(1, 21)]


def test_a_warning_is_a_success_that_says_what_was_found(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        details = check(room, {"sql": THIRTY, "on_failure": "warn"}).details
    assert details["warning"] == "30 rows came back, and none is expected"
    assert (details["row_count"], len(details["rows"])) == (30, 20)
    [line] = [record for record in caplog.records if record.name == "run.kinds.bigquery_check"]
    assert line.getMessage() == "the check of check has found something: 30 rows came back, and none is expected"
    assert (line.levelname, vars(line)["batch"], vars(line)["task"]) == ("WARNING", "2024-03", "check")


def test_rows_that_are_large_are_kept_in_part(room: Room) -> None:
    sql = "SELECT REPEAT('x', 6000) AS x FROM UNNEST(GENERATE_ARRAY(1, 30))"
    details = check(room, {"sql": sql, "on_failure": "warn"}).details
    assert details["row_count"] == 30
    assert details["rows"] == [{"x": "x" * 6000}, "left out: it has 6009 characters"]


def test_a_value_within_its_bounds_is_fine_and_one_outside_is_not(room: Room) -> None:
    assert check(room, VALUE).details["rows"] == [{"share": 1}]
    with pytest.raises(PermanentFailure, match=re.escape("share is 0.5, and at least 0.95 is expected")):
        check(room, {**VALUE, "sql": "SELECT 0.5 AS share"}, attempt=2)


def test_the_batch_s_values_and_the_params_come_in_as_parameters_and_names_as_templates(room: Room) -> None:
    room.rows("CREATE TABLE {dataset}.sales_2024_03 AS SELECT DATE '2024-03-01' AS day, 7 AS shop")
    sql = "SELECT shop = @shop AND day = @period FROM {dataset}.sales_{period:%Y_%m} WHERE @batch_id = '2024-03'"
    assert check(room, {"sql": sql, "expect": {"equals": True}}, shop=7).details["row_count"] == 1


@pytest.mark.parametrize("on_failure", ["fail", "warn"])
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"sql": "SELEC 1"}, "Syntax error"),
        ({"sql": "SELECT * FROM {dataset}.missing"}, "missing"),
        ({"sql": "SELECT @nobody"}, "@nobody, and only these have values"),
        ({"sql": "CREATE TABLE {dataset}.made (id INT64)"}, "a check is one SELECT, and this is CREATE_TABLE"),
        ({"sql": "SELECT 1; SELECT 2;"}, "a check is one SELECT, and this is SCRIPT"),
        ({**VALUE, "sql": "SELECT CAST(NULL AS INT64) AS share"}, "share is NULL"),
        ({**VALUE, "sql": "SELECT MAX(id) AS top FROM UNNEST(CAST([] AS ARRAY<INT64>)) AS id"}, "top is NULL"),
        ({**VALUE, "sql": "SELECT 1 AS a, 2 AS b"}, "selects 2 columns: a, b"),
        ({**VALUE, "sql": THIRTY}, "gave 30 rows of id"),
        ({**VALUE, "sql": "SELECT 'x' AS name"}, "name is 'x', and a number is expected"),
    ],
)
def test_a_broken_check_is_never_fine(room: Room, config: dict[str, Any], reason: str, on_failure: str) -> None:
    with pytest.raises(PermanentFailure, match=reason):
        check(room, {**config, "on_failure": on_failure})


def test_a_result_that_cannot_be_read_is_an_error(room_on_the_wire: Room, wire: BigQueryWire) -> None:
    wire.unreadable_results = True
    with pytest.raises(PermanentFailure, match="accessDenied"):
        check(room_on_the_wire, {"sql": "SELECT 1", "on_failure": "warn"})


def test_a_result_that_bigquery_does_not_give_now_leaves_the_attempt_open(
    room_on_the_wire: Room, wire: BigQueryWire
) -> None:
    limits = room_on_the_wire.clients.bigquery._limits
    limits["retry"] = limits["retry"].with_timeout(0.3)
    config, work = {"sql": "SELECT 1"}, room_on_the_wire.work("check")
    begun = room_on_the_wire.begin("bigquery_check", config, work)
    wire.silent_results = True
    with pytest.raises(Unavailable, match="reading the result"):
        room_on_the_wire.finish("bigquery_check", config, work, begun)
    wire.silent_results = False
    assert room_on_the_wire.start("bigquery_check", config, work).details["row_count"] == 0
    assert len(wire.jobs) == 1


def test_the_number_of_all_rows_is_told_though_only_the_first_are_read(
    room_on_the_wire: Room, wire: BigQueryWire
) -> None:
    wire.columns, wire.total_rows = {"id": "INTEGER"}, 123_456
    wire.first_rows = [[str(number)] for number in range(20)]
    details = check(room_on_the_wire, {"sql": "SELECT id", "on_failure": "warn"}).details
    assert (details["row_count"], details["bytes_processed"], len(details["rows"])) == (123_456, 7, 20)
    assert wire.asked_rows == {"20"}


def test_the_limit_of_bytes_and_the_labels_are_sent(room_on_the_wire: Room, wire: BigQueryWire) -> None:
    check(room_on_the_wire, {"sql": "SELECT 1", "maximum_bytes_billed": 1000, "labels": {"team": "Finance"}})
    sent = wire.inserts[0]["configuration"]
    assert sent["query"]["maximumBytesBilled"] == "1000"
    assert (sent["labels"]["task"], sent["labels"]["team"]) == ("check", "finance")


@pytest.fixture
def engine(database: Database, wire: BigQueryWire) -> EngineRoom:
    """An engine in which BigQuery is `wire`, whose jobs take their time, and a check with a task below it."""
    settings = Settings(
        database_url="postgresql://nobody@localhost/none",
        project="local",
        landing_bucket="landing",
        bigquery_emulator_host=wire.url,
    )
    engine = EngineRoom(database, more_kinds=[build_kinds(Clients(settings))["bigquery_check"]])
    wire.held, wire.age = True, 3600.0
    return engine


def begun(engine: EngineRoom, **config: Any) -> None:
    check = {"kind": "bigquery_check", "config": {"sql": "SELECT 1", **config}, "timeout_seconds": 600}
    engine.apply({"check": [], "report": ["check"]}, details={"check": check})
    engine.start()
    engine.deliver_all()
    assert engine.statuses() == {"check": "PROCESSING", "report": "WAITING"}


def ended(engine: EngineRoom, wire: BigQueryWire) -> dict[str, str]:
    """The statuses when the sweep has found the job at its end."""
    wire.held, wire.age = False, 0.0
    for _ in range(2):
        engine.pass_time(31)
        engine.sweep()
    engine.deliver_all()
    return engine.statuses()


def found(wire: BigQueryWire) -> None:
    """Let every query find two rows."""
    wire.columns, wire.first_rows, wire.total_rows = {"id": "INTEGER"}, [["1"], ["2"]], 2


def test_a_failed_check_stops_what_is_below_it(engine: EngineRoom, wire: BigQueryWire) -> None:
    found(wire)
    begun(engine)
    assert ended(engine, wire) == {"check": "ERROR", "report": "SKIPPED:upstream_failed"}
    [(error, details)] = engine.rows("SELECT error, details FROM task_log")
    assert error == "the check has failed: 2 rows came back, and none is expected"
    assert (details["row_count"], details["rows"]) == (2, [{"id": 1}, {"id": 2}])


def test_what_is_below_a_warning_runs(engine: EngineRoom, wire: BigQueryWire) -> None:
    found(wire)
    begun(engine, on_failure="warn")
    assert ended(engine, wire) == {"check": "SUCCESS", "report": "SUCCESS"}
    [(warning,)] = engine.rows("SELECT details ->> 'warning' FROM task_log WHERE details ? 'warning'")
    assert warning == "2 rows came back, and none is expected"


def test_a_worker_that_dies_with_the_job_under_way_is_followed_by_one_that_finds_it(
    engine: EngineRoom, wire: BigQueryWire
) -> None:
    begun(engine)
    assert len(wire.inserts) == 1
    # As when it dies before the handle is stored: the lease runs out, and nobody knows of a job.
    engine.change(
        "UPDATE batch_task SET handle = NULL, due_at = NULL, token = gen_random_uuid(), lease_until = 'epoch' "
        "WHERE status = 'PROCESSING'"
    )
    assert engine.sweep() == {"dead_attempts": 1}
    engine.deliver_all()
    assert ended(engine, wire) == {"check": "SUCCESS", "report": "SUCCESS"}
    assert len(wire.jobs) == 1


def test_a_check_that_takes_too_long_is_stopped(engine: EngineRoom, wire: BigQueryWire) -> None:
    begun(engine)
    engine.pass_time(601)
    for _ in range(3):
        engine.sweep()
        engine.pass_time(600)
    assert engine.statuses() == {"check": "ERROR", "report": "SKIPPED:upstream_failed"}
    [job] = wire.jobs.values()
    assert job["status"]["errorResult"] == STOPPED


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_check_can_be_cancelled_before_and_after_its_job_begins(
    room_on_the_wire: Room, wire: BigQueryWire, *, has_begun: bool
) -> None:
    wire.held = True
    config, work = {"sql": "SELECT 1"}, room_on_the_wire.work("check")
    if has_begun:
        assert isinstance(room_on_the_wire.begin("bigquery_check", config, work), GoesOn)
    for _ in range(5):
        if room_on_the_wire.cancel("bigquery_check", config, work):
            break
        wire.held = False
    [job] = wire.jobs.values()
    if has_begun:
        assert job["status"]["errorResult"] == STOPPED
    else:
        with pytest.raises(PermanentFailure, match="was cancelled before the job began"):
            room_on_the_wire.start("bigquery_check", config, work)


def test_sql_from_a_file_beside_the_workflow_is_stored(tmp_path: Path) -> None:
    (tmp_path / "check.sql").write_text("SELECT 1")
    config = BigQueryCheckConfig.model_validate({"sql_file": "check.sql"}, context={"folder": tmp_path})
    assert config.sql == "SELECT 1"
