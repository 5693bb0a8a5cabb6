"""Templates that name what a parent has returned are checked when the workflow is."""

from __future__ import annotations

from pathlib import Path

import pytest

from run.errors import InvalidWorkflow
from run.workflows.reader import read_workflow
from run.workflows.result_names import result_names_in
from tests.unit.workflows.toy_kinds import KINDS, SETTINGS

WORKFLOW = """
workflow: w
tasks:
  first: {kind: query, sql: "1"}
  second: {kind: query, sql: "2", needs: [first]}
  third: {kind: query, sql: "SQL", needs: [second], rule: RULE}
"""


def read(tmp_path: Path, sql: str, rule: str = "all_success") -> tuple[str, ...]:
    path = tmp_path / "w.yaml"
    path.write_text(WORKFLOW.replace("SQL", sql).replace("RULE", rule))
    definition = read_workflow(path, KINDS, SETTINGS)
    [task] = [task for task in definition.tasks if task.name == "third"]
    return task.reads_results


def test_the_parents_whose_results_a_template_names_are_known(tmp_path: Path) -> None:
    assert read(tmp_path, "{results.second.rows}") == ("second",)


def test_a_task_that_names_no_result_reads_none(tmp_path: Path) -> None:
    assert read(tmp_path, "results.second.rows") == ()


@pytest.mark.parametrize(
    ("sql", "rule", "reason"),
    [
        ("{results.first.rows}", "all_success", "reads the result of 'first', which the task does not need"),
        ("{results.secnd}", "all_done", "the task does not need; did you mean 'second'?"),
        ("{results.second}", "one_success", "for which the rule one_success does not wait"),
    ],
)
def test_a_result_that_cannot_be_there_is_refused(tmp_path: Path, sql: str, rule: str, reason: str) -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        read(tmp_path, sql, rule)
    assert reason in str(caught.value)
    assert "'sql': '{results." in str(caught.value)


def test_names_are_found_at_any_depth_and_braces_of_others_are_left() -> None:
    config = {"a": ["{results.x.y-z.0}", {"b": "{results.q}{other.x}{ results.r }"}], "n": 1}
    assert result_names_in(config) == {"results.x.y-z.0", "results.q"}
