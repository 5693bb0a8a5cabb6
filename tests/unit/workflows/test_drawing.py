from __future__ import annotations

from run.workflows.definition import FileTrigger, TaskDefinition, TriggerRule, WorkflowDefinition
from run.workflows.drawing import as_mermaid, as_text

PATTERN = r'gs://b/(?P<period>\d+)"x"#'
DEFINITION = WorkflowDefinition(
    name="profit",
    description="Profit\nof a month.",
    batch="{period}",
    tasks=(
        TaskDefinition(name="load", kind="load_file", file=FileTrigger(pattern=PATTERN)),
        TaskDefinition(name="other", kind="query", allow_failure=True),
        TaskDefinition(name="end", kind="query", needs=("load", "other"), rule=TriggerRule.all_done, disabled=True),
    ),
)


def test_the_text_shows_every_task_below_its_parents() -> None:
    assert as_text(DEFINITION).splitlines() == [
        "profit  batch {period}",
        "  Profit of a month.",
        f"  load  (load_file)  {PATTERN}",
        "  other  (query)  may fail",
        "  load, other -> end  (query)  rule all_done  disabled",
    ]


def test_mermaid_keeps_its_own_words_and_signs_out_of_labels() -> None:
    assert as_mermaid(DEFINITION).splitlines() == [
        "flowchart LR",
        r'    t0(["load<br/>load_file<br/>gs://b/(?P#lt;period#gt;\d+)#quot;x#quot;#35;"])',
        '    t1["other<br/>query"]',
        '    t2["end<br/>query"]',
        "    t0 -->|all_done| t2",
        "    t1 -->|all_done| t2",
    ]
