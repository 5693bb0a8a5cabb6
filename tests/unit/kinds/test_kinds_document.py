"""docs/kinds.md says of every kind what an engineer must know, and what it shows is right."""

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

PAGE = (Path(__file__).parents[3] / "docs" / "kinds.md").read_text()
SETTINGS = Settings(database_url="postgresql://nobody@localhost/none", project="local", landing_bucket="landing")
NAMES = dict.fromkeys(("landing_bucket", "archive_bucket", "project"), NameType.TEXT)


def section(kind: str) -> str:
    found = re.search(rf"^## {kind}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/kinds.md has no section '## {kind}'"
    return found[1]


each_kind = pytest.mark.parametrize("kind", [kind.name for kind in KINDS])


@each_kind
def test_every_kind_says_how_often_its_effect_happens_what_is_retried_and_what_cancelling_does(kind: str) -> None:
    said = re.findall(r"^\*\*(\w[\w ]*)\*\*: \S", section(kind), re.MULTILINE)
    assert {"Exactly once", "Retried", "Cancelled"} <= set(said)


@each_kind
def test_the_example_of_every_kind_is_sound(kind: str, tmp_path: Path) -> None:
    [example] = re.findall(r"^```yaml\n(.*?)^```$", section(kind), re.MULTILINE | re.DOTALL)
    (tmp_path / "w.yaml").write_text(example)
    [definition] = read_workflows([tmp_path / "w.yaml"], build_kinds(Clients(SETTINGS)), NAMES)
    assert kind in {task.kind for task in definition.tasks}


@each_kind
def test_every_key_of_a_kind_is_explained(kind: str) -> None:
    [model] = [one.config for one in KINDS if one.name == kind]
    keys = {field.alias or name for name, field in model.model_fields.items()}
    assert {key for key in keys if f"`{key}`" not in section(kind)} == set()


def test_the_message_that_completes_an_external_task_is_one() -> None:
    [example] = re.findall(r"^```json\n(.*?)^```$", section("external"), re.MULTILINE | re.DOTALL)
    message = parse_message(read_delivery({"x-goog-pubsub-message-id": "1"}, example.encode()))
    assert isinstance(message, CompletedMessage)
    assert (message.task.task_name, message.attempt, message.status) == ("sign_off", 1, "SUCCESS")
