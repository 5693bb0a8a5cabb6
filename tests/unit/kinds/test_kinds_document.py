"""docs/kinds/ says of every kind what an engineer must know, and what it shows is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from run.clients import Clients
from run.kinds import KINDS, build_kinds
from run.pubsub.envelope import read_delivery
from run.pubsub.messages import CompletedMessage, parse_message
from run.settings import Settings
from run.workflows.reader import read_workflows
from run.workflows.templates import NameType

DOCS = Path(__file__).parents[3] / "docs"
SETTINGS = Settings(
    database_url="postgresql://nobody@localhost/none",
    project="local",
    landing_bucket="landing",
    function_modules=("functions",),
)
NAMES = dict.fromkeys(("landing_bucket", "archive_bucket", "project"), NameType.TEXT)


def page(kind: str) -> str:
    return (DOCS / "kinds" / f"{kind}.md").read_text()


each_kind = pytest.mark.parametrize("kind", [kind.name for kind in KINDS])


def test_every_kind_has_a_page_and_is_in_the_table_of_kinds() -> None:
    names = {kind.name for kind in KINDS}
    assert {file.stem for file in (DOCS / "kinds").glob("*.md")} == names
    assert set(re.findall(r"^\| \[(\w+)\]\(kinds/\1\.md\) \|", (DOCS / "kinds.md").read_text(), re.MULTILINE)) == names


@each_kind
def test_every_kind_says_how_often_its_effect_happens_what_is_retried_and_what_cancelling_does(kind: str) -> None:
    said = re.findall(r"^\*\*(\w[\w ]*)\*\*: \S", page(kind), re.MULTILINE)
    assert {"Exactly once", "Retried", "Cancelled"} <= set(said)


@each_kind
def test_every_example_of_a_kind_is_sound(kind: str, tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```$", page(kind), re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        (tmp_path / "w.yaml").write_text(example)
        [definition] = read_workflows([tmp_path / "w.yaml"], build_kinds(Clients(SETTINGS)), NAMES)
        assert kind in {task.kind for task in definition.tasks}


@each_kind
def test_every_key_of_a_kind_is_explained(kind: str) -> None:
    [model] = [one.config for one in KINDS if one.name == kind]
    keys = {field.alias or name for name, field in model.model_fields.items()}
    assert {key for key in keys if f"`{key}`" not in page(kind)} == set()


def test_the_message_that_completes_an_external_task_is_one() -> None:
    [example] = re.findall(r"^```json\n(.*?)^```$", page("external"), re.MULTILINE | re.DOTALL)
    message = parse_message(read_delivery({"x-goog-pubsub-message-id": "1"}, example.encode()))
    assert isinstance(message, CompletedMessage)
    assert (message.task.task_name, message.attempt, message.status) == ("sign_off", 1, "SUCCESS")
