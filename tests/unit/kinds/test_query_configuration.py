"""What a `bigquery_query` may say: its parameters, its labels, and the values that become parts of names."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from run.clients import Clients
from run.errors import PermanentFailure
from run.kinds.bigquery_names import filled, labels
from run.kinds.bigquery_query import BigQueryQuery, BigQueryQueryConfig
from run.kinds.kind import Work
from run.kinds.query_parameters import query_parameters
from run.settings import Settings
from run.workflows.scope import Scope
from run.workflows.templates import NameType

SCOPE = Scope({"period": NameType.DATE}, None, batch_names=("period",), param_names=("Shops",))
SETTINGS = Settings(database_url="postgresql://nobody@localhost/none", project="local", landing_bucket="landing")


def problems(sql: str) -> list[tuple[str, str]]:
    return list(BigQueryQuery(Clients(SETTINGS)).problems(BigQueryQueryConfig(sql=sql), SCOPE))


def work(**params: Any) -> Work:
    return Work(
        workflow="sales",
        batch_id="2024-03",
        task="profit",
        attempt=1,
        batch_uid="u",
        values={},
        params=params,
        batch_values={"period": date(2024, 3, 1)},
        files={},
    )


@pytest.mark.parametrize(
    "sql", ["SELECT @batch_id, @period, @Shops", "SELECT @BATCH_ID, @Period, @shops", "SELECT '@typo' -- @typo"]
)
def test_parameters_that_will_have_values_are_no_problem(sql: str) -> None:
    assert problems(sql) == []


def test_parameters_that_nobody_will_give_are_named() -> None:
    assert problems("SELECT @typo, @period, @workflow") == [
        ("sql", "the SQL uses @typo, @workflow, and only these have values: @Shops, @batch_id, @period")
    ]


def test_a_parameter_is_found_whatever_its_case_and_given_once() -> None:
    given = query_parameters("SELECT @PERIOD, @period, @batch_ID, @shops", work(Shops=[1, 2]))
    assert [(one["name"].lower(), one["parameterType"]["type"]) for one in given] == [
        ("batch_id", "STRING"),
        ("period", "DATE"),
        ("shops", "ARRAY"),
    ]
    with pytest.raises(PermanentFailure, match="the SQL uses @typo, and only these"):
        query_parameters("SELECT @typo", work())


@pytest.mark.parametrize("key", ["Team", "1st", "cost centre", "", "a" * 64, "workflow", "task", "_x"])
def test_the_key_of_a_label_that_bigquery_would_refuse_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="label"):
        BigQueryQueryConfig(sql="SELECT 1", labels={key: "x"})


def test_the_values_of_labels_are_brought_into_shape() -> None:
    config = BigQueryQueryConfig(sql="SELECT 1", labels={"cost-centre_1": "R&D Nord"})
    assert labels(work(), config.labels) == {"cost-centre_1": "r_d_nord", "workflow": "sales", "task": "profit"}


@pytest.mark.parametrize("value", ["2024-03", "nord_1", "a-b-c", "7"])
def test_a_plain_part_of_a_name_is_put_in(value: str) -> None:
    assert filled("SELECT * FROM `d.t_{region}`", {"region": value}) == f"SELECT * FROM `d.t_{value}`"


@pytest.mark.parametrize("value", ["x--", "x--y", "--", "-x", "x-", "", "x y", "x`", "x\n", "ü", "x;y"])
def test_a_part_that_could_begin_a_comment_or_end_the_name_is_refused(value: str) -> None:
    with pytest.raises(PermanentFailure, match=re.escape(f"{value!r} cannot be a part of an identifier")):
        filled("DELETE FROM d.t_{region} WHERE day = 1", {"region": value})


def test_an_element_has_its_item_as_parameters() -> None:
    element = replace(work(), element=3, item={"day": "2024-03-05", "rows": 7})
    found = query_parameters("SELECT @item_day, @Item_Rows, @element", element)
    assert {one["name"]: (one["parameterType"]["type"], one["parameterValue"]["value"]) for one in found} == {
        "item_day": ("STRING", "2024-03-05"),
        "Item_Rows": ("INT64", "7"),
        "element": ("INT64", "3"),
    }
    [item] = query_parameters("SELECT @item", replace(work(), element=0, item="soup"))
    assert item["parameterValue"] == {"value": "soup"}
    with pytest.raises(PermanentFailure, match=r"the SQL uses @item_dya, and only these have values: .*@item_day"):
        query_parameters("SELECT @item_dya", element)


def test_only_a_mapped_task_knows_the_parameters_of_an_item() -> None:
    kind = BigQueryQuery(Clients(SETTINGS))
    config = BigQueryQueryConfig(sql="SELECT @item, @item_day, @element, @batch_id")
    assert list(kind.problems(config, replace(SCOPE, is_mapped=True))) == []
    [(key, reason)] = kind.problems(config, SCOPE)
    assert (key, reason.split(", and")[0]) == ("sql", "the SQL uses @element, @item, @item_day")
