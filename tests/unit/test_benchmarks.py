"""The benchmarks measure what they say, so that a figure may be believed."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.figures import percentile, rounded
from benchmarks.goals import GOALS, Better, Goal
from benchmarks.measures.layer import completions_in
from benchmarks.room import TEMPLATE, open_room
from benchmarks.shapes import TEN_TASKS, chain, chains, fan, join, layers
from benchmarks.statements import Logged, logged_statements, read_statements
from run.local.postgres import Postgres

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

LOG = """\
2026-11-21 10:25:36.931 UTC [72] LOG:  duration: 0.030 ms  statement: BEGIN
2026-11-21 10:25:36.931 UTC [71] LOG:  duration: 1.500 ms  statement: BEGIN; EXECUTE finish (1,
\t'2024-03')
2026-11-21 10:25:36.931 UTC [71] DETAIL:  prepare: PREPARE finish (bigint, text) AS
\t    UPDATE task_log SET status = $2
2026-11-21 10:25:36.931 UTC [73] LOG:  duration: 0.100 ms  statement: SELECT 1
2026-11-21 10:25:36.931 UTC [72] LOG:  duration: 0.200 ms  statement: ROLLBACK
2026-11-21 10:25:36.931 UTC [71] LOG:  duration: 2.000 ms  statement: COMMIT
2026-11-21 10:25:36.931 UTC [71] ERROR:  something else
""".splitlines()


def test_statements_of_several_connections_are_told_apart() -> None:
    transactions = Logged(read_statements(LOG)).transactions()
    numbers = [(one[0].connection, [statement.milliseconds for statement in one]) for one in transactions]
    assert numbers == [(73, [0.1]), (72, [0.03, 0.2]), (71, [1.5, 2.0])]


def test_a_prepared_statement_is_known_by_what_it_was_prepared_from() -> None:
    [executed] = [one for one in read_statements(LOG) if "EXECUTE" in one.text]
    assert "'2024-03'" in executed.text
    assert "PREPARE finish (bigint, text)" in executed.text
    assert "UPDATE task_log" in executed.text


def test_what_frames_a_transaction_is_not_counted_as_a_statement_of_ours() -> None:
    assert [one.text.split()[0] for one in Logged(read_statements(LOG)).own] == ["EXECUTE", "SELECT"]


def test_what_ends_an_attempt_is_counted_with_what_was_tried_first() -> None:
    said = "2026-11-21 10:25:36.931 UTC [71] LOG:  duration: 1.000 ms  statement: "
    claim, in_vain = f"{said}WITH claimed INSERT INTO task_log", f"{said}WITH own UPDATE task_log"
    whole = [f"{said}BEGIN; UPDATE task_log", f"{said}SELECT 1", f"{said}COMMIT"]
    logged = Logged(read_statements([claim, in_vain, *whole, claim, f"{said}SELECT 2", in_vain]))
    assert [len(one) for one in completions_in(logged)] == [4, 1]


@pytest.mark.parametrize(
    ("better", "value", "reached"),
    [(Better.LESS, 6.0, True), (Better.LESS, 6.1, False), (Better.MORE, 6.0, True), (Better.MORE, 5.9, False)],
)
def test_a_goal_is_reached_in_its_own_direction(better: Better, value: float, reached: bool) -> None:
    assert Goal("a figure", better=better, goal=6).is_reached(value) is reached
    assert Goal("a figure", better=better).is_reached(value) is None


def test_every_figure_has_a_goal_by_its_name_and_every_goal_is_measured() -> None:
    calls = [
        node
        for path in (BENCHMARKS / "measures").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in GOALS
    ]
    assert {str(node.value) for node in calls} == set(GOALS)


def test_percentiles_and_digits() -> None:
    assert percentile([float(number) for number in range(101)], 99) == 99
    assert [rounded(value) for value in (1234.56, 12.3456, 0.123456)] == [1234.6, 12.35, 0.1235]


def test_the_shapes_are_those_that_other_systems_were_measured_with() -> None:
    assert [len(shape) for shape in (chain(100), fan(200), TEN_TASKS, layers(100), join(50))] == [100, 202, 10, 200, 51]
    assert sum(not parents for parents in chains(100, 10).values()) == 100
    assert all(len(layers(100)[f"b{number}"]) == 100 for number in range(100))
    assert TEN_TASKS["i"] == ("f", "g", "h")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("hop2.sql", "f0621f8fe3e97ef1fcee17571e2a383215433e8d371208634729f295aa03fe93"),
        ("setup.sql", "19645ebad9eec7fe709f7001cd53133cea896ab89292d310f658bc1429b7d1a2"),
    ],
)
def test_the_yardstick_is_as_it_was_when_others_were_measured(name: str, digest: str) -> None:
    assert hashlib.sha256((BENCHMARKS / "pgbench" / name).read_bytes()).hexdigest() == digest


def test_a_batch_runs_in_the_room_of_the_benchmarks_and_its_statements_are_seen(
    postgres: Postgres, migrated: str
) -> None:
    assert migrated == TEMPLATE
    with open_room(postgres, threads=1) as room:
        room.apply("chain", chain(3))
        room.run("chain", ["before"], seconds=60)
        with logged_statements(room) as logged:
            seconds = room.run("chain", ["only"], seconds=60)
        began = room.rows(
            "SELECT CAST(details ->> 'began' AS float) FROM task_log WHERE batch_id = 'only' ORDER BY started_at"
        )
        took = room.rows("SELECT extract(epoch FROM ended_at - created_at) FROM task_batch WHERE batch_id = 'only'")
    assert [one for (one,) in began] == sorted(one for (one,) in began)
    assert 0 < took[0][0] <= seconds
    assert sum("UPDATE task_log" in one.text for one in logged.own) == 3


def test_a_measure_that_does_not_exist_is_refused_before_anything_is_started() -> None:
    done = CliRunner().invoke(main, ["--only", "hop,speed"])
    assert done.exit_code == 2
    assert "speed; there are hop, rate, layer" in done.output
