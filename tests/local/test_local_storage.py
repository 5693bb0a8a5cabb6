from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.storage import Blob, Bucket, Client

from run.local.bigquery_server import BigQueryServer
from run.local.storage_server import StorageServer

NOBODY = AnonymousCredentials()  # type: ignore[no-untyped-call]


def storage_client(server: StorageServer) -> Client:
    return Client(project="local", credentials=NOBODY, client_options={"api_endpoint": server.url})


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


@pytest.fixture(scope="module")
def storage_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageServer]:
    folder = tmp_path_factory.mktemp("storage")
    with StorageServer(folder / "storage", folder / "logs") as server:
        yield server


@pytest.fixture
def landing(storage_server: StorageServer) -> Iterator[Bucket]:
    client = storage_client(storage_server)
    bucket = client.bucket("landing")
    for blob in client.list_blobs(bucket, timeout=5):
        blob.delete(timeout=5)
    yield bucket
    client.close()


def put(bucket: Bucket, name: str, content: str = "1", **options: Any) -> Blob:
    blob = bucket.blob(name)
    blob.upload_from_string(content, timeout=5, **options)
    return blob


def names(bucket: Bucket) -> list[str]:
    return [blob.name for blob in bucket.client.list_blobs(bucket, timeout=5)]


@pytest.mark.parametrize("chunk_size", [None, 256 * 1024], ids=["at once", "resumable"])
def test_an_upload_over_something_newer_is_refused(landing: Bucket, chunk_size: int | None) -> None:
    first = put(landing, "a")
    second = put(landing, "a", "2")
    for known in (0, first.generation):
        blob = Blob("a", landing, chunk_size=chunk_size)
        with pytest.raises(PreconditionFailed, match="pre-conditions"):
            blob.upload_from_string("3", if_generation_match=known, timeout=5)
    assert second.download_as_bytes(timeout=5) == b"2"
    put(landing, "a", "3", if_generation_match=second.generation)
    put(landing, "new", if_generation_match=0)
    assert landing.blob("a").download_as_bytes(timeout=5) == b"3"


def test_an_upload_that_began_before_another_one_ended_is_refused(landing: Bucket) -> None:
    session = landing.blob("a").create_resumable_upload_session(if_generation_match=0, timeout=5)
    put(landing, "a", "first")
    answer = requests.put(session, data=b"late", timeout=5)
    assert answer.status_code == HTTPStatus.PRECONDITION_FAILED
    assert landing.blob("a").download_as_bytes(timeout=5) == b"first"


def test_only_the_generation_that_was_named_is_deleted(landing: Bucket) -> None:
    first = put(landing, "a")
    second = put(landing, "a", "2")
    with pytest.raises(PreconditionFailed):
        landing.delete_blob("a", if_generation_match=first.generation, timeout=5)
    with pytest.raises(NotFound):
        landing.delete_blob("a", generation=first.generation, timeout=5)
    landing.delete_blob("a", if_generation_match=second.generation, timeout=5)
    with pytest.raises(NotFound):
        landing.delete_blob("a", if_generation_match=second.generation, timeout=5)


def test_a_generation_that_is_gone_is_not_found(landing: Bucket) -> None:
    first = put(landing, "a")
    second = put(landing, "a", "2")
    assert landing.get_blob("a", generation=first.generation, timeout=5) is None
    assert landing.get_blob("a", generation=second.generation, timeout=5) is not None
    with pytest.raises(NotFound):
        Blob("a", landing, generation=first.generation).download_as_bytes(timeout=5)


def test_a_copy_over_something_is_refused(landing: Bucket) -> None:
    source = put(landing, "a")
    put(landing, "b", "somebody's")
    with pytest.raises(PreconditionFailed):
        landing.copy_blob(source, landing, "b", if_generation_match=0, timeout=5)
    assert landing.blob("b").download_as_bytes(timeout=5) == b"somebody's"
    landing.copy_blob(source, landing, "c", if_generation_match=0, timeout=5)
    assert names(landing) == ["a", "b", "c"]


def test_a_rewrite_is_of_the_generation_that_was_named(landing: Bucket) -> None:
    first = put(landing, "a")
    second = put(landing, "a", "2")
    with pytest.raises(PreconditionFailed):
        landing.blob("b").rewrite(
            landing.blob("a"), if_source_generation_match=first.generation, if_generation_match=0, timeout=5
        )
    with pytest.raises(NotFound):
        landing.blob("b").rewrite(landing.blob("nothing"), if_source_generation_match=first.generation, timeout=5)
    assert names(landing) == ["a"]
    landing.blob("b").rewrite(second, if_source_generation_match=second.generation, if_generation_match=0, timeout=5)
    with pytest.raises(PreconditionFailed):
        landing.blob("b").rewrite(second, if_generation_match=0, timeout=5)


def test_a_rewrite_has_the_metadata_that_it_brings_and_no_other(landing: Bucket) -> None:
    source = landing.blob("a")
    source.metadata = {"from": "the source"}
    source.cache_control = "no-store"
    source.upload_from_string("1", content_type="text/csv", timeout=5)
    target = landing.blob("b")
    target.metadata = {"batch": "2024-03"}
    target.content_type = "text/plain"
    target.rewrite(source, timeout=5)
    found = landing.get_blob("b", timeout=5)
    assert found is not None
    assert (found.metadata, found.content_type, found.cache_control) == ({"batch": "2024-03"}, "text/plain", None)
    assert found.crc32c == source.crc32c


def test_a_change_of_metadata_names_the_version_it_saw(landing: Bucket) -> None:
    blob = put(landing, "a")
    seen = blob.metageneration
    blob.metadata = {"seen": "1"}
    blob.patch(if_metageneration_match=seen, timeout=5)
    with pytest.raises(PreconditionFailed):
        blob.patch(if_metageneration_match=seen, timeout=5)
    blob.patch(if_generation_match=blob.generation, timeout=5)
