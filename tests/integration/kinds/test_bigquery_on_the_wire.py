"""What is sent to BigQuery, and what happens on answers that the local server never gives."""

from __future__ import annotations

import socket
from datetime import date

import pytest

from run.clients.bigquery import BigQuery, FinishedJob, Job, RunningJob
from run.errors import PassingFailure, PermanentFailure, Unavailable
from tests.integration.kinds.bigquery_wire import BigQueryWire
from tests.integration.kinds.room import Room

PARTITIONED = {"table": "sales.monthly", "partition": "{period:%Y%m}", "partition_by": "MONTH"}
DAILY = {"table": "sales.daily"}
CONCURRENT = {"reason": "invalidQuery", "message": "Transaction is aborted due to concurrent update against table x"}
LOAD = {
    "load": {"sourceUris": ["gs://b/a.csv"], "destinationTable": {"projectId": "p", "datasetId": "d", "tableId": "t"}}
}


def done(client: BigQuery, job: Job | None) -> FinishedJob:
    """The job at its end."""
    while isinstance(job, RunningJob):
        job = client.find_job(job.id)
    assert job is not None
    return job


def test_a_partition_is_truncated_through_its_decorator(room_on_the_wire: Room, wire: BigQueryWire) -> None:
    file = room_on_the_wire.land("load", "a.csv", b"id\n1\n2\n3\n")
    finished = room_on_the_wire.start("load_file", PARTITIONED, room_on_the_wire.march())
    load = wire.inserts[0]["configuration"]["load"]
    assert load["destinationTable"] == {"projectId": "local", "datasetId": "sales", "tableId": "monthly$202403"}
    assert load["writeDisposition"] == "WRITE_TRUNCATE"
    assert load["timePartitioning"] == {"type": "MONTH"}
    assert load["sourceUris"] == [file.place.uri]
    assert (load["sourceFormat"], load["autodetect"], load["skipLeadingRows"]) == ("CSV", True, 1)
    assert finished.details["rows"] == 3
    assert finished.details["destination"] == "local.sales.monthly$202403"


def test_csv_options_reach_bigquery(room_on_the_wire: Room, wire: BigQueryWire) -> None:
    room_on_the_wire.land("load", "a.csv", b"id\n1\n")
    csv = {"delimiter": ";", "skip_rows": 2, "quote": "'", "null_marker": "NA", "encoding": "ISO-8859-1"}
    columns = [{"name": "id", "type": "int64", "mode": "REQUIRED"}]
    config = {**PARTITIONED, "csv": {**csv, "quoted_newlines": True}, "schema": columns, "max_bad_records": 5}
    room_on_the_wire.start("load_file", config, room_on_the_wire.march())
    load = wire.inserts[0]["configuration"]["load"]
    assert load["schema"] == {"fields": [{"name": "id", "type": "INT64", "mode": "REQUIRED"}]}
    assert "autodetect" not in load
    sent = ("fieldDelimiter", "skipLeadingRows", "quote", "nullMarker", "encoding", "allowQuotedNewlines")
    assert [load[key] for key in sent] == [";", 2, "'", "NA", "ISO-8859-1", True]
    assert load["maxBadRecords"] == 5


def test_a_known_job_is_adopted(room_on_the_wire: Room, wire: BigQueryWire) -> None:
    room_on_the_wire.land("load", "a.csv", b"id\n1\n")
    first = room_on_the_wire.start("load_file", PARTITIONED, room_on_the_wire.march())
    second = room_on_the_wire.start("load_file", PARTITIONED, room_on_the_wire.march())
    assert len(wire.jobs) == 1
    assert first.details["job_id"] == second.details["job_id"]


def test_a_job_that_another_worker_submits_at_the_same_moment_is_adopted(wire: BigQueryWire) -> None:
    client = BigQuery("p", endpoint=wire.url)
    client.load("job", LOAD)
    wire.hidden_gets = 2
    assert done(client, client.load("job", LOAD)).id == "job"
    assert (len(wire.inserts), len(wire.jobs)) == (2, 1)


def test_another_attempt_is_another_job(room_on_the_wire: Room, wire: BigQueryWire) -> None:
    room_on_the_wire.land("load", "a.csv", b"id\n1\n")
    for attempt in (1, 2):
        room_on_the_wire.start("load_file", PARTITIONED, room_on_the_wire.march(attempt))
    assert len(wire.jobs) == 2


def test_an_adopted_failure_is_the_same_failure(room_on_the_wire: Room, wire: BigQueryWire) -> None:
    wire.error_results = [{"reason": "invalid", "message": "row 7 is bad", "location": "gs://landing/a.csv"}]
    room_on_the_wire.land("load", "a.csv", b"id\n1\n")
    for _ in range(2):
        with pytest.raises(PermanentFailure, match="row 7 is bad") as failure:
            room_on_the_wire.start("load_file", PARTITIONED, room_on_the_wire.march())
        assert failure.value.details["errors"][0]["reason"] == "invalid"
    assert len(wire.jobs) == 1


@pytest.mark.parametrize("reason", ["backendError", "rateLimitExceeded", "tableUnavailable"])
def test_a_job_that_failed_for_a_passing_reason_may_be_tried_again(wire: BigQueryWire, reason: str) -> None:
    wire.error_results = [{"reason": reason, "message": "busy"}]
    client = BigQuery("p", endpoint=wire.url)
    with pytest.raises(PassingFailure, match="busy"):
        done(client, client.load("job", LOAD))


def test_a_missing_permission_names_the_role(wire: BigQueryWire) -> None:
    wire.refusal = (403, "accessDenied")
    with pytest.raises(PermanentFailure, match=r"roles/bigquery\.jobUser"):
        BigQuery("p", endpoint=wire.url).load("job", LOAD)


def test_refused_credentials_are_a_permanent_failure(wire: BigQueryWire) -> None:
    wire.refusal = (401, "authError")
    with pytest.raises(PermanentFailure, match="credentials"):
        BigQuery("p", endpoint=wire.url).load("job", LOAD)


def test_a_server_that_does_not_answer_leaves_the_attempt_open_soon() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match="no answer"):
            BigQuery("p", endpoint=nobody, call_seconds=0.2, retry_seconds=0.5).load("job", LOAD)


def test_a_job_whose_outcome_is_unknown_is_not_given_up_but_adopted_later(wire: BigQueryWire) -> None:
    client = BigQuery("p", endpoint=wire.url, call_seconds=1, retry_seconds=0.3)
    wire.silent_from_insert = True
    for _ in range(2):
        with pytest.raises(Unavailable, match="the wire says backendError"):
            client.load("job", LOAD)
    wire.silent = wire.silent_from_insert = False
    assert done(client, client.load("job", LOAD)).id == "job"
    assert len(wire.jobs) == 1


def test_a_job_that_is_known_and_cannot_be_found_leaves_the_attempt_open(
    wire: BigQueryWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = BigQuery("p", endpoint=wire.url)
    client.load("job", LOAD)
    wire.hidden_gets = 10_000
    monkeypatch.setattr("run.clients.bigquery._FRESH_JOB_SECONDS", 0)
    with pytest.raises(Unavailable, match="BIGQUERY_LOCATION"):
        client.load("job", LOAD)


def test_a_result_that_cannot_be_read_does_not_undo_a_success(room_on_the_wire: Room, wire: BigQueryWire) -> None:
    wire.unreadable_results = True
    finished = room_on_the_wire.start("bigquery_query", {"sql": "SELECT 1"}, room_on_the_wire.work("query"))
    first_row = finished.details["first_row"]
    assert isinstance(first_row, str)
    assert first_row.startswith("could not be read: ")
    assert "accessDenied" in first_row


@pytest.mark.parametrize(
    ("name", "format_", "option"),
    [
        ("a.avro", "avro", {"useAvroLogicalTypes": True}),
        ("a.parquet", "parquet", {"parquetOptions": {"enableListInference": True}}),
    ],
)
def test_dates_and_lists_of_a_file_that_describes_itself_keep_their_types(
    room_on_the_wire: Room, wire: BigQueryWire, name: str, format_: str, option: dict[str, object]
) -> None:
    room_on_the_wire.land("load", name, b"x")
    room_on_the_wire.start("load_file", {**PARTITIONED, "format": format_}, room_on_the_wire.march())
    load = wire.inserts[0]["configuration"]["load"]
    assert {key: load.get(key) for key in option} == option


def test_digits_and_lengths_of_a_type_are_sent_as_the_protocol_has_them(
    room_on_the_wire: Room, wire: BigQueryWire
) -> None:
    room_on_the_wire.land("load", "a.csv", b"id\n1\n")
    columns = [{"name": "price", "type": "numeric(10, 2)"}, {"name": "code", "type": "STRING(3)"}]
    room_on_the_wire.start("load_file", {**PARTITIONED, "schema": columns}, room_on_the_wire.march())
    assert wire.inserts[0]["configuration"]["load"]["schema"]["fields"] == [
        {"name": "price", "mode": "NULLABLE", "type": "NUMERIC", "precision": "10", "scale": "2"},
        {"name": "code", "mode": "NULLABLE", "type": "STRING", "maxLength": "3"},
    ]


def test_a_query_says_destination_parameters_limit_and_labels(room_on_the_wire: Room, wire: BigQueryWire) -> None:
    work = room_on_the_wire.work(
        "Report", values={"period": date(2024, 3, 1)}, params={"top": 3, "rate": 0.5, "dry": True, "ids": [1, 2]}
    )
    config = {
        "sql": "SELECT @batch_id, @period, @top, @rate, @dry, '@not', @ids -- @nor",
        "destination": "report.profit_{period:%Y}",
        "write": "append",
        "maximum_bytes_billed": 1000,
        "labels": {"team": "Finance Nord"},
    }
    room_on_the_wire.start("bigquery_query", config, work)
    sent = wire.inserts[0]["configuration"]
    query = sent["query"]
    assert query["destinationTable"] == {"projectId": "local", "datasetId": "report", "tableId": "profit_2024"}
    assert (query["writeDisposition"], query["maximumBytesBilled"]) == ("WRITE_APPEND", "1000")
    types = {one["name"]: one["parameterType"]["type"] for one in query["queryParameters"]}
    assert types == {
        "batch_id": "STRING",
        "period": "DATE",
        "top": "INT64",
        "rate": "FLOAT64",
        "dry": "BOOL",
        "ids": "ARRAY",
    }
    assert (sent["labels"]["task"], sent["labels"]["team"]) == ("report", "finance_nord")


def test_a_transaction_that_another_one_undid_is_tried_again_under_a_new_id(
    room_on_the_wire: Room, wire: BigQueryWire
) -> None:
    load, create = None, None
    wire.error_results = [load, create, CONCURRENT]
    room_on_the_wire.land("load", "a.csv", b"id\n1\n")
    finished = room_on_the_wire.start("load_file", DAILY, room_on_the_wire.march())
    assert wire.steps == ["load", "prepare-1", "write-1", "write-2"]
    assert finished.details["write_job_id"] == wire.inserts[-1]["jobReference"]["jobId"]


@pytest.mark.parametrize("reason", ["duplicate", "rateLimitExceeded"])
def test_a_table_that_somebody_else_makes_at_the_same_moment_is_looked_at_again(
    room_on_the_wire: Room, wire: BigQueryWire, reason: str
) -> None:
    wire.error_results = [None, {"reason": reason, "message": "Already Exists"}]
    room_on_the_wire.land("load", "a.csv", b"id\n1\n")
    room_on_the_wire.start("load_file", DAILY, room_on_the_wire.march())
    assert wire.steps == ["load", "prepare-1", "prepare-2", "write-1"]


def test_a_takeover_of_what_is_written_already_is_a_success_whatever_became_of_the_file(
    room_on_the_wire: Room, wire: BigQueryWire
) -> None:
    file = room_on_the_wire.land("load", "a.csv", b"id\n1\n")
    append = {**DAILY, "write": "append"}
    first = room_on_the_wire.start("load_file", append, room_on_the_wire.march())
    room_on_the_wire.put("landing", file.place.name, b"id\n2\n")
    again = room_on_the_wire.start("load_file", append, room_on_the_wire.march())
    assert again.details["write_job_id"] == first.details["write_job_id"]
    assert wire.steps == ["load", "prepare-1", "write-1"]


@pytest.mark.parametrize("write", ["replace", "append"])
def test_a_file_that_changes_while_it_is_loaded_never_reaches_the_table(
    room_on_the_wire: Room, wire: BigQueryWire, write: str
) -> None:
    file = room_on_the_wire.land("load", "a.csv", b"id\n1\n")
    wire.on_insert = lambda: room_on_the_wire.put("landing", file.place.name, b"id\n2\n")
    with pytest.raises(PermanentFailure, match=f"and {file.place.generation} was to be loaded"):
        room_on_the_wire.start("load_file", {**DAILY, "write": write}, room_on_the_wire.march())
    assert wire.steps == ["load"]
    assert not wire.tables


def test_a_staging_table_that_another_worker_changes_at_the_same_moment_is_no_failure(
    room_on_the_wire: Room, wire: BigQueryWire
) -> None:
    wire.patch_refusal = (412, "conditionNotMet")
    room_on_the_wire.land("load", "a.csv", b"id\n1\n")
    assert room_on_the_wire.start("load_file", DAILY, room_on_the_wire.march()).details["rows"] == 3
