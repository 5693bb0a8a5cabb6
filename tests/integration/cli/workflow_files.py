"""Workflow files that the tests apply."""

from __future__ import annotations

SALES = r"""
workflow: sales
description: Two files of a month, then their profit.
batch: "{period}"
params: {currency: EUR, rate: 1}
tasks:
  load_sales:
    kind: load_file
    file: 'gs://{landing_bucket}/sales/(?P<period>\d{4}-\d{2})\.csv'
    table: finance.sales
  load_expenses:
    kind: load_file
    file: 'gs://{landing_bucket}/expenses/(?P<period>\d{4}-\d{2})(-v\d)?\.csv'
    on_new_generation: ignore
    table: finance.expenses
  profit:
    kind: bigquery_query
    needs: [load_sales, load_expenses]
    sql: SELECT 1
"""

NUMBERED = """
workflow: numbered
tasks:
  first: {kind: bigquery_query, sql: SELECT 1}
"""

EXTRACT = r"""
workflow: extract
tasks:
  load:
    kind: load_file
    file: 'gs://{landing_bucket}/extract/(?P<source>\w+)\.csv'
    table: lake.extract
"""

DATED = r"""
workflow: dated
batch: "{day:%Y-%m-%d}"
tasks:
  load:
    kind: load_file
    file: 'gs://{landing_bucket}/dated/(?P<day>\d+)\.csv'
    parse: {day: '%Y%m%d'}
    table: lake.dated
"""


def chain(workflow: str, *tasks: str, rule: str = "all_success") -> str:
    """A workflow of queries, each needing the one before it."""
    lines = [f"workflow: {workflow}", 'batch: "{period}"', "tasks:"]
    for before, task in zip((None, *tasks), tasks, strict=False):
        needs = f", needs: [{before}], rule: {rule}" if before else ""
        lines.append(f"  {task}: {{kind: bigquery_query, sql: SELECT 1{needs}}}")
    return "\n".join(lines)
