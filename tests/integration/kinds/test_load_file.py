"""Real files through a real load into BigQuery; counts and sums are taken by other means too."""

from __future__ import annotations

import csv
import gzip
import io
import json
from dataclasses import replace
from decimal import Decimal

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from run.errors import PassingFailure, PermanentFailure
from run.kinds.kind import ObjectVersion, TakenFile
from run.kinds.load_options import LoadFileConfig
from run.kinds.load_plan import plan_of
from tests.integration.kinds.room import DATA, Room

TABLE = {"table": "{dataset}.target"}


def json_lines(name: str) -> bytes:
    rows = json.loads((DATA / name).read_text())
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def csv_rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


@pytest.mark.parametrize("name", ["github.csv", "seattle-weather.csv", "us-employment.csv"])
def test_every_row_of_a_csv_file_arrives(room: Room, name: str) -> None:
    content = (DATA / name).read_bytes()
    room.land("load", name, content)
    finished = room.load(TABLE)
    assert room.count("target") == len(csv_rows(content)) == finished.details["rows"]


def test_sums_of_a_csv_file_are_those_of_its_text(room: Room) -> None:
    content = (DATA / "seattle-weather.csv").read_bytes()
    room.land("load", "weather.csv", content)
    room.load(TABLE)
    (loaded,) = room.rows("SELECT SUM(precipitation) AS rain, COUNT(DISTINCT weather) AS kinds FROM {dataset}.target")
    assert loaded["rain"] == pytest.approx(sum(float(row["precipitation"]) for row in csv_rows(content)))
    assert loaded["kinds"] == len({row["weather"] for row in csv_rows(content)})


@pytest.mark.parametrize("ending", [".csv.gz", ".CSV.GZ"])
def test_a_compressed_csv_file_is_loaded_as_it_is(room: Room, ending: str) -> None:
    content = (DATA / "us-employment.csv").read_bytes()
    # The local server tells compression by a lower-case ending; BigQuery by the bytes.
    room.land("load", f"jobs{ending.lower()}", gzip.compress(content))
    assert room.load({**TABLE, "format": "csv"}).details["rows"] == len(csv_rows(content))


@pytest.mark.parametrize(("name", "ending"), [("gapminder", ".json"), ("penguins", ".ndjson"), ("gapminder", ".jsonl")])
def test_every_line_of_a_json_file_arrives(room: Room, name: str, ending: str) -> None:
    lines = json_lines(f"{name}.json")
    room.land("load", f"{name}{ending}", lines)
    assert room.load(TABLE).details["rows"] == len(lines.splitlines())
    assert room.count("target") == len(lines.splitlines())


def test_mixed_types_are_loaded_with_a_schema_that_says_text(room: Room) -> None:
    rows = json.loads((DATA / "movies.json").read_text())
    assert {type(row["Title"]) for row in rows} > {str}
    lines = "\n".join(json.dumps({"Title": row["Title"], "Gross": row["US Gross"]}) for row in rows).encode()
    room.land("load", "movies.json", lines)
    columns = [{"name": "Title", "type": "STRING"}, {"name": "Gross", "type": "STRING"}]
    room.load({**TABLE, "schema": columns})
    assert room.count("target") == len(rows)
    assert room.count("target", "Title IS NULL") == sum(row["Title"] is None for row in rows)


def test_text_outside_ascii_arrives_unchanged(room: Room) -> None:
    words = ["Zürich", "naïve", "東京", "Ω≈ç√", "emoji 🛫"]
    room.land("load", "städte-東京.csv", ("id,word\n" + "".join(f"{i},{w}\n" for i, w in enumerate(words))).encode())
    room.load(TABLE, batch_id="März–2024")
    assert [row["word"] for row in room.rows("SELECT word FROM {dataset}.target ORDER BY id")] == words
    assert room.count("target", "batch_id = 'März–2024'") == len(words)


@pytest.mark.parametrize("name", ["alltypes_tiny_pages.parquet", "nested_structs.rust.parquet"])
def test_every_row_of_a_parquet_file_arrives(room: Room, name: str) -> None:
    file = pq.read_table(DATA / name)
    room.land("load", name, (DATA / name).read_bytes())
    room.load(TABLE)
    assert room.count("target") == file.num_rows


def test_a_nested_value_of_a_parquet_file_can_be_asked_for(room: Room) -> None:
    name = "nested_structs.rust.parquet"
    file = pq.read_table(DATA / name)
    room.land("load", name, (DATA / name).read_bytes())
    room.load(TABLE)
    (row,) = room.rows("SELECT roll_num.max AS most FROM {dataset}.target")
    assert row["most"] == file["roll_num"][0]["max"].as_py()


def test_every_row_of_an_orc_file_arrives(room: Room) -> None:
    rows = json.loads((DATA / "gapminder.json").read_text())
    file = io.BytesIO()
    orc.write_table(pa.Table.from_pylist(rows), file)
    room.land("load", "gapminder.orc", file.getvalue())
    assert room.load(TABLE).details["rows"] == len(rows)
    (total,) = room.rows("SELECT SUM(pop) AS pop FROM {dataset}.target")
    assert total["pop"] == sum(row["pop"] for row in rows)


def test_every_record_of_an_avro_file_arrives(room: Room) -> None:
    rows = json.loads((DATA / "gapminder.json").read_text())
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}
    fields = [{"name": "country", "type": "string"}, {"name": "life", "type": decimal}]
    file = io.BytesIO()
    records = [{"country": row["country"], "life": Decimal(str(row["life_expect"]))} for row in rows]
    fastavro.writer(file, {"type": "record", "name": "country", "fields": fields}, records)
    room.land("load", "gapminder.avro", file.getvalue())
    assert room.load(TABLE).details["rows"] == len(rows)
    (total,) = room.rows("SELECT SUM(life) AS life FROM {dataset}.target")
    assert total["life"] == sum(record["life"] for record in records)


def test_a_second_attempt_leaves_the_same_rows(room: Room) -> None:
    room.land("load", "a.csv", b"id,name\n1,a\n2,b\n")
    first = room.load(TABLE, attempt=1)
    second = room.load(TABLE, attempt=2)
    assert room.count("target") == 2
    assert first.details["job_id"] != second.details["job_id"]


def test_a_newer_generation_replaces_the_rows_of_the_older(room: Room) -> None:
    room.land("load", "a.csv", b"id,name\n1,a\n2,b\n")
    room.load(TABLE, attempt=1)
    room.land("load", "a.csv", b"id,name\n3,c\n")
    room.load(TABLE, attempt=2)
    assert [row["id"] for row in room.rows("SELECT id FROM {dataset}.target")] == [3]


def test_two_batches_keep_their_own_rows(room: Room) -> None:
    room.land("load", "march.csv", b"id,name\n1,a\n2,b\n")
    room.load(TABLE, batch_id="2024-03")
    room.land("load", "april.csv", b"id,name\n3,c\n")
    room.load(TABLE, batch_id="2024-04")
    room.load(TABLE, batch_id="2024-04", attempt=2)
    assert room.count("target", "batch_id = '2024-03'") == 2
    assert room.count("target", "batch_id = '2024-04'") == 1


def test_a_batch_id_with_quotes_cannot_leave_its_literal(room: Room) -> None:
    batch_id = 'x" OR "1"="1'
    room.land("load", "a.csv", b"id,name\n1,a\n")
    room.load(TABLE, batch_id="2024-03")
    room.load(TABLE, batch_id=batch_id)
    assert sorted(row["batch_id"] for row in room.rows("SELECT batch_id FROM {dataset}.target")) == [
        "2024-03",
        batch_id,
    ]


def test_a_takeover_of_a_finished_attempt_changes_nothing(room: Room) -> None:
    room.land("load", "a.csv", b"id,name\n1,a\n")
    first = room.load(TABLE)
    room.rows("UPDATE {dataset}.target SET name = 'changed since' WHERE TRUE")
    again = room.load(TABLE)
    assert again.details["write_job_id"] == first.details["write_job_id"]
    assert room.rows("SELECT name FROM {dataset}.target")[0]["name"] == "changed since"


def test_the_staging_table_is_gone_afterwards(room: Room) -> None:
    room.land("load", "a.csv", b"id,name\n1,a\n")
    room.load(TABLE)
    assert [table.table_id for table in room.bigquery.list_tables(room.name, timeout=10)] == ["target"]


def test_a_later_file_may_bring_a_column(room: Room) -> None:
    room.land("load", "a.csv", b"id,name\n1,a\n")
    room.load(TABLE, batch_id="2024-03")
    room.land("load", "b.csv", b"id,name,age\n2,b,30\n")
    room.load(TABLE, batch_id="2024-04")
    assert room.rows("SELECT id, age FROM {dataset}.target ORDER BY id") == [
        {"id": 1, "age": None},
        {"id": 2, "age": 30},
    ]


def test_a_later_file_with_another_type_is_refused_and_nothing_is_lost(room: Room) -> None:
    room.land("load", "a.csv", b"id,name\n1,a\n")
    room.load(TABLE, attempt=1)
    room.land("load", "a.csv", b"id,name\nx,a\n")
    with pytest.raises(PermanentFailure, match="'id' is STRING in the file and INT64 in the table"):
        room.load(TABLE, attempt=2)
    assert room.count("target") == 1


def test_a_file_with_a_column_of_the_batch_column_s_name_is_refused(room: Room) -> None:
    room.land("load", "a.csv", b"id,batch_id\n1,a\n")
    with pytest.raises(PermanentFailure, match="name another with batch_column"):
        room.load(TABLE)
    assert room.load({**TABLE, "batch_column": "loaded_in"}, attempt=2).details["rows"] == 1


def test_two_tasks_with_one_table_keep_their_own_rows(room: Room) -> None:
    for attempt in (1, 2):
        for number, task in enumerate(("north", "south")):
            room.land(task, f"{task}.csv", f"id,name\n{number},a\n".encode())
            room.start("load_file", TABLE, room.work(task, attempt=attempt))
    loaded = room.rows("SELECT id, batch_id, loaded_by FROM {dataset}.target ORDER BY id")
    workflow = room.name[:40]
    assert loaded == [
        {"id": 0, "batch_id": "2024-03", "loaded_by": f"{workflow}.north"},
        {"id": 1, "batch_id": "2024-03", "loaded_by": f"{workflow}.south"},
    ]


def test_two_workflows_with_one_table_and_equal_batch_ids_keep_their_own_rows(room: Room) -> None:
    room.land("load", "a.csv", b"id,name\n1,a\n")
    for attempt, workflow in ((1, "shops"), (2, "depots")):
        room.start("load_file", TABLE, replace(room.work("load", attempt=attempt), workflow=workflow))
    assert room.count("target") == 2


def test_the_column_that_tells_the_loader_can_have_another_name(room: Room) -> None:
    room.land("load", "a.csv", b"id,loaded_by\n1,me\n")
    with pytest.raises(PermanentFailure, match="loader_column"):
        room.load(TABLE)
    room.load({**TABLE, "loader_column": "source_task"}, attempt=2)
    assert room.rows("SELECT loaded_by, source_task FROM {dataset}.target") == [
        {"loaded_by": "me", "source_task": f"{room.name[:40]}.load"}
    ]


def test_append_adds_to_what_is_there(room: Room) -> None:
    room.land("load", "a.csv", b"id,name\n1,a\n")
    room.load({**TABLE, "write": "append"}, batch_id="2024-03")
    room.load({**TABLE, "write": "append"}, batch_id="2024-04")
    assert room.count("target") == 2


def test_an_append_that_is_taken_over_adds_nothing_again(room: Room) -> None:
    room.land("load", "a.csv", b"id,name\n1,a\n")
    for _ in range(2):
        room.load({**TABLE, "write": "append"})
    assert room.count("target") == 1


@pytest.mark.parametrize("dropped", [True, False])
def test_an_append_that_a_faster_worker_of_the_attempt_has_done_meanwhile_adds_nothing_again(
    room: Room, dropped: bool
) -> None:
    room.land("load", "a.csv", b"n\n1\n2\n")
    config = {**TABLE, "write": "append"}
    plan = plan_of(LoadFileConfig.model_validate(config), room.work("load"), "local")
    assert plan.staging is not None
    faster = room.load(config)
    if not dropped:
        room.rows(f"CREATE TABLE {{dataset}}.{plan.staging.table} AS SELECT 1 AS n")
    slower = room.poll("load_file", config, room.work("load"), {"step": "prepare-1", "job_id": "whatever"})
    assert slower == faster
    assert room.count("target") == 2


def test_a_file_that_changed_before_it_was_appended_adds_nothing(room: Room) -> None:
    file = room.land("load", "a.csv", b"id,name\n1,a\n")
    room.load({**TABLE, "write": "append"})
    room.put("landing", file.place.name, b"id,name\n2,b\n")
    room.load({**TABLE, "write": "append"})
    assert room.count("target") == 1
    with pytest.raises(PermanentFailure, match="was to be loaded"):
        room.load({**TABLE, "write": "append"}, attempt=2)
    assert room.count("target") == 1


def test_a_record_that_got_another_field_is_refused_by_its_name(room: Room) -> None:
    for attempt, fields in ((1, {"x": 1}), (2, {"x": 1})):
        room.land("load", "a.json", json.dumps({"place": fields}).encode())
        room.load(TABLE, attempt=attempt)
    room.land("load", "a.json", json.dumps({"place": {"x": 1, "y": 2}}).encode())
    with pytest.raises(PermanentFailure, match=r"'place' is STRUCT<.*y.*> in the file and STRUCT<.*> in the table"):
        room.load(TABLE, attempt=3)
    assert room.count("target") == 1


def test_a_bad_row_fails_the_attempt_with_bigquery_s_reason(room: Room) -> None:
    room.land("load", "a.csv", b"id,name\n1,a\nzz,b\n")
    columns = [{"name": "id", "type": "INTEGER"}, {"name": "name", "type": "STRING"}]
    with pytest.raises(PermanentFailure, match="zz") as failure:
        room.load({**TABLE, "schema": columns})
    assert failure.value.details["errors"][0]["reason"] == "invalid"
    with pytest.raises(PermanentFailure, match="zz"):
        room.load({**TABLE, "schema": columns})


def test_a_file_that_changed_since_it_arrived_is_not_loaded(room: Room) -> None:
    file = room.land("load", "a.csv", b"id,name\n1,a\n")
    newer = room.put("landing", file.place.name, b"id,name\n2,b\n")
    with pytest.raises(PermanentFailure, match=rf"{newer.generation}, and {file.place.generation} was to be"):
        room.load(TABLE)


def test_a_file_that_is_gone_is_named(room: Room) -> None:
    gone = ObjectVersion("landing", f"{room.name}/gone.csv", 7)
    room.files["load"] = TakenFile(1, gone, gone)
    with pytest.raises(PassingFailure, match=r"gone\.csv is gone; its generation 7"):
        room.load(TABLE)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a*.csv", "wildcard"),
        ("a//b.csv", "'//'"),
        ("a.parquet.gz", "gzip for CSV and JSON only"),
        ("a.txt", "does not tell its format"),
    ],
)
def test_a_name_that_bigquery_cannot_load_is_refused(room: Room, name: str, reason: str) -> None:
    place = ObjectVersion("landing", name, 7)
    room.files["load"] = TakenFile(1, place, place)
    with pytest.raises(PermanentFailure, match=reason):
        room.load(TABLE)


def test_the_load_reads_from_the_new_place_of_an_archived_file(room: Room) -> None:
    file = room.land("load", "a.csv", b"id,name\n1,a\n")
    room.load(TABLE)
    archived = room.start("archive_file", {"files_of": "load"}, room.work("archive"))
    room.files["load"] = replace(file, place=archived.moved[0].place)
    again = room.load(TABLE, attempt=2)
    assert again.details["source"].startswith("gs://archive/")
    assert room.count("target") == 1
