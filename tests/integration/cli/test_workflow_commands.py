from __future__ import annotations

import json
import subprocess

import pytest
from sqlalchemy import text

from database.sessions import Transaction
from tests.integration.cli.conftest import CommandLine
from tests.integration.cli.workflow_files import DATED, NUMBERED, SALES, chain
from tests.local_parts import eventually

CYCLE = """workflow: ring
batch: "{period}"
tasks:
  a: {kind: bigquery_query, sql: SELECT 1, needs: [b]}
  b: {kind: bigquery_query, sql: SELECT 1, needs: [a]}
"""


def test_check_finds_a_sound_file_fine_and_stores_nothing(cli: CommandLine) -> None:
    before = cli.everything()
    path = cli.write("sales.yaml", SALES)
    assert cli.good("workflow", "check", path) == f"{path}: fine, workflow sales with 3 tasks\n"
    assert cli.everything() == before


def test_check_needs_no_environment(cli: CommandLine) -> None:
    cli.environment = dict.fromkeys(cli.environment, "")
    assert "fine" in cli.good("workflow", "check", cli.write("sales.yaml", SALES))


def test_check_says_every_problem_of_every_file(cli: CommandLine) -> None:
    first = cli.write("first.yaml", NUMBERED.replace("kind: bigquery_query", "kind: bigquery_quer"))
    second = cli.write("second.yaml", NUMBERED.replace("numbered", "other").replace("tasks:", "taskz: {}\ntasks:"))
    missing = str(cli.folder / "missing.yaml")
    said = cli.bad("workflow", "check", first, second, missing)
    lines = said.splitlines()
    assert [line.rsplit(":", 1)[0].partition(": ")[0] for line in lines if line.startswith(first)] == [f"{first}:4"]
    assert any(line.startswith(f"{second}:3: ") and "taskz" in line for line in lines)
    assert f"{missing}:1: cannot be read: No such file or directory" in lines


@pytest.mark.parametrize("command", ["check", "apply"])
def test_a_cycle_is_refused_by_its_names_and_nothing_is_stored(cli: CommandLine, command: str) -> None:
    sound, ring = cli.write("sales.yaml", SALES), cli.write("ring.yaml", CYCLE)
    before = cli.everything()
    said = cli.bad("workflow", command, sound, ring)
    assert f"{ring}:5: " in said
    assert "a -> b -> a" in said
    assert cli.everything() == before


@pytest.mark.parametrize("arguments", [("check",), ("apply",), ("show",), ("paint", "x")])
def test_wrong_usage_is_exit_status_2(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    assert "Usage: " in cli.bad("workflow", *arguments, status=2)


def test_apply_stores_all_files_and_says_who_did_it(cli: CommandLine) -> None:
    paths = [cli.write("sales.yaml", SALES), cli.write("numbered.yaml", NUMBERED)]
    assert cli.good("workflow", "apply", *paths, "--actor", "ann") == "numbered: version 1\nsales: version 1\n"
    audit = cli.room.rows("SELECT actor, action, subject, details ->> 'version' FROM audit ORDER BY audit_id")
    assert audit == [("ann", "apply", "workflow numbered", "1"), ("ann", "apply", "workflow sales", "1")]
    positions = cli.room.rows("SELECT name, position FROM task_version JOIN task USING (task_id) ORDER BY 2, 1")
    assert ("profit", 2) in positions
    edges = cli.room.rows(
        "SELECT p.name, c.name FROM task_dependency JOIN task p ON p.task_id = parent_id "
        "JOIN task c ON c.task_id = child_id ORDER BY 1"
    )
    assert edges == [("load_expenses", "profit"), ("load_sales", "profit")]


def test_applying_the_same_file_again_changes_nothing(cli: CommandLine) -> None:
    cli.apply(SALES)
    before = cli.everything()
    assert cli.apply(f"# only a comment\n{SALES}") == "sales: unchanged, version 1\n"
    assert cli.everything() == before


def test_a_changed_file_is_a_new_version_and_open_batches_keep_theirs(cli: CommandLine) -> None:
    cli.apply(SALES)
    cli.good("batch", "start", "sales", "2024-03")
    assert cli.apply(SALES.replace("SELECT 1", "SELECT 2")) == "sales: version 2\n"
    cli.good("batch", "start", "sales", "2024-04")
    versions = {row["batch"]: row["version"] for row in cli.json("batch", "list")}
    assert versions == {"2024-03": 1, "2024-04": 2}


@pytest.mark.parametrize(
    ("child", "of_a", "of_b"),
    [
        ("rule: all_success", False, False),
        # Where b can be skipped without a failure, the end of another parent of c may skip c.
        ("rule: one_failed", True, True),
        ("rule: all_failed", True, True),
        ("disabled: true", True, True),
    ],
)
def test_a_task_whose_success_can_skip_a_child_is_stored_as_such(
    cli: CommandLine, child: str, of_a: bool, of_b: bool
) -> None:
    cli.apply(chain("w", "a", "b", "c").replace("needs: [a], rule: all_success", f"needs: [a], {child}"))
    rows = cli.room.rows("SELECT name, success_may_skip FROM task_version JOIN task USING (task_id) ORDER BY position")
    assert rows == [("a", of_a), ("b", of_b), ("c", False)]


def test_apply_says_how_many_files_have_come_before_their_workflow(cli: CommandLine) -> None:
    common = {"bucket": "landing", "generation": "7", "size": "5", "timeCreated": "2024-03-16T12:00:05Z"}
    names = ("dated/20240316.csv", "dated/20240317.csv", "dated/readme.txt")
    cli.pushes.storage_says = 200, {"items": [{**common, "name": name} for name in names]}
    waiting = "that came before will be handed over within a day; 'file scan' does it now\n"
    assert cli.apply(DATED) == f"dated: version 1\n2 objects {waiting}"
    assert cli.room.rows("SELECT count(*) FROM file_log") == [(0,)]
    assert cli.apply(DATED) == "dated: unchanged, version 1\n"
    assert cli.apply(NUMBERED) == "numbered: version 1\n"
    cli.pushes.storage_says = 200, {"items": [{**common, "name": names[0]}] * 1000, "nextPageToken": "more"}
    assert cli.apply(f"{DATED}    retries: 1\n") == f"dated: version 2\nat least 10,000 objects {waiting}"


def test_apply_stores_its_files_though_storage_does_not_answer(cli: CommandLine) -> None:
    cli.pushes.storage_says = 403, {"error": {"code": 403, "message": "you may not"}}
    result = cli("workflow", "apply", cli.write("sales.yaml", SALES))
    assert (result.exit_code, result.stdout) == (0, "sales: version 1\n")
    assert result.stderr.startswith("how many files wait already is not known: listing gs://landing/")
    assert "you may not" in result.stderr


def test_apply_needs_nothing_but_the_database(cli: CommandLine) -> None:
    cli.environment |= dict.fromkeys(set(cli.environment) - {"DATABASE_URL"}, "")
    result = cli("workflow", "apply", cli.write("sales.yaml", SALES))
    assert (result.exit_code, result.stdout) == (0, "sales: version 1\n")
    assert "LANDING_BUCKET: missing" in result.stderr


def test_two_people_who_apply_the_same_changed_file_make_one_version(cli: CommandLine) -> None:
    cli.apply(SALES)
    assert sorted(apply_while_locked(cli, [SALES.replace("SELECT 1", "SELECT 2")] * 2)) == [
        "sales: unchanged, version 2",
        "sales: version 2",
    ]
    assert_graphs_are_sound(cli, versions=2)


def test_two_people_who_apply_different_files_make_one_version_each(cli: CommandLine) -> None:
    cli.apply(chain("w", "a", "b", "c"))
    said = apply_while_locked(cli, [chain("w", "c", "b", "a"), chain("w", "b", "new", "c", "a")], workflow="w")
    assert sorted(said) == ["w: version 2", "w: version 3"]
    assert_graphs_are_sound(cli, versions=3)


def test_several_people_who_apply_new_files_in_any_order_make_sound_graphs(cli: CommandLine) -> None:
    first = [chain("one", "a", "b", "c"), chain("two", "x", "y")]
    second = [chain("one", "c", "b", "a"), chain("two", "y", "x")]
    paths = [
        [cli.write(f"{number}{name}.yaml", text) for name, text in enumerate(texts)]
        for number, texts in enumerate([first, first, second])
    ]
    orders = [paths[0], list(reversed(paths[1])), paths[2]]
    applying = [cli.process("workflow", "apply", *order) for order in orders]
    for process in applying:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
    assert_graphs_are_sound(cli)
    assert cli.room.rows("SELECT count(*) > 1, max(version) <= 3 FROM workflow_version") == [(True, True)]
    same = "SELECT count(*) FROM workflow_version a JOIN workflow_version b USING (workflow_id, digest) "
    assert cli.room.rows(f"{same} WHERE b.version = a.version + 1") == [(0,)]


def apply_while_locked(cli: CommandLine, texts: list[str], workflow: str = "sales") -> list[str]:
    """Apply files in processes that all wait for the workflow's row before the first may go on."""
    paths = [cli.write(f"{number}.yaml", content) for number, content in enumerate(texts)]

    def hold(tx: Transaction) -> list[subprocess.Popen[str]]:
        tx.execute(text("SELECT FROM workflow WHERE name = :w FOR UPDATE"), {"w": workflow})
        started = [cli.process("workflow", "apply", path) for path in paths]
        waiting = (
            "SELECT count(*) = :n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        eventually(lambda: cli.room.rows(waiting, n=len(paths))[0][0], "both waiting for the row", seconds=40)
        return started

    said = []
    for process in cli.database.transact(hold):
        output, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        said.append(output.strip())
    return said


def assert_graphs_are_sound(cli: CommandLine, versions: int | None = None) -> None:
    """Every version has the tasks and edges of its definition, parents before children."""
    rows = cli.room.rows("SELECT version_id, version, definition FROM workflow_version ORDER BY version_id")
    if versions is not None:
        assert [version for _, version, _ in rows] == list(range(1, versions + 1))
    for version_id, _, definition in rows:
        tasks = cli.room.rows(
            "SELECT name FROM task_version JOIN task USING (task_id) WHERE version_id = :v ORDER BY position",
            v=version_id,
        )
        edges = cli.room.rows(
            "SELECT p.name, c.name FROM task_dependency JOIN task p ON p.task_id = parent_id "
            "JOIN task c ON c.task_id = child_id WHERE version_id = :v",
            v=version_id,
        )
        assert [name for (name,) in tasks] == [task["name"] for task in definition["tasks"]]
        assert sorted(edges) == sorted((need, task["name"]) for task in definition["tasks"] for need in task["needs"])


def test_list_and_show_say_what_is_applied(cli: CommandLine) -> None:
    assert cli.json("workflow", "list") == []
    cli.apply(SALES)
    cli.apply(SALES.replace("SELECT 1", "SELECT 2"))
    (row,) = cli.json("workflow", "list")
    assert (row["workflow"], row["version"], row["tasks"], row["batch_template"]) == ("sales", 2, 3, "{period}")
    assert row["applied_at"].endswith("Z")
    assert "sales" in cli.good("workflow", "list")
    assert "load_sales, load_expenses -> profit" in cli.good("workflow", "show", "sales")
    assert "version 1 of 2, applied" in cli.good("workflow", "show", "sales", "--version", "1")
    assert cli.good("workflow", "show", "sales", "--mermaid").startswith("flowchart LR\n")
    shown = cli.json("workflow", "show", "sales", "--version", "1")
    assert shown["definition"]["tasks"][2]["config"]["sql"] == "SELECT 1"
    assert json.dumps(shown)


def test_list_is_by_name_and_says_when_it_is_cut(cli: CommandLine) -> None:
    cli.apply(chain("zebra", "a"))
    cli.apply(chain("antelope", "a"))
    assert [row["workflow"] for row in cli.json("workflow", "list")] == ["antelope", "zebra"]
    cut = cli("workflow", "list", "--limit", "1")
    assert "antelope" in cut.stdout
    assert cut.stderr == "Only the first 1 are shown; --limit shows more.\n"


def test_show_of_what_is_not_there_says_so(cli: CommandLine) -> None:
    assert cli.bad("workflow", "show", "sales") == "there is no workflow 'sales'\n"
    cli.apply(SALES)
    said = cli.bad("workflow", "show", "sales", "--version", "7")
    assert said == "workflow sales has no version 7; its newest is 1\n"
    assert "ask for one" in cli.bad("workflow", "show", "sales", "--mermaid", "--json", status=2)
