"""The extractor of the examples, run as the job that it is: it leaves one file, and the workflow goes on from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from database.migrating import migrate
from database.sessions import Database
from database.workflows import store_version
from run.cli.definitions import read_definitions
from run.engine.definitions import new_version
from run.local.demo_buckets import Buckets
from run.local.demo_progress import LatestBatches, watch
from run.local.demo_report import BigQueryReader
from run.local.stack import ARCHIVE_BUCKET, DATABASE, LANDING_BUCKET, PROJECT, LocalStack
from run.local.storage_server import StorageServer
from tests.servers.cloud_run import CloudRun, Job
from tests.servers.wire import Answered, Asked, WireServer

EXTRACTOR = Path(__file__).resolve().parents[2] / "examples" / "extractor"
COMMAND = [sys.executable, str(EXTRACTOR / "extract.py")]
TOKEN, DAY = "the-shop-s-token", "2024-03-05"
CSV = b'order_id,day,shop,amount\n1,2024-03-05,north,10.50\n2,2024-03-05,"south, old",20\n3,2024-03-05,north,0.25\n'


class Shop(WireServer):
    """A web service that shows the orders of a day, two on a page, to those who have its token."""

    orders = (
        {"order_id": 1, "day": DAY, "shop": "north", "amount": "10.50", "customer": "not ours to know"},
        {"order_id": 2, "day": DAY, "shop": "south, old", "amount": 20},
        {"order_id": 3, "day": DAY, "shop": "north", "amount": 0.25},
    )

    def answer(self, asked: Asked) -> Answered:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Answered(401, {"error": "no token"})
        if asked.path != "/api/orders" or asked.query.get("day") != DAY:
            return Answered(404, {"error": "nothing there"})
        first = 2 * (int(asked.query["page"]) - 1)
        more = {"next_page": int(asked.query["page"]) + 1} if first + 2 < len(self.orders) else {}
        return Answered(200, {"orders": self.orders[first : first + 2], **more})


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as server:
        yield server


def environment(shop: Shop, storage: str, **more: str) -> dict[str, str]:
    """What the job is deployed with; nothing else of this machine is its to see."""
    own = {"SOURCE_URL": f"{shop.url}/api", "SOURCE_TOKEN": TOKEN, "STORAGE_EMULATOR_HOST": storage}
    return {"PATH": os.environ["PATH"], **own, **more}


def extracted(env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(COMMAND, env=dict(env), capture_output=True, text=True, timeout=60, check=False)


def test_the_only_output_of_the_extractor_is_one_file_that_is_written_once(shop: Shop, tmp_path: Path) -> None:
    target = f"orders/{DAY}.csv"
    with StorageServer(tmp_path / "gcs", tmp_path / "logs", buckets=("landing",)) as storage:
        env = environment(shop, storage.url, DAY=DAY, TARGET=f"gs://landing/{target}")
        buckets = Buckets(storage.url)
        refused = extracted({**env, "SOURCE_TOKEN": "wrong"})
        assert refused.returncode != 0
        assert buckets.names("landing") == set(), "what fails leaves nothing"
        first = extracted(env)
        assert (first.returncode, first.stdout) == (0, f"gs://landing/{target} is written\n"), first.stderr
        assert buckets.names("landing") == {target}
        with urllib.request.urlopen(f"{storage.url}/landing/{target}", timeout=10) as answer:
            assert answer.read() == CSV
        generation = generation_of(storage.url, target)
        again = extracted(env)
        assert (again.returncode, again.stdout) == (0, f"gs://landing/{target} was there already\n")
        assert generation_of(storage.url, target) == generation


def test_the_extractor_s_image_has_the_libraries_that_it_was_tested_with() -> None:
    pinned = (EXTRACTOR.parents[1] / "requirements.txt").read_text().splitlines()
    [install] = [line for line in (EXTRACTOR / "Dockerfile").read_text().splitlines() if "pip install" in line]
    assert [word for word in install.split() if "==" in word] == [
        line for line in pinned if line.startswith(("google-cloud-storage==", "requests=="))
    ]


def generation_of(storage: str, name: str) -> str:
    with urllib.request.urlopen(f"{storage}/storage/v1/b/landing/o/{name.replace('/', '%2F')}", timeout=10) as answer:
        generation: str = json.load(answer)["generation"]
        return generation


def start_batch(url: str, workflow: str, batch_id: str) -> None:
    """Start a batch, as a scheduler's message does."""
    data: dict[str, Any] = {"trigger_type": "workflow", "workflow": workflow, "batch_id": batch_id}
    headers = {"Content-Type": "application/json", "x-goog-pubsub-message-id": "1"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/", json.dumps(data).encode(), headers), timeout=30):
        pass


@pytest.mark.timeout(120)
def test_the_file_that_the_extractor_leaves_in_the_landing_bucket_goes_through_the_workflow(
    shop: Shop, tmp_path: Path
) -> None:
    (definition,) = read_definitions([EXTRACTOR / "orders.yaml"])
    with CloudRun() as cloud_run, LocalStack(tmp_path, delivery="loopback", sweep_seconds=1) as stack:
        job = f"projects/{PROJECT}/locations/europe-west1/jobs/extract-orders"
        cloud_run.jobs[job] = Job(environment(shop, stack.storage.url), COMMAND)
        stack.environment["CLOUD_RUN_URL"] = cloud_run.url
        migrate(stack.environment["DATABASE_URL"])
        with closing(Database(stack.postgres.url(DATABASE))) as database:
            database.transact(lambda tx: store_version(tx, new_version(definition)))
            stack.start_service()
            start_batch(stack.url, definition.name, DAY)
            latest, buckets = LatestBatches(database, definition.name, most=1), Buckets(stack.storage.url)
            shown = watch(latest, [DAY], [], say=print, seconds=60)[DAY]
            assert {task.task: (task.status, task.error) for task in shown.tasks} == {
                "prepare_dataset": ("SUCCESS", None),
                "extract": ("SUCCESS", None),
                "load_orders": ("SUCCESS", None),
                "archive_orders": ("SUCCESS", None),
            }
            sql = "SELECT order_id, shop, CAST(amount AS STRING) FROM shop.orders ORDER BY order_id"
            rows = BigQueryReader(stack.bigquery.url, PROJECT).rows(sql)
            assert [(int(row[0]), row[1], float(row[2])) for row in rows] == [
                (1, "north", 10.5),
                (2, "south, old", 20),
                (3, "north", 0.25),
            ]
            assert buckets.names(LANDING_BUCKET) == set()
            assert len(buckets.names(ARCHIVE_BUCKET)) == 1
            assert len(cloud_run.executions) == 1
