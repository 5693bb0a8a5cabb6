"""Every example is a workflow that can be applied, and the monthly profit runs on its own files."""

from __future__ import annotations

import re
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from database.listings.batches import ShownBatch
from database.migrating import migrate
from database.sessions import Database
from database.workflows import store_version
from run.cli.definitions import read_definitions
from run.engine.definitions import new_version
from run.local.demo_buckets import Buckets
from run.local.demo_files import DemoFile
from run.local.demo_progress import LatestBatches, has_ended, watch
from run.local.demo_report import BigQueryReader
from run.local.stack import ARCHIVE_BUCKET, DATABASE, LANDING_BUCKET, PROJECT, LocalStack
from tests.local_parts import eventually

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROFIT = EXAMPLES / "monthly_profit"


def test_every_example_can_be_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNCTION_MODULES", "functions")
    paths = sorted(EXAMPLES.glob("*/*.yaml"))
    assert [definition.name for definition in read_definitions(paths)] == [
        "cake",
        "orders",
        "flights",
        "monthly_profit",
    ]


def dropped(folder: Path, name: str) -> DemoFile:
    return DemoFile(name, (folder / name).read_bytes())


def statuses(batch: ShownBatch) -> dict[str, str]:
    return {task.task: task.status for task in batch.tasks}


@pytest.mark.timeout(120)
def test_the_profit_of_march_is_there_once_both_files_are(tmp_path: Path) -> None:
    (definition,) = read_definitions([PROFIT / "monthly_profit.yaml"])
    with LocalStack(tmp_path, delivery="loopback") as stack:
        migrate(stack.environment["DATABASE_URL"])
        with closing(Database(stack.postgres.url(DATABASE))) as database:
            database.transact(lambda tx: store_version(tx, new_version(definition)))
            stack.start_service()
            latest, buckets = LatestBatches(database, definition.name, most=1), Buckets(stack.storage.url)
            bigquery = BigQueryReader(stack.bigquery.url, PROJECT)

            buckets.drop(LANDING_BUCKET, dropped(PROFIT / "files", "sales/2024-03.csv"))
            eventually(lambda: "2024-03" in latest.look(), "the batch")
            eventually(lambda: statuses(latest.look()["2024-03"])["load_sales"] == "SUCCESS", "the sales")
            assert statuses(latest.look()["2024-03"])["calculate_profit"] == "WAITING"
            assert not has_ended(latest.look()["2024-03"])

            buckets.drop(LANDING_BUCKET, dropped(PROFIT / "files", "expenses/2024-03.parquet"))
            batches = watch(latest, ["2024-03"], [], say=print, seconds=30)
            shown = batches["2024-03"]
            assert shown.batch.status == "SUCCESS", [task.error for task in shown.tasks]
            ((period, *sums),) = bigquery.rows("SELECT period, sales, expenses, profit FROM finance.monthly_profit")
            assert period == "2024-03"
            assert [Decimal(one) for one in sums] == [Decimal("2980.95"), Decimal(1693), Decimal("1287.95")]
            assert buckets.names(LANDING_BUCKET) == set()
            archived = sorted(re.sub(r"\d+_", "", name) for name in buckets.names(ARCHIVE_BUCKET))
            assert archived == ["monthly_profit/2024-03/2024-03.csv", "monthly_profit/2024-03/2024-03.parquet"]
