"""What a definition says is what is refused, stored, shown and drawn."""

from __future__ import annotations

import re

import pytest

from run.kinds import KINDS
from tests.integration.cli.conftest import CommandLine
from tests.integration.cli.workflow_files import SALES

POWER_BI = (
    "workspace: f089354e-8366-4e18-aea3-4cb4a3a50b48, dataset: cfafbeb1-8037-4d0c-896e-a46fb27ff229, "
    "tenant: contoso.com, client_id: b759774c-6f25-4860-a0cf-7fc4b9a8dc24, client_secret: {secret: POWER_BI}"
)
FILE = "file: 'gs://{landing_bucket}/(?P<period>.*)'"
ABOVE = f"above: {{kind: load_file, table: a.b, {FILE}}}"

#: Each kind without each detail that it cannot do without, and the name of what is missing.
INCOMPLETE = [
    ("validate_file", FILE, "columns"),
    ("validate_file", "columns: [{name: id}]", "file"),
    ("convert_file", FILE, "columns"),
    ("load_file", FILE, "table"),
    ("load_file", "table: a.b", "file"),
    ("bigquery_query", "needs: [above]", "sql"),
    ("dataform_run", "repository: r, commit: main, everything: true", "location"),
    ("dataform_run", "location: europe-west1, commit: main, everything: true", "repository"),
    ("dataform_run", "location: europe-west1, repository: r, everything: true", "commit"),
    ("dataform_run", "location: europe-west1, repository: r, commit: main", "targets"),
    ("bigquery_check", "needs: [above]", "sql"),
    ("archive_file", "needs: [above]", "files_of"),
    ("http_request", "method: POST", "url"),
    ("cloud_run_job", "job: extract", "location"),
    ("cloud_run_job", "location: europe-west1", "job"),
    ("python_function", "args: [1]", "function"),
    ("power_bi_refresh", POWER_BI.replace("workspace:", "report:"), "workspace"),
    ("power_bi_refresh", re.sub("dataset: [^,]+, ", "", POWER_BI), "dataset"),
    ("power_bi_refresh", re.sub("tenant: [^,]+, ", "", POWER_BI), "tenant"),
    ("power_bi_refresh", re.sub("client_id: [^,]+, ", "", POWER_BI), "client_id"),
    ("power_bi_refresh", re.sub(", client_secret.*", "", POWER_BI), "client_secret"),
]
COMPLETE = {
    "validate_file": f"columns: [{{name: id, type: INT64}}], {FILE}",
    "convert_file": "columns: [{name: id}], needs: [above], from: above",
    "load_file": f"table: a.c, {FILE}",
    "bigquery_query": "sql: SELECT 1",
    "dataform_run": "location: europe-west1, repository: r, commit: main, targets: [daily_sales_summary]",
    "bigquery_check": "sql: SELECT 1, expect: {equals: 1}, on_failure: warn",
    "archive_file": "needs: [above], files_of: above",
    "external": "description: the agency counts the shops",
    "http_request": "url: 'https://service.example/{period}'",
    "cloud_run_job": "job: extract, location: europe-west1",
    "power_bi_refresh": POWER_BI,
    "python_function": "function: functions.cake:mix, args: [8]",
}
#: Kinds that can do without any detail.
WITHOUT_DETAILS = {"external"}


def test_no_kind_is_left_out() -> None:
    assert {kind for kind, _, _ in INCOMPLETE} | WITHOUT_DETAILS == set(COMPLETE) == {kind.name for kind in KINDS}


def workflow(kind: str, details: str) -> str:
    return f'workflow: w\nbatch: "{{period}}"\ntasks:\n  {ABOVE}\n  one: {{kind: {kind}, {details}}}\n'


@pytest.mark.parametrize("kind", COMPLETE)
def test_a_complete_definition_is_taken(cli: CommandLine, kind: str) -> None:
    assert "fine" in cli.good("workflow", "check", cli.write("w.yaml", workflow(kind, COMPLETE[kind])))


@pytest.mark.parametrize(("kind", "details", "missing"), INCOMPLETE)
def test_a_definition_without_a_required_detail_is_refused_naming_it(
    cli: CommandLine, kind: str, details: str, missing: str
) -> None:
    path = cli.write("w.yaml", workflow(kind, details))
    before = cli.everything()
    [problem] = cli.bad("workflow", "apply", path).splitlines()
    assert problem.startswith(f"{path}:5: ")
    assert re.search(rf"\b{missing}\b", problem.removeprefix(path))
    assert cli.everything() == before


def test_the_kind_gives_what_a_task_does_not_say(cli: CommandLine) -> None:
    lines = [
        "workflow: w",
        "tasks:",
        "  default: {kind: external}",
        "  said: {kind: external, timeout: 2h}",
        "  inside: {kind: bigquery_query, sql: SELECT 1}",
    ]
    cli.apply("\n".join(lines))
    stored = cli.room.rows("SELECT timeout_seconds, awaits_completion FROM task_version ORDER BY position")
    assert stored == [(7 * 24 * 3600, True), (7200, True), (None, False)]


def test_a_task_has_an_id_that_stays_a_name_a_kind_and_its_details(cli: CommandLine) -> None:
    cli.apply(SALES)
    ids = cli.room.rows("SELECT name, task_id FROM task ORDER BY 1")
    cli.apply(SALES.replace("SELECT 1", "SELECT 2"))
    assert cli.room.rows("SELECT name, task_id FROM task ORDER BY 1") == ids
    assert [name for name, _ in ids] == ["load_expenses", "load_sales", "profit"]
    assert len({task_id for _, task_id in ids}) == 3
    shown = {task["name"]: task for task in cli.json("workflow", "show", "sales")["definition"]["tasks"]}
    assert (shown["profit"]["kind"], shown["profit"]["config"]["sql"]) == ("bigquery_query", "SELECT 2")
    assert (shown["load_sales"]["kind"], shown["load_sales"]["config"]["table"]) == ("load_file", "finance.sales")


def test_the_drawn_graph_has_the_edges_of_the_table(cli: CommandLine) -> None:
    cli.apply(SALES.replace("needs: [load_sales, load_expenses]", "needs: [load_sales]") + LATER)
    stored = cli.room.rows(
        "SELECT p.name, c.name FROM task_dependency JOIN task p ON p.task_id = parent_id "
        "JOIN task c ON c.task_id = child_id"
    )
    drawn = cli.good("workflow", "show", "sales", "--mermaid")
    names = dict(re.findall(r'^ +(t\d+)\W+"?(\w+)<br/>', drawn, re.MULTILINE))
    edges = re.findall(r"^ +(t\d+) -->(?:\|\w+\|)? (t\d+)$", drawn, re.MULTILINE)
    assert sorted((names[parent], names[child]) for parent, child in edges) == sorted(stored)
    told = re.findall(r"^ +(.+) -> (\w+) ", cli.good("workflow", "show", "sales"), re.MULTILINE)
    assert sorted((parent, child) for parents, child in told for parent in parents.split(", ")) == sorted(stored)
    assert len(stored) == 4


LATER = """
  report: {kind: bigquery_query, sql: SELECT 1, needs: [profit, load_expenses]}
  archive: {kind: archive_file, files_of: load_sales, needs: [load_sales]}
"""
