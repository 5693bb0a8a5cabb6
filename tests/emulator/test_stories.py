"""The stories that the service was made for, through the real push of the Pub/Sub emulator."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.local_parts import eventually
from tests.stack_room import Listener, StackRoom

pytestmark = pytest.mark.timeout(240)

PROFIT = r"""
workflow: monthly_profit
batch: "{period}"
tasks:
  load_sales:
    kind: load_file
    file: 'gs://{landing_bucket}/sales/(?P<period>\d{4}-\d{2})\.csv'
    table: finance.monthly_sales
    schema: [{name: product, type: STRING}, {name: amount, type: INTEGER}]
  load_expenses:
    kind: load_file
    file: 'gs://{landing_bucket}/expenses/(?P<period>\d{4}-\d{2})\.parquet'
    table: finance.monthly_expenses
  calculate_profit:
    kind: bigquery_query
    needs: [load_sales, load_expenses]
    sql: |
      SELECT @batch_id AS month,
        (SELECT SUM(amount) FROM finance.monthly_sales WHERE batch_id = @batch_id)
        - (SELECT SUM(amount) FROM finance.monthly_expenses WHERE batch_id = @batch_id) AS profit
    destination: finance.profit
    write: truncate
"""

DAILY = r"""
workflow: daily_orders
tasks:
  load_orders:
    kind: load_file
    file: 'gs://{landing_bucket}/orders/daily_orders_\d{8}\.csv'
    table: shop.orders
    schema: [{name: id, type: INTEGER}]
  archive_orders:
    kind: archive_file
    needs: [load_orders]
    files_of: load_orders
    to: 'gs://{archive_bucket}/{workflow}/{batch_id}/{file_name}'
"""


def parquet(**columns: list[Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def apply(room: StackRoom, folder: Path, text: str) -> None:
    path = folder / "workflow.yaml"
    path.write_text(text)
    room.command("workflow", "apply", path)


def test_the_monthly_profit_is_calculated_when_both_files_of_the_month_have_been_loaded(
    room: StackRoom, tmp_path: Path
) -> None:
    assert room.stack.pubsub is not None
    room.create_dataset("finance")
    apply(room, tmp_path, PROFIT)
    names = room.rows("SELECT t.name, t.task_id FROM task t JOIN workflow w USING (workflow_id) WHERE w.name LIKE 'm%'")
    ids = dict(map(tuple, names))
    listener = Listener(room.stack.pubsub.host)

    # 1. The first parent finishes. 2. The engine checks, sees that a parent is missing, and waits.
    room.land("sales/2024-03.csv", b"product,amount\ncake,300\npie,50\n")
    eventually(lambda: statuses(room).get("load_sales") == "SUCCESS", "the sales to be loaded")
    assert statuses(room) == {"load_sales": "SUCCESS", "load_expenses": "WAITING", "calculate_profit": "WAITING"}
    assert listener.heard()[1:] == [{"trigger_type": "task", "task_id": ids["load_sales"], "batch_id": "2024-03"}]

    # 3. The second parent finishes. 4. The engine checks again. 5. It publishes the child. 6. The child runs.
    room.land("expenses/2024-03.parquet", parquet(kind=["flour", "rent"], amount=[40, 200]))
    room.wait_for_batch("monthly_profit", "2024-03")
    heard = listener.heard()
    assert [message.get("objectId") or message["task_id"] for message in heard] == [
        "sales/2024-03.csv",
        ids["load_sales"],
        "expenses/2024-03.parquet",
        ids["load_expenses"],
        ids["calculate_profit"],
    ]
    log = room.rows(
        "SELECT t.name, l.status, l.attempt FROM task_log l JOIN task t USING (task_id) WHERE batch_id = '2024-03' "
        "ORDER BY l.started_at"
    )
    assert log == [("load_sales", "SUCCESS", 1), ("load_expenses", "SUCCESS", 1), ("calculate_profit", "SUCCESS", 1)]
    in_order = room.rows(
        "SELECT c.started_at >= max(p.ended_at) FROM task_log c, task_log p WHERE c.task_id = :c AND p.task_id <> :c "
        "AND c.batch_id = '2024-03' AND p.batch_id = '2024-03' GROUP BY c.started_at",
        c=ids["calculate_profit"],
    )
    assert in_order == [(True,)]
    assert room.query("SELECT month, profit FROM finance.profit") == [("2024-03", 110)]


def test_every_daily_file_opens_a_batch_of_its_own_and_is_archived(room: StackRoom, tmp_path: Path) -> None:
    room.create_dataset("shop")
    apply(room, tmp_path, DAILY)
    today = room.rows("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD')")[0][0]
    room.land("orders/daily_orders_20231115.csv", b"id\n1\n2\n")
    room.wait_for_batch("daily_orders", f"Batch_{today}_001")
    room.land("orders/daily_orders_20231116.csv", b"id\n3\n")
    room.wait_for_batch("daily_orders", f"Batch_{today}_002")
    assert room.query("SELECT batch_id, COUNT(*) FROM shop.orders GROUP BY 1 ORDER BY 1") == [
        (f"Batch_{today}_001", 2),
        (f"Batch_{today}_002", 1),
    ]
    assert f"daily_orders/Batch_{today}_001/daily_orders_20231115.csv" in room.objects("archive")
    assert not [name for name in room.objects("landing") if name.startswith("orders/")]


def test_a_service_that_is_killed_in_the_middle_is_replaced_and_the_batch_ends(room: StackRoom, tmp_path: Path) -> None:
    chain = [
        f"  t{number}:\n    kind: bigquery_query\n    lease_seconds: 10\n    sql: SELECT {number}\n"
        + (f"    needs: [t{number - 1}]\n" if number else "")
        for number in range(6)
    ]
    apply(room, tmp_path, "workflow: chain\nbatch: '{name}'\ntasks:\n" + "".join(chain))
    room.command("batch", "start", "chain", "killed")
    eventually(lambda: statuses(room, "killed").get("t0") == "SUCCESS", "the first task to end")
    room.stack.service.kill()
    room.stack.service.start()
    room.wait_for_batch("chain", "killed", seconds=90)
    assert room.rows("SELECT count(*), count(DISTINCT task_id) FROM task_log WHERE batch_id = 'killed'") == [(6, 6)]


def statuses(room: StackRoom, batch_id: str = "2024-03") -> dict[str, str]:
    statement = "SELECT t.name, b.status FROM batch_task b JOIN task t USING (task_id) WHERE batch_id = :b"
    return dict(map(tuple, room.rows(statement, b=batch_id)))
