"""The local BigQuery server answers as BigQuery does, where by itself it would not; asked by Google's own client."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest, Conflict, GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from pyarrow import orc, parquet

from run.local.bigquery_server import BigQueryServer

LIMITS: dict[str, Any] = {"timeout": 20}
NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)

_numbers = count(1)


class Warehouse:
    """A dataset of its own, and files that it can load."""

    def __init__(self, client: bigquery.Client, objects: Path) -> None:
        self.client = client
        self.dataset = f"test_{next(_numbers)}"
        self._objects = objects / "landing" / self.dataset
        self._objects.mkdir(parents=True)
        client.create_dataset(self.dataset, timeout=20)

    def put(self, name: str, content: bytes) -> str:
        (self._objects / name).write_bytes(content)
        return f"gs://landing/{self.dataset}/{name}"

    def load(self, uri: str, source_format: str, table: str = "target", **options: Any) -> bigquery.LoadJob:
        config = bigquery.LoadJobConfig(source_format=source_format, **options)
        job = self.client.load_table_from_uri(uri, f"local.{self.dataset}.{table}", job_config=config, **LIMITS)
        job.result(timeout=20)
        return job

    def query(self, sql: str, write: str | None = None, table: str = "target", **more: Any) -> bigquery.QueryJob:
        config = bigquery.QueryJobConfig(write_disposition=write or "")
        config.destination = bigquery.TableReference.from_string(f"local.{self.dataset}.{table}")
        if write is None:
            del config._properties["query"]["writeDisposition"]
        job = self.client.query(sql, job_config=config, job_retry=None, **LIMITS, **more)
        job.result(timeout=20)
        return job

    def rows(self, table: str = "target", order: str = "1") -> list[dict[str, Any]]:
        found = self.client.query(f"SELECT * FROM {self.dataset}.{table} ORDER BY {order}", **LIMITS).result(timeout=20)
        return [dict(row) for row in found]

    def columns(self, table: str = "target") -> dict[str, str]:
        found = self.client.get_table(f"local.{self.dataset}.{table}", timeout=20)
        return {one.name: one.field_type for one in found.schema}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BigQueryServer, Path]]:
    folder = tmp_path_factory.mktemp("bigquery")
    objects = folder / "objects"
    objects.mkdir()
    with BigQueryServer(folder / "bq", folder / "logs", objects_folder=objects) as running:
        yield running, objects


@pytest.fixture
def warehouse(server: tuple[BigQueryServer, Path]) -> Iterator[Warehouse]:
    running, objects = server
    client = bigquery.Client(
        project="local",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": running.url},
    )
    yield Warehouse(client, objects)
    client.close()  # type: ignore[no-untyped-call]


TABLE = pa.table(
    {
        "id": pa.array([1, 2], pa.int32()),
        "big": pa.array([2**40, None], pa.uint64()),
        "word": ["Zürich", None],
        "day": [date(2024, 3, 5), None],
        "at": pa.array([NOON, None], pa.timestamp("us", tz="UTC")),
        "price": pa.array([Decimal("1.25"), None], pa.decimal128(9, 2)),
        "inner": pa.array([{"x": 1.5}, None], pa.struct([("x", pa.float64())])),
        "many": pa.array([["a", "b"], []], pa.list_(pa.string())),
    }
)
TYPES = {
    "id": "INTEGER",
    "big": "INTEGER",
    "word": "STRING",
    "day": "DATE",
    "at": "TIMESTAMP",
    "price": "NUMERIC",
    "inner": "RECORD",
    "many": "STRING",
}


def parquet_file(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table, file, **options)
    return file.getvalue()


def orc_file(table: pa.Table) -> bytes:
    file = io.BytesIO()
    orc.write_table(table, file)
    return file.getvalue()


def avro_file(fields: list[dict[str, Any]], rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    fastavro.writer(file, {"type": "record", "name": "row", "fields": fields}, rows)
    return file.getvalue()


def test_a_parquet_file_makes_its_own_table(warehouse: Warehouse) -> None:
    warehouse.load(warehouse.put("a.parquet", parquet_file(TABLE)), "PARQUET")
    assert warehouse.columns() == TYPES
    first, second = warehouse.rows()
    assert first == TABLE.to_pylist()[0]
    assert second["word"] is second["at"] is second["price"] is None


def test_an_old_parquet_timestamp_is_an_instant(warehouse: Warehouse) -> None:
    table = pa.table({"at": pa.array([NOON.replace(tzinfo=None)], pa.timestamp("ns"))})
    uri = warehouse.put("a.parquet", parquet_file(table, use_deprecated_int96_timestamps=True))
    warehouse.load(uri, "PARQUET")
    assert warehouse.rows() == [{"at": NOON}]


def test_an_orc_file_makes_its_own_table(warehouse: Warehouse) -> None:
    table = TABLE.drop_columns(["big"])
    warehouse.load(warehouse.put("a.orc", orc_file(table)), "ORC")
    assert warehouse.columns() == {name: kind for name, kind in TYPES.items() if name != "big"}
    assert warehouse.rows()[0] == table.to_pylist()[0]


def test_an_avro_file_without_decimals_makes_its_own_table(warehouse: Warehouse) -> None:
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "long"},
        {"name": "word", "type": ["null", "string"]},
        {"name": "ratio", "type": "double"},
        {"name": "many", "type": {"type": "array", "items": "int"}},
    ]
    rows: list[dict[str, Any]] = [
        {"id": 1, "word": "東京", "ratio": 0.5, "many": [1, 2]},
        {"id": 2, "word": None, "ratio": 1.5, "many": []},
    ]
    warehouse.load(warehouse.put("a.avro", avro_file(fields, rows)), "AVRO")
    assert warehouse.columns() == {"id": "INTEGER", "word": "STRING", "ratio": "FLOAT", "many": "INTEGER"}
    assert warehouse.rows() == rows


@pytest.mark.parametrize("source_format", ["PARQUET", "AVRO", "ORC"])
def test_columns_are_told_by_their_names(warehouse: Warehouse, source_format: str) -> None:
    table = pa.table({"a": ["of a"], "b": ["of b"]})
    avro = avro_file([{"name": name, "type": "string"} for name in "ab"], table.to_pylist())
    content = {"PARQUET": parquet_file(table), "AVRO": avro, "ORC": orc_file(table)}[source_format]
    columns = [bigquery.SchemaField(name, "STRING") for name in ("b", "c", "a")]
    warehouse.client.create_table(bigquery.Table(f"local.{warehouse.dataset}.target", schema=columns), timeout=20)
    warehouse.load(warehouse.put("a", content), source_format)
    assert warehouse.rows() == [{"b": "of b", "c": None, "a": "of a"}]


@pytest.mark.parametrize("source_format", ["PARQUET", "AVRO", "ORC"])
def test_a_file_of_another_format_ends_its_job(warehouse: Warehouse, source_format: str) -> None:
    uri = warehouse.put("a", b"no such format")
    config = bigquery.LoadJobConfig(source_format=source_format)
    job = warehouse.client.load_table_from_uri(uri, f"local.{warehouse.dataset}.t", job_config=config, **LIMITS)
    with pytest.raises(GoogleAPICallError, match="Error while reading data"):
        job.result(timeout=20)


def test_every_file_of_a_wildcard_is_loaded(warehouse: Warehouse) -> None:
    for number in (1, 2):
        warehouse.put(f"[part]-{number}.avro", avro_file([{"name": "id", "type": "long"}], [{"id": number}]))
    warehouse.load(f"gs://landing/{warehouse.dataset}/[part]-*.avro", "AVRO")
    assert warehouse.rows() == [{"id": 1}, {"id": 2}]


def test_a_query_makes_its_destination(warehouse: Warehouse) -> None:
    sql = "SELECT 1 AS id, 'a' AS word, CAST('1.5' AS NUMERIC) AS price, TIMESTAMP '2024-03-05 12:00:00+00' AS at"
    job = warehouse.query(sql)
    assert warehouse.columns() == {"id": "INTEGER", "word": "STRING", "price": "NUMERIC", "at": "TIMESTAMP"}
    assert warehouse.rows() == [{"id": 1, "word": "a", "price": Decimal("1.5"), "at": NOON}]
    found: Any = warehouse.client.get_job(job.job_id, timeout=20)
    assert found.destination.table_id == "target"


def test_truncating_leaves_only_what_was_selected_last(warehouse: Warehouse) -> None:
    warehouse.query("SELECT 1 AS id UNION ALL SELECT 2")
    warehouse.query("SELECT 3 AS number, 'x' AS word", "WRITE_TRUNCATE")
    assert warehouse.rows() == [{"number": 3, "word": "x"}]
    assert warehouse.columns() == {"number": "INTEGER", "word": "STRING"}


def test_a_query_may_truncate_what_it_reads(warehouse: Warehouse) -> None:
    warehouse.query("SELECT 1 AS id UNION ALL SELECT 2")
    warehouse.query(f"SELECT id + 10 AS id FROM {warehouse.dataset}.target", "WRITE_TRUNCATE")
    assert warehouse.rows() == [{"id": 11}, {"id": 12}]


def test_appending_keeps_what_was_there(warehouse: Warehouse) -> None:
    warehouse.query("SELECT 1 AS id, 'a' AS word")
    job = warehouse.query("SELECT 'b' AS word, 2 AS id", "WRITE_APPEND")
    assert warehouse.rows() == [{"id": 1, "word": "a"}, {"id": 2, "word": "b"}]
    assert job.result(timeout=20).total_rows == 2
    assert warehouse.client.get_table(f"local.{warehouse.dataset}.target", timeout=20).num_rows == 2


def test_appending_a_column_that_the_table_lacks_fails(warehouse: Warehouse) -> None:
    warehouse.query("SELECT 1 AS id")
    with pytest.raises(BadRequest, match="word"):
        warehouse.query("SELECT 2 AS id, 'b' AS word", "WRITE_APPEND")
    assert warehouse.rows() == [{"id": 1}]


@pytest.mark.parametrize("write", ["WRITE_EMPTY", None])
def test_a_destination_with_rows_is_no_empty_one(warehouse: Warehouse, write: str | None) -> None:
    warehouse.query("SELECT 1 AS id", write)
    with pytest.raises(Conflict, match=f"Already Exists: Table local:{warehouse.dataset}.target") as caught:
        warehouse.query("SELECT 2 AS id", write)
    assert caught.value.errors[0]["reason"] == "duplicate"
    assert warehouse.rows() == [{"id": 1}]


@pytest.mark.parametrize("sql", ["SELECT 1 AS id; SELECT 2 AS id", "CREATE TABLE {dataset}.other AS SELECT 1 AS id"])
def test_only_a_select_has_a_destination(warehouse: Warehouse, sql: str) -> None:
    with pytest.raises(BadRequest, match=r"(?i)destination ?table"):
        warehouse.query(sql.format(dataset=warehouse.dataset))
    assert not list(warehouse.client.list_tables(warehouse.dataset, timeout=20))


def test_a_destination_in_an_unknown_dataset_fails(warehouse: Warehouse) -> None:
    missing = bigquery.QueryJobConfig(destination="local.nowhere.target")
    with pytest.raises(GoogleAPICallError, match="nowhere"):
        warehouse.client.query("SELECT 1 AS id", job_config=missing, job_retry=None, **LIMITS).result(timeout=20)


def test_a_job_id_runs_once(warehouse: Warehouse) -> None:
    uri = warehouse.put("a.parquet", parquet_file(pa.table({"id": [1]})))
    config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")

    def insert() -> bigquery.LoadJob:
        target = f"local.{warehouse.dataset}.target"
        return warehouse.client.load_table_from_uri(uri, target, job_id=name, job_config=config, **LIMITS)

    name = f"{warehouse.dataset}_once"
    insert().result(timeout=20)
    with pytest.raises(Conflict, match=rf"Already Exists: Job local:US\.{name}") as caught:
        insert()
    assert caught.value.errors[0]["reason"] == "duplicate"
    assert warehouse.rows() == [{"id": 1}]
    assert warehouse.client.get_job(name, timeout=20).state == "DONE"


def test_a_job_that_failed_keeps_its_id(warehouse: Warehouse) -> None:
    with pytest.raises(GoogleAPICallError):
        warehouse.client.query("SELECT nothing", job_id=f"{warehouse.dataset}_x", job_retry=None, **LIMITS).result()
    with pytest.raises(Conflict):
        warehouse.client.query("SELECT 1", job_id=f"{warehouse.dataset}_x", job_retry=None, **LIMITS)


def test_a_dry_run_takes_no_job_id(warehouse: Warehouse) -> None:
    name, dry = f"{warehouse.dataset}_dry", bigquery.QueryJobConfig(dry_run=True)
    warehouse.client.query("SELECT 1 AS id", job_id=name, job_config=dry, job_retry=None, **LIMITS)
    job = warehouse.client.query("SELECT 1 AS id", job_id=name, job_retry=None, **LIMITS)
    assert [row.id for row in job.result(timeout=20)] == [1]
