"""What `workflow check` says about the keys of each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from run.clients import Clients
from run.kinds import KINDS, build_kinds
from run.kinds.sql_text import parameter_names
from run.settings import Settings
from run.workflows.definition import FileTrigger, Until
from run.workflows.scope import Scope
from run.workflows.templates import NameType

NAMES = {
    "archive_bucket": NameType.TEXT,
    "workflow": NameType.TEXT,
    "batch_id": NameType.TEXT,
    "period": NameType.DATE,
    "region": NameType.TEXT,
}


def problems(
    kind: str,
    config: dict[str, Any],
    *,
    newer: Literal["rerun", "ignore"] = "rerun",
    above: Literal["rerun", "ignore"] = "ignore",
    beside: dict[str, Any] | None = None,
    until: Until | None = None,
    retries: int = 0,
) -> dict[str, str]:
    settings = Settings(database_url="postgresql://nobody@localhost/none", project="local", landing_bucket="landing")
    chosen = build_kinds(Clients(settings))[kind]
    trigger = FileTrigger(pattern="gs://landing/(?P<period>.*)", on_new_generation=newer, until=until)
    parent = FileTrigger(pattern="gs://landing/(?P<period>.*)", on_new_generation=above, until=until)
    scope = Scope(
        names=NAMES,
        own_file=trigger if chosen.takes_file else None,
        file_tasks_above={"load_sales": parent, "load_rent": parent} if kind != "load_file" or above == "rerun" else {},
        batch_names=("period",),
        param_names=("region",),
        task="this",
        same_kind={"this": config, **({"other": beside} if beside else {})},
        retries=retries,
    )
    return dict(chosen.problems(chosen.config.model_validate(config), scope))


MONTHLY = {"partition": "{period:%Y%m}", "partition_by": "MONTH"}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("load_file", {"table": "finance.sales"}),
        ("load_file", {"table": "other-project.finance.sales_{region}", "batch_column": "month"}),
        ("load_file", {"table": "finance.sales", **MONTHLY, "partition_field": "day"}),
        (
            "load_file",
            {"table": "finance.sales", "schema": [{"name": "id", "type": "INT64"}], "csv": {"delimiter": ";"}},
        ),
        (
            "bigquery_query",
            {"sql": "SELECT '{}', '{x}' FROM t_{period:%Y}", "destination": "a.b_{region}", "write": "empty"},
        ),
        ("archive_file", {"files_of": "load_sales"}),
        ("archive_file", {"files_of": ["load_sales", "load_rent"]}),
        ("archive_file", {"files_of": "load_sales", "to": "gs://b/{period:%Y-%m}.csv"}),
        ("archive_file", {"files_of": ["load_sales"], "to": "gs://b/{period:%Y}/{file_stem}_{generation}.csv"}),
    ],
)
def test_a_right_configuration_has_no_problems(kind: str, config: dict[str, Any]) -> None:
    assert problems(kind, config) == {}


@pytest.mark.parametrize(
    ("kind", "config", "key", "reason"),
    [
        ("load_file", {"table": "sales"}, "table", "dataset.table"),
        ("load_file", {"table": "a.b.c.d"}, "table", "dataset.table"),
        ("load_file", {"table": "finance.`sales"}, "table", "dataset.table"),
        ("load_file", {"table": "finance.{regoin}"}, "table", "regoin"),
        ("load_file", {"table": "finance.{elsewhere}"}, "table", "not a known name"),
        ("load_file", {"table": "finance.s_{region:%Y}"}, "table", "takes no format"),
        ("load_file", {"table": "a.b", "write": "append"}, "write", "on_new_generation: ignore"),
        ("load_file", {"table": "a.b", "write": "append", **MONTHLY}, "partition", "write: replace"),
        ("load_file", {"table": "a.b", "partition": "{period:%Y%m}"}, "partition_by", "missing"),
        ("load_file", {"table": "a.b", "partition_by": "DAY"}, "partition_by", "needs partition"),
        ("load_file", {"table": "a.b", **MONTHLY, "batch_column": "b"}, "batch_column", "without partition"),
        ("load_file", {"table": "a.b", "partition": "{period:%Y}-x", "partition_by": "DAY"}, "partition", "digits"),
        ("load_file", {"table": "a.b", "format": "avro", "csv": {}}, "csv", "for CSV files"),
        ("load_file", {"table": "a.b", "format": "orc", "max_bad_records": 1}, "max_bad_records", "CSV and JSON"),
        ("bigquery_query", {"sql": "SELECT {batchid}"}, "sql", "batch_id"),
        ("bigquery_query", {"sql": "SELECT 1", "write": "append"}, "write", "there is none"),
        ("bigquery_query", {"sql": "SELECT 1", "destination": "t"}, "destination", "dataset.table"),
        ("archive_file", {"files_of": "load_costs"}, "files_of", "there are: load_rent, load_sales"),
        ("archive_file", {"files_of": ["load_sales", "load_sales"]}, "files_of", "2 times"),
        ("archive_file", {"files_of": "load_sales", "to": "gs://{batch_id}"}, "to", "whole address"),
        ("archive_file", {"files_of": "load_sales", "to": "gs://b/{file_name}"}, "to", "files of different batches"),
        ("archive_file", {"files_of": ["load_sales", "load_rent"], "to": "gs://b/{batch_id}"}, "to", "several tasks"),
        ("load_file", {"table": "a.b", "batch_column": "X", "loader_column": "x"}, "loader_column", "both are 'x'"),
        ("load_file", {"table": "a.b", **MONTHLY, "loader_column": "b"}, "loader_column", "without partition"),
        ("archive_file", {"files_of": "load_sales", "to": "gs://{batch_id}/{nobody_knows}"}, "to", "not a known name"),
    ],
)
def test_a_wrong_configuration_is_named_by_its_key(kind: str, config: dict[str, Any], key: str, reason: str) -> None:
    assert reason in problems(kind, config)[key]


def test_bad_files_are_set_aside_only_of_many_and_with_a_retry_for_the_others() -> None:
    config = {"table": "a.b", "on_bad_file": "set_aside"}
    assert "write files: many" in problems("load_file", config, retries=1)["on_bad_file"]
    assert "write retries: 3" in problems("load_file", config, until=Until(count=2))["on_bad_file"]
    assert problems("load_file", config, until=Until(count=2), retries=1) == {}


def test_a_load_of_more_files_than_a_job_takes_is_refused() -> None:
    assert problems("load_file", {"table": "a.b"}, until=Until(count=10_000)) == {}
    found = problems("load_file", {"table": "a.b"}, until=Until(count=10_001))
    assert found == {"until.count": "BigQuery loads at most 10,000 files in one job"}


@pytest.mark.parametrize("name", ["file_name", "file_path", "file_stem"])
def test_the_archive_must_tell_many_files_apart(name: str) -> None:
    many = Until(count=2)
    for to in ("gs://b/{batch_id}.csv", "gs://b/{batch_id}/{generation}"):
        found = problems("archive_file", {"files_of": "load_sales", "to": to}, until=many)
        assert found == {"to": "gives all files of 'load_sales' one place; use file_name, file_path or file_stem in it"}
    to = f"gs://b/{{batch_id}}/{{{name}}}"
    assert problems("archive_file", {"files_of": "load_sales", "to": to}, until=many) == {}


def test_append_is_right_when_newer_generations_are_ignored() -> None:
    assert problems("load_file", {"table": "a.b", "write": "append"}, newer="ignore") == {}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("load_file", {"table": "a.b", "write": "append"}),
        ("bigquery_query", {"sql": "SELECT 1", "destination": "a.b", "write": "append"}),
    ],
)
def test_append_is_refused_below_a_file_that_makes_it_start_again(kind: str, config: dict[str, Any]) -> None:
    reason = problems(kind, config, newer="ignore", above="rerun")["write"]
    assert "file of 'load_" in reason
    assert "on_new_generation: ignore there" in reason
    assert problems(kind, config, newer="ignore") == {}


def test_two_tasks_never_truncate_partitions_of_one_table() -> None:
    config = {"table": "finance.sales", **MONTHLY}
    assert (
        "'other' loads into the same table"
        in problems("load_file", config, beside={"table": "finance.sales"})["partition"]
    )
    assert problems("load_file", config, beside={"table": "finance.rent"}) == {}
    assert problems("load_file", {"table": "finance.sales"}, beside={"table": "finance.sales"}) == {}


@pytest.mark.parametrize(
    "columns",
    [
        [{"name": "id", "type": "NOPE"}],
        [{"name": "id", "type": "INT64(3)"}],
        [{"name": "id", "type": "NUMERIC(10, 12)"}],
        [{"name": "id", "type": "NUMERIC(40)"}],
        [{"name": "id", "type": "STRING(1, 2)"}],
        [{"name": "id", "type": "INT64"}, {"name": "ID", "type": "STRING"}],
        [{"name": "id", "type": "RECORD"}],
        [{"name": "id", "type": "INT64", "fields": [{"name": "x", "type": "INT64"}]}],
        [{"name": "id", "type": "RECORD", "fields": [{"name": "x", "type": "DATE"}, {"name": "x", "type": "DATE"}]}],
    ],
)
def test_a_schema_that_bigquery_would_refuse_is_refused_by_check(columns: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError):
        {one.name: one for one in KINDS}["load_file"].config.model_validate({"table": "a.b", "schema": columns})


@pytest.mark.parametrize("kind", ["BIGNUMERIC(76, 38)", "bytes(5)", "NUMERIC(38,9)", "GEOGRAPHY", "json"])
def test_every_type_of_bigquery_is_taken(kind: str) -> None:
    columns = [{"name": "id", "type": kind}]
    {one.name: one for one in KINDS}["load_file"].config.model_validate({"table": "a.b", "schema": columns})


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("load_file", {"table": "a.b", "colour": "red"}),
        ("load_file", {"table": "a.b", "schema": [{"name": "not a column!", "type": "INT64"}]}),
        ("load_file", {"table": "a.b", "schema": "guess"}),
        ("bigquery_query", {}),
        ("bigquery_query", {"sql": " "}),
        ("bigquery_query", {"sql": "SELECT 1", "sql_file": "a.sql"}),
        ("archive_file", {"files_of": []}),
    ],
)
def test_keys_that_are_unknown_missing_or_malformed_are_refused(kind: str, config: dict[str, Any]) -> None:
    chosen = {one.name: one for one in KINDS}[kind]
    with pytest.raises(ValidationError):
        chosen.config.model_validate(config, context={"folder": Path()})


def test_sql_in_a_file_is_stored_with_the_workflow(tmp_path: Path) -> None:
    (tmp_path / "profit.sql").write_text("SELECT 'é'", encoding="utf-8")
    model = {one.name: one for one in KINDS}["bigquery_query"].config
    stored = model.model_validate({"sql_file": "profit.sql"}, context={"folder": tmp_path}).model_dump(mode="json")
    assert stored["sql"] == "SELECT 'é'"
    assert model.model_validate(stored).model_dump(mode="json") == stored


@pytest.mark.parametrize("name", ["../secret.sql", "/etc/hostname", "missing.sql"])
def test_an_sql_file_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "workflows"
    folder.mkdir()
    (tmp_path / "secret.sql").write_text("SELECT 1")
    with pytest.raises(ValidationError, match=r"beside|leaves the folder"):
        {one.name: one for one in KINDS}["bigquery_query"].config.model_validate(
            {"sql_file": name}, context={"folder": folder}
        )


def test_a_stored_configuration_reads_back_as_it_was() -> None:
    for config in ({"table": "a.b"}, {"table": "a.b", "schema": [{"name": "id", "type": "INT64"}]}):
        model = {one.name: one for one in KINDS}["load_file"].config
        for by_alias in (True, False):
            stored = model.model_validate(config).model_dump(mode="json", by_alias=by_alias)
            assert model.model_validate(stored) == model.model_validate(config)


def test_parameters_in_strings_comments_and_names_do_not_count() -> None:
    sql = """
        SELECT @one, '@two', "@three \\" @four", `@five`, @@six.seven -- @eight
        # @nine
        /* @ten */ , '''it's @eleven''' , @twelve
    """
    assert parameter_names(sql) == {"one", "twelve"}
