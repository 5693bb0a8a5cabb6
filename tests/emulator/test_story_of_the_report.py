"""A daily file is loaded, Dataform makes the summary, and then Power BI shows it: through the emulator's real push."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.integration.kinds.dataform_room import ACTIONS, LONG_AGO
from tests.local_parts import eventually, require_pubsub_emulator
from tests.servers.dataform import DataformServer
from tests.servers.microsoft_login import CLIENT_ID, SECRET, TENANT, MicrosoftLogin
from tests.servers.power_bi import REPORT, WORKSPACE, PowerBiServer
from tests.stack_room import Listener, StackRoom, running_stack

pytestmark = pytest.mark.timeout(240)

REFRESH = f"""
  refresh_report:
    kind: power_bi_refresh
    needs: [daily_sales_summary]
    workspace: {WORKSPACE}
    report: {REPORT}
    tenant: {TENANT}
    client_id: {CLIENT_ID}
    client_secret: {{secret: POWER_BI}}
"""
SUMMARY = """
  daily_sales_summary:
    kind: dataform_run
    project: acme
    location: europe-west1
    repository: sales
    commit: main
    vars: {batch: "{batch_id}"}
    targets: [reports.daily_sales_summary]
"""
STARTED_BY_A_MESSAGE = f"workflow: sales_report\nbatch: '{{name}}'\ntasks:{SUMMARY}{REFRESH}"
STARTED_BY_A_FILE = rf"""
workflow: daily_sales
tasks:
  load_sales:
    kind: load_file
    file: 'gs://{{landing_bucket}}/daily/sales_\d{{8}}\.csv'
    table: shop.sales
    schema: [{{name: product, type: STRING}}, {{name: amount, type: INTEGER}}]
{SUMMARY}    needs: [load_sales]
{REFRESH}"""


@dataclass
class Story:
    """The stack, and the two services that it asks."""

    room: StackRoom
    dataform: DataformServer
    power_bi: PowerBiServer

    def apply(self, folder: Path, workflow: str) -> None:
        path = folder / "workflow.yaml"
        path.write_text(workflow)
        self.room.command("workflow", "apply", path)

    def publish(self, message: dict[str, object]) -> None:
        """Tell the service's topic something, as any system may."""
        assert self.room.stack.pubsub is not None
        topic = f"http://{self.room.stack.pubsub.host}/v1/projects/local/topics/cloud-accelerator:publish"
        answer = requests.post(topic, json={"messages": [{"data": _base64(message)}]}, timeout=10)
        answer.raise_for_status()

    def statuses(self, batch_id: str) -> dict[str, str]:
        statement = "SELECT t.name, b.status FROM batch_task b JOIN task t USING (task_id) WHERE batch_id = :b"
        return dict(map(tuple, self.room.rows(statement, b=batch_id)))

    def play_to_the_end(self, workflow: str, batch_id: str) -> None:
        """The summary is made, which takes its time; the report is refreshed after that, once."""
        before, refreshed = len(self.dataform.invocations), len(self.power_bi.ours())
        eventually(lambda: len(self.dataform.invocations) > before, "Dataform to run")
        assert self.statuses(batch_id)["refresh_report"] == "WAITING"
        assert len(self.power_bi.ours()) == refreshed
        self.dataform.end()
        self.room.wait_for_batch(workflow, batch_id, seconds=90)
        assert set(self.statuses(batch_id).values()) == {"SUCCESS"}
        assert len(self.dataform.invocations) == before + 1
        assert len(self.power_bi.ours()) == refreshed + 1


def _base64(message: dict[str, object]) -> str:
    return base64.b64encode(json.dumps(message).encode()).decode()


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    require_pubsub_emulator()
    with DataformServer() as dataform, MicrosoftLogin() as login, PowerBiServer(login) as power_bi:
        dataform.age = LONG_AGO
        dataform.repository(actions=dict(ACTIONS))
        environment = {
            "DATAFORM_URL": dataform.url,
            "POWER_BI_URL": power_bi.url,
            "MICROSOFT_LOGIN_URL": login.url,
            "SECRET_POWER_BI": SECRET,
        }
        with running_stack("emulator", environment=environment) as room:
            yield Story(room, dataform, power_bi)


def test_the_report_is_refreshed_after_the_summary_of_its_batch(story: Story, tmp_path: Path) -> None:
    assert story.room.stack.pubsub is not None
    story.apply(tmp_path, STARTED_BY_A_MESSAGE)
    ids = dict(map(tuple, story.room.rows("SELECT name, task_id FROM task")))
    listener = Listener(story.room.stack.pubsub.host)
    story.publish({"trigger_type": "workflow", "workflow": "sales_report", "batch_id": "Batch_20240316_001"})
    story.play_to_the_end("sales_report", "Batch_20240316_001")
    started = [message["task_id"] for message in listener.heard() if message["trigger_type"] == "task"]
    assert started == [ids["daily_sales_summary"], ids["refresh_report"]]
    log = story.room.rows(
        "SELECT t.name, l.status, l.attempt FROM task_log l JOIN task t USING (task_id) ORDER BY l.started_at"
    )
    assert log == [("daily_sales_summary", "SUCCESS", 1), ("refresh_report", "SUCCESS", 1)]


def test_a_daily_file_sets_all_of_it_going(story: Story, tmp_path: Path) -> None:
    story.room.create_dataset("shop")
    story.apply(tmp_path, STARTED_BY_A_FILE)
    story.room.land("daily/sales_20240316.csv", b"product,amount\ntea,3\ncake,5\n")
    today = story.room.rows("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD')")[0][0]
    eventually(lambda: story.statuses(f"Batch_{today}_001") != {}, "the file to open a batch")
    story.play_to_the_end("daily_sales", f"Batch_{today}_001")
    assert story.room.query("SELECT SUM(amount) FROM shop.sales") == [(8,)]
