"""SQL on the local BigQuery server: what goes in, what comes out, and what is said when it is wrong."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from run.errors import PermanentFailure
from tests.integration.kinds.room import Room


def query(room: Room, sql: str, *, params: dict[str, Any] | None = None, attempt: int = 1) -> dict[str, Any]:
    work = room.work("query", attempt=attempt, values={"period": date(2024, 3, 1), "region": "nord"}, params=params)
    return dict(room.start("bigquery_query", {"sql": sql}, work).details)


def test_the_batch_s_names_and_the_params_come_in_as_query_parameters(room: Room) -> None:
    sql = "SELECT @batch_id AS b, @period AS p, @region AS r, @top + 1 AS t, @rate AS x, @dry AS d, @ids AS i"
    row = query(room, sql, params={"top": 2, "rate": 0.5, "dry": True, "ids": [1, 2], "unused": {"a": 1}})["first_row"]
    assert row == {"b": "2024-03", "p": "2024-03-01", "r": "nord", "t": 3, "x": 0.5, "d": True, "i": [1, 2]}


def test_a_value_cannot_leave_its_parameter(room: Room) -> None:
    assert query(room, "SELECT @name AS name", params={"name": "x'; DROP TABLE y"})["first_row"] == {
        "name": "x'; DROP TABLE y"
    }


def test_identifiers_come_from_templates_and_other_braces_stay(room: Room) -> None:
    query(room, "CREATE TABLE {dataset}.report_{period:%Y_%m} AS SELECT '{\"a\": 1}' AS json")
    assert room.rows("SELECT json FROM {dataset}.report_2024_03") == [{"json": '{"a": 1}'}]


def test_a_value_that_is_no_identifier_is_refused(room: Room) -> None:
    work = room.work("query", values={"region": "x` WHERE TRUE --"})
    with pytest.raises(PermanentFailure, match="cannot be a part of an identifier"):
        room.start("bigquery_query", {"sql": "SELECT * FROM `{dataset}.sales_{region}`"}, work)


def test_changed_rows_are_counted(room: Room) -> None:
    query(room, "CREATE TABLE {dataset}.t AS SELECT 1 AS id UNION ALL SELECT 2")
    details = query(room, "DELETE FROM {dataset}.t WHERE id = 2", attempt=2)
    assert (details["statement"], details["rows_affected"]) == ("DELETE", 1)


def test_a_script_runs_as_a_whole(room: Room) -> None:
    query(room, "CREATE TABLE {dataset}.t (id INT64); INSERT INTO {dataset}.t VALUES (1); SELECT 2 AS two;")
    assert room.count("t") == 1


def test_the_same_attempt_is_not_run_twice(room: Room) -> None:
    query(room, "CREATE TABLE {dataset}.t (id INT64)")
    for _ in range(2):
        query(room, "INSERT INTO {dataset}.t VALUES (1)", attempt=2)
    assert room.count("t") == 1
    query(room, "INSERT INTO {dataset}.t VALUES (1)", attempt=3)
    assert room.count("t") == 2


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "Syntax error"),
        ("SELECT * FROM {dataset}.missing", "missing"),
        ("SELECT @nobody", "@nobody, and only these have values"),
    ],
)
def test_wrong_sql_is_a_permanent_failure_with_its_reason(room: Room, sql: str, message: str) -> None:
    with pytest.raises(PermanentFailure, match=message):
        query(room, sql)


def test_a_list_of_several_types_is_refused(room: Room) -> None:
    with pytest.raises(PermanentFailure, match="several types"):
        query(room, "SELECT @mixed", params={"mixed": [1, "a"]})


def test_a_large_first_row_is_left_out_of_the_details(room: Room) -> None:
    assert query(room, "SELECT REPEAT('x', 20000) AS x")["first_row"] == "left out: it has 20009 characters"
