from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from run.clients import Clients
from run.errors import InvalidWorkflow
from run.kinds import build_kinds
from run.settings import Settings
from run.workflows.builder import build_workflow
from run.workflows.definition import FileTrigger, TriggerRule, WorkflowDefinition
from run.workflows.document import read_document
from run.workflows.reader import read_workflow, read_workflows
from run.workflows.scope import Scope
from tests.unit.workflows.toy_kinds import KINDS, SETTINGS, Query, QueryConfig

REFUSED = sorted((Path(__file__).parent / "refused").glob("*.yaml"))
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "workflows.md"

PROFIT = r"""
workflow: profit
batch: "{period}"
params: {currency: EUR, limit: 5}
tasks:
  report:
    kind: query
    needs: [load_sales, load_expenses]
    rule: all_done
  load_sales:
    kind: load
    file: 'gs://{landing_bucket}/sales/(?P<period>\d{4}-\d{2})\.csv'
    table: "{project}.{period}.{currency}"
  load_expenses:
    kind: load
    on_new_generation: ignore
    file: 'gs://{landing_bucket}/expenses/(?P<period>\d{4}-\d{2})\.csv'
    table: expenses
    lease_seconds: 120
"""


def read(folder: Path, text: str, name: str = "workflow.yaml") -> WorkflowDefinition:
    path = folder / name
    path.write_text(dedent(text), encoding="utf-8")
    return read_workflow(path, KINDS, SETTINGS)


def complaints(folder: Path, text: str) -> list[str]:
    with pytest.raises(InvalidWorkflow) as caught:
        read(folder, text)
    return [line.removeprefix(f"{folder / 'workflow.yaml'}:") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_every_problem_is_told_once_at_its_line(path: Path) -> None:
    expected: defaultdict[int, list[str]] = defaultdict(list)
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if "# refused: " in text:
            expected[line] = text.split("# refused: ")[1].split(" | ")
    with pytest.raises(InvalidWorkflow) as caught:
        read_workflow(path, KINDS, SETTINGS)
    told: defaultdict[int, list[str]] = defaultdict(list)
    for complaint in str(caught.value).splitlines():
        _, line_text, reason = complaint.removeprefix(str(path)).split(":", 2)
        told[int(line_text)].append(reason)
    assert list(told) == sorted(told)
    assert {line: len(reasons) for line, reasons in told.items()} == {line: len(e) for line, e in expected.items()}
    for line, fragments in expected.items():
        for fragment in fragments:
            assert any(fragment in reason for reason in told[line]), f"line {line}: {fragment}"


def test_a_workflow_becomes_its_definition_in_topological_order(tmp_path: Path) -> None:
    definition = read(tmp_path, PROFIT)
    assert [task.name for task in definition.tasks] == ["load_sales", "load_expenses", "report"]
    assert (definition.name, definition.batch, definition.params) == (
        "profit",
        "{period}",
        {"currency": "EUR", "limit": 5},
    )
    sales, expenses, report = definition.tasks
    assert sales.file == FileTrigger(pattern=r"gs://{landing_bucket}/sales/(?P<period>\d{4}-\d{2})\.csv")
    assert sales.config == {"table": "{project}.{period}.{currency}", "mode": "replace", "columns": []}
    assert expenses.file is not None
    assert (expenses.file.on_new_generation, expenses.lease_seconds) == ("ignore", 120)
    assert (report.needs, report.rule, report.file) == (("load_sales", "load_expenses"), TriggerRule.all_done, None)


def test_a_stored_definition_is_read_back_equal(tmp_path: Path) -> None:
    definition = read(tmp_path, PROFIT)
    again = WorkflowDefinition.model_validate_json(definition.model_dump_json())
    assert again == definition
    assert again.digest == definition.digest


def test_the_digest_ignores_formatting_comments_and_the_order_of_keys(tmp_path: Path) -> None:
    lines = PROFIT.strip().splitlines()
    tasks = "\n".join(["tasks:", *lines[12:], *lines[8:12], *lines[4:8]])
    shuffled = f'# A comment.\n{tasks}\nparams:\n  limit: 5\n  currency: "EUR"\nbatch: "{{period}}"\nworkflow: profit\n'
    assert read(tmp_path, shuffled).tasks != read(tmp_path, PROFIT).tasks
    assert read(tmp_path, shuffled).digest == read(tmp_path, PROFIT).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("limit: 5", "limit: 6"),
        ("all_done", "all_success"),
        ("needs: [load_sales, load_expenses]", "needs: [load_sales]"),
        ("table: expenses", "table: costs"),
        ("lease_seconds: 120", "lease_seconds: 121"),
        ("on_new_generation: ignore", "on_new_generation: rerun"),
        ("/expenses/", "/costs/"),
    ],
)
def test_the_digest_tells_every_change_of_meaning(tmp_path: Path, old: str, new: str) -> None:
    assert old in PROFIT
    assert read(tmp_path, PROFIT).digest != read(tmp_path, PROFIT.replace(old, new)).digest


def test_the_digest_of_a_workflow_that_uses_no_later_key_is_what_it_always_was(tmp_path: Path) -> None:
    assert read(tmp_path, PROFIT).digest == "a9b0fb40e02a3c99569bca892cd0e05bdbe7810876775bdc2eabd2353702dfa2"


def test_a_later_key_written_with_its_default_is_no_change_and_with_another_value_is_one(tmp_path: Path) -> None:
    digest = read(tmp_path, PROFIT).digest
    for key, default, other in [
        ("retries", "0", "1"),
        ("retry_delay", "30", "31"),
        ("retry_max_delay", "15m", "16m"),
        ("max_takeovers", "3", "4"),
        ("timeout", "null", "1h"),
        ("when", "null", "params.limit > 1"),
    ]:
        written = f"    kind: query\n    {key}: "
        assert read(tmp_path, PROFIT.replace("    kind: query\n", f"{written}{default}\n")).digest == digest, key
        assert read(tmp_path, PROFIT.replace("    kind: query\n", f"{written}{other}\n")).digest != digest, key
    warned = read(tmp_path, f"{PROFIT}deadline: 2h\n").digest
    assert warned != digest
    assert read(tmp_path, f"{PROFIT}deadline: 2h\non_missed_deadline: warn\n").digest == warned
    assert read(tmp_path, f"{PROFIT}deadline: 2h\non_missed_deadline: cancel\n").digest != warned


def test_retries_and_limits_become_seconds(tmp_path: Path) -> None:
    text = """
        workflow: w
        deadline: 2h
        on_missed_deadline: cancel
        tasks:
          a: {kind: query, retries: 4, retry_delay: 90s, retry_max_delay: 1h, timeout: 15m, max_takeovers: 1}
          b: {kind: query}
        """
    definition = read(tmp_path, text)
    assert (definition.deadline_seconds, definition.on_missed_deadline) == (7200, "cancel")
    assert [
        (task.retries, task.retry_delay_seconds, task.retry_max_delay_seconds, task.timeout_seconds, task.max_takeovers)
        for task in definition.tasks
    ] == [(4, 90, 3600, 900, 1), (0, 30, 900, None, 3)]


def test_a_task_without_a_timeout_has_that_of_its_kind(tmp_path: Path) -> None:
    text = "workflow: w\ntasks: {a: {kind: call}, b: {kind: call, timeout: 1d}}\n"
    assert [task.timeout_seconds for task in read(tmp_path, text).tasks] == [3600, 86_400]


def test_the_kind_says_whether_a_task_awaits_a_completion_message(tmp_path: Path) -> None:
    text = "workflow: w\ntasks: {a: {kind: call}, b: {kind: call, wait: false}, c: {kind: query}}\n"
    assert [task.awaits_completion for task in read(tmp_path, text).tasks] == [True, False, False]


def test_the_same_mapping_built_in_python_gives_the_same_definition(tmp_path: Path) -> None:
    definition, problems = build_workflow(read_document(PROFIT).data, KINDS, SETTINGS)
    assert problems == []
    assert definition == read(tmp_path, PROFIT)


def test_a_companion_file_is_read_beside_the_workflow(tmp_path: Path) -> None:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "a.sql").write_text("SELECT 'é'", encoding="utf-8")
    text = "workflow: w\ntasks: {a: {kind: query, sql_file: sql/a.sql}}\n"
    assert read(tmp_path, text).tasks[0].config["sql"] == "SELECT 'é'"


def test_a_companion_file_outside_the_folder_is_refused_by_any_way(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    secret = tmp_path / "secret.sql"
    secret.write_text("SELECT 1", encoding="utf-8")
    (inside / "link.sql").symlink_to(secret)
    for name in ("../secret.sql", str(secret), "link.sql"):
        text = f"workflow: w\ntasks:\n  a: {{kind: query, sql_file: {name}}}\n"
        assert complaints(inside, text) == [
            f"3: task 'a': '{name}' leaves the folder of the workflow file; put it there or below"
        ]


def test_a_plain_name_that_files_make_a_date_is_written_as_one(tmp_path: Path) -> None:
    text = r"""
        workflow: w
        batch: "{day}"
        tasks:
          a: {kind: load, file: 'gs://b/(?P<day>\d+)', parse: {day: "%Y%m%d"}, table: "t_{day:%Y}"}
        """
    assert read(tmp_path, text).batch == "{day:%Y-%m-%d}"


def test_without_file_tasks_a_batch_name_is_bound_by_the_given_id(tmp_path: Path) -> None:
    assert read(tmp_path, 'workflow: w\nbatch: "{period:%Y-%m}"\ntasks: {a: {kind: query}}\n').batch == "{period:%Y-%m}"


def test_a_kind_sees_the_file_tasks_above_it_at_any_distance(tmp_path: Path) -> None:
    text = """
        workflow: w
        tasks:
          far: {kind: query, needs: [near], sql: archive}
          near: {kind: query, needs: [load]}
          load: {kind: load, file: gs://b/x, table: t}
          beside: {kind: query, sql: archive}
        """
    assert complaints(tmp_path, text) == ["7: task 'beside': 'sql': no task above takes a file"]


def test_a_kind_sees_the_workflow_around_its_task(tmp_path: Path) -> None:
    seen: dict[str, Scope] = {}

    class Watching(Query):
        def problems(self, config: QueryConfig, scope: Scope) -> Iterator[tuple[str, str]]:
            seen[scope.task] = scope
            return iter(())

    path = tmp_path / "workflow.yaml"
    path.write_text(AROUND, encoding="utf-8")
    read_workflow(path, {**KINDS, "query": Watching()}, SETTINGS)
    assert seen["first"].parameter_names == {"batch_id", "day", "region"}
    assert {task: file.on_new_generation for task, file in seen["second"].file_tasks_above.items()} == {
        "kept": "ignore",
        "again": "rerun",
    }
    assert (seen["first"].rerun_by, seen["second"].rerun_by) == ((), ("again",))
    assert seen["first"].same_kind == {"first": {"sql": "1"}, "second": {"sql": "2"}}


AROUND = r"""
workflow: w
batch: "{day}"
params: {region: north}
tasks:
  again: {kind: load, file: 'gs://b/a(?P<day>\d+)', table: t}
  kept: {kind: load, file: 'gs://b/k(?P<day>\d+)', table: t, on_new_generation: ignore}
  first: {kind: query, sql: "1", needs: [kept]}
  second: {kind: query, sql: "2", needs: [first, again]}
"""


def test_a_broken_graph_makes_no_kind_complain_of_what_it_cannot_see(tmp_path: Path) -> None:
    text = "workflow: w\ntasks:\n  a: {kind: query, sql: archive, needs: [lod]}\n"
    assert complaints(tmp_path, text) == ["3: task 'a': needs 'lod', which is no task of this workflow"]


def test_texts_that_yaml_takes_for_something_else_stay_texts(tmp_path: Path) -> None:
    params = "{a: NO, b: 12:30, c: 2024-03-01, d: true, e: 1.5, f: null, g: 0x10, h: '1'}"
    definition = read(tmp_path, f"workflow: w\nparams: {params}\ntasks: {{a: {{kind: query}}}}\n")
    assert definition.params == {
        "a": "NO", "b": "12:30", "c": "2024-03-01", "d": True, "e": 1.5, "f": None, "g": 16, "h": "1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "1: the file is empty"),
        (b"# nothing\n", "1: the file is empty"),
        (b"workflow: \xff\n", "1: not UTF-8 text: invalid start byte"),
        (b"a: 1\nb: \x01\n", "2: not YAML: special characters are not allowed"),
        (b"a: 1\n---\nb: 1\n", "2: not YAML: expected a single document"),
        (b"a: *x\n", "1: not YAML: found undefined alias 'x'"),
        (b"[" * 3000, "1: not YAML that can be read: nested too deeply"),
        (b"a: &x [*x]\n", "1: an alias that repeats itself without end"),
        (b'"a', "1: not YAML: while scanning a quoted scalar found unexpected end of stream"),
        (b"just words", "1: a workflow is a mapping"),
    ],
)
def test_what_is_no_yaml_is_a_problem_and_never_a_traceback(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "workflow.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidWorkflow, match=re.escape(f"{path}:{complaint}")):
        read_workflow(path, KINDS, SETTINGS)


def test_aliases_of_aliases_are_stopped(tmp_path: Path) -> None:
    layers = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 30)}]\n" for n in range(1, 9))
    assert any("repeats itself without end" in line for line in complaints(tmp_path, f"x0: &x0 [a]\n{layers}"))


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkflow, match=r"absent\.yaml:1: cannot be read: No such file"):
        read_workflow(tmp_path / "absent.yaml", KINDS, SETTINGS)


def test_the_problems_of_all_files_are_told_together(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.yaml" for name in "abc"]
    paths[0].write_text("workflow: one\ntasks: {a: {kind: query}}\n", encoding="utf-8")
    paths[1].write_text("\nworkflow: one\ntasks: {a: {kind: query}}\n", encoding="utf-8")
    paths[2].write_text("workflow: two\ntasks: {a: {kind: quer}}\n", encoding="utf-8")
    with pytest.raises(InvalidWorkflow) as caught:
        read_workflows(paths, KINDS, SETTINGS)
    assert str(caught.value).splitlines() == [
        f"{paths[1]}:2: the workflow 'one' is also in {paths[0]}; each has a file of its own",
        f"{paths[2]}:2: task 'a': unknown kind 'quer'; did you mean 'query'?",
    ]
    paths[1].unlink()
    paths[2].write_text("workflow: two\ntasks: {a: {kind: query}}\n", encoding="utf-8")
    assert [each.name for each in read_workflows([paths[2], paths[0]], KINDS, SETTINGS)] == ["two", "one"]


def test_the_examples_of_the_documentation_are_sound(tmp_path: Path) -> None:
    (tmp_path / "report.sql").write_text("SELECT 1", encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL)
    settings = Settings(database_url="postgresql://nobody@localhost/none", project="local", landing_bucket="landing")
    kinds = build_kinds(Clients(settings))
    assert len(examples) >= 4
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(example, encoding="utf-8")
        assert read_workflow(path, kinds, SETTINGS).tasks


def test_the_results_that_a_condition_reads_are_needed_by_its_task(tmp_path: Path) -> None:
    text = PROFIT.replace("    rule: all_done\n", "    when: results.load_sales.rows > 0 && params.limit > 1\n")
    report = read(tmp_path, text).tasks[-1]
    assert (report.when, report.reads_results) == (
        "results.load_sales.rows > 0 && params.limit > 1",
        ("load_sales",),
    )
