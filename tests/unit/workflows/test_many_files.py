"""Tasks with `files: many`: what they say is what is stored, and what may be said of all their files."""

from __future__ import annotations

from typing import Any

import pytest

from run.workflows.builder import build_workflow
from run.workflows.definition import FileTrigger, Until, WorkflowDefinition
from tests.unit.workflows.toy_kinds import KINDS, SETTINGS

FILE = r"gs://{landing_bucket}/(?P<period>\d{4})/(?P<part>\d+)"


def built(batch: str = "{period}", **load: Any) -> tuple[WorkflowDefinition | None, list[str]]:
    tasks = {"load": {"kind": "load", "file": FILE, "table": "t", **load}}
    definition, problems = build_workflow({"workflow": "w", "batch": batch, "tasks": tasks}, KINDS, SETTINGS)
    return definition, [problem.reason for problem in problems]


def trigger(**load: Any) -> FileTrigger:
    definition, problems = built(**load)
    assert definition is not None, problems
    [task] = definition.tasks
    assert task.file is not None
    return task.file


@pytest.mark.parametrize(
    ("until", "meant"),
    [
        ({"count": 12}, Until(count=12)),
        ({"quiet": "10m"}, Until(quiet_seconds=600)),
        ({"marker": FILE}, Until(marker=FILE)),
    ],
)
def test_one_of_three_says_when_the_files_are_all_there(until: dict[str, Any], meant: Until) -> None:
    assert trigger(files="many", until=until).until == meant


def test_a_task_that_takes_one_file_is_stored_as_before() -> None:
    assert trigger().meaning() == trigger(files="one").meaning()
    assert trigger().meaning() == {"pattern": FILE, "parse": {}, "on_new_generation": "rerun"}


def test_what_is_not_said_of_many_files_is_not_stored() -> None:
    stored = trigger(files="many", until={"count": 12}).meaning()
    assert stored["until"] == {"count": 12}
    assert FileTrigger.model_validate(stored).until == Until(count=12)


def test_another_end_is_another_definition() -> None:
    digests = set()
    loads: list[dict[str, Any]] = [
        {},
        {"files": "many", "until": {"count": 2}},
        {"files": "many", "until": {"count": 3}},
    ]
    for load in loads:
        definition, problems = built(**load)
        assert definition is not None, problems
        digests.add(definition.digest)
    assert len(digests) == 3


def test_only_groups_that_all_files_share_are_names_for_templates() -> None:
    # A brace that is no known name stays as it is; one that is nearly one is told.
    assert built(table="t_{partt}")[1] != []
    assert built(table="t_{partt}", files="many", until={"count": 2})[1] == []


def test_files_that_each_open_a_batch_never_meet() -> None:
    _, [problem] = built(batch="{today:%Y%m%d}_{number}", files="many", until={"count": 2})
    assert problem.startswith("the files of 'load' can never meet, because each opens a fresh batch")


@pytest.mark.parametrize(
    ("until", "files", "has_marker", "is_met"),
    [
        (Until(count=2), 1, False, False),
        (Until(count=2), 2, False, True),
        (Until(count=2), 3, False, True),
        (Until(marker="m"), 1, False, False),
        (Until(marker="m"), 0, True, False),
        (Until(marker="m"), 1, True, True),
        (Until(quiet_seconds=1), 5, True, False),
    ],
)
def test_when_the_files_are_all_there(until: Until, files: int, has_marker: bool, is_met: bool) -> None:
    assert until.is_met(files, has_marker=has_marker) is is_met
