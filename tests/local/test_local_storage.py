from __future__ import annotations

from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage  # type: ignore[attr-defined]

from run.local.bigquery_server import BigQueryServer
from run.local.storage_server import StorageServer

NOBODY = AnonymousCredentials()  # type: ignore[no-untyped-call]


def storage_client(server: StorageServer) -> storage.Client:
    return storage.Client(project="local", credentials=NOBODY, client_options={"api_endpoint": server.url})


def bigquery_client(server: BigQueryServer) -> bigquery.Client:
    return bigquery.Client(project="local", credentials=NOBODY, client_options={"api_endpoint": server.url})


def test_objects_are_kept_from_one_start_to_the_next(tmp_path: Path) -> None:
    with StorageServer(tmp_path / "storage", tmp_path / "logs") as server:
        client = storage_client(server)
        assert {bucket.name for bucket in client.list_buckets()} == {"landing", "archive"}
        blob = client.bucket("landing").blob("sales/2024-03.csv")
        blob.upload_from_string("day,sum\n1,10\n", timeout=5)
        generation = blob.generation
        client.close()
    with StorageServer(tmp_path / "storage", tmp_path / "logs") as server:
        client = storage_client(server)
        found = client.bucket("landing").get_blob("sales/2024-03.csv", timeout=5)
        assert found is not None
        assert found.generation == generation
        assert found.download_as_bytes(timeout=5) == b"day,sum\n1,10\n"
        client.close()


def test_bigquery_loads_what_lies_in_the_storage_server(tmp_path: Path) -> None:
    with (
        StorageServer(tmp_path / "storage", tmp_path / "logs") as files,
        BigQueryServer(tmp_path / "bigquery", tmp_path / "logs", objects_folder=files.objects_folder) as server,
    ):
        buckets = storage_client(files)
        buckets.bucket("landing").blob("sales.csv").upload_from_string("day,sum\n1,10\n2,32\n", timeout=5)
        client = bigquery_client(server)
        client.create_dataset("finance", timeout=10)
        options = bigquery.LoadJobConfig(source_format="CSV", skip_leading_rows=1, autodetect=True)
        client.load_table_from_uri("gs://landing/sales.csv", "local.finance.sales", job_config=options).result(
            timeout=30
        )
        rows = client.query("select sum(`sum`) as total from finance.sales").result(timeout=30)
        assert [row.total for row in rows] == [42]
        client.close()  # type: ignore[no-untyped-call]
        buckets.close()
