"""What one task returns is used by the next, whatever their kinds; docs/workflows.md shows how."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from database.sessions import Database
from run.errors import PermanentFailure
from tests.acceptance.service_room import Topic
from tests.integration.kinds.page_room import PageRoom
from tests.integration.kinds.room import Room
from tests.servers.rest_service import RestService

GUIDE = (Path(__file__).parents[3] / "docs" / "workflows.md").read_text()


class GuidePage(PageRoom):
    """The example of the guide about results."""

    def example(self, language: str = "yaml") -> str:
        [found] = re.findall(rf"^```{language}\n(workflow: sales_report\n.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
        return str(found)


@pytest.fixture
def page(
    database_url: str, database: Database, room: Room, servers: tuple[str, str], tmp_path: Path
) -> Iterator[GuidePage]:
    with Topic() as topic:
        settings = {
            "DATABASE_URL": database_url,
            "GOOGLE_CLOUD_PROJECT": "local",
            "LANDING_BUCKET": "landing-results",
            "ARCHIVE_BUCKET": "archive-results",
            "LOOPBACK_URL": topic.url,
            "STORAGE_EMULATOR_HOST": servers[0],
            "BIGQUERY_EMULATOR_HOST": servers[1],
        }
        for bucket in (settings["LANDING_BUCKET"], settings["ARCHIVE_BUCKET"]):
            if room.storage.lookup_bucket(bucket, timeout=10) is None:
                room.storage.create_bucket(bucket, timeout=10)
        page = GuidePage("results", room, database, topic, settings, tmp_path)
        yield page
        page.service.close()


def test_a_load_a_query_and_a_request_pass_their_results_on(page: GuidePage) -> None:
    with RestService() as news:
        page.instead = {"https://news.example.com/reports/": f"{news.url}/orders/"}
        page.dataset("finance")
        page.land("sales/2024-03.csv", b"shop,amount\nnord,10\nnord,1\nsud,2\n")
        details = page.succeed("2024-03")
        [asked] = news.requests("PUT")
    assert details["count_shops"]["first_row"] == {"shops": 2, "loaded": 3}, "a number stays one"
    assert (asked.path, asked.json) == ("/orders/2024-03", {"text": "2 shops in 3 rows"})
    [(result,)] = page.engine.rows("SELECT result FROM task_log JOIN task USING (task_id) WHERE name = 'announce'")
    assert result == {"status": 201, "headers": {"content-type": "application/json"}, "response": {"order": 1}}


def query(room: Room, sql: str, parameters: dict[str, Any], results: dict[str, Any]) -> Any:
    work = room.work("query", values={f"results.{name}": str(value) for name, value in results.items()})
    object.__setattr__(work, "results", results)
    return room.start("bigquery_query", {"sql": sql, "parameters": parameters}, work).details["first_row"]


def test_a_result_is_a_value_of_the_query_and_never_a_part_of_it(room: Room) -> None:
    evil = "x' OR TRUE; DROP TABLE y --"
    results = {"count": 3, "rate": 0.5, "is_dry": True, "name": evil}
    parameters = {
        "n": "{results.count}",
        "r": "{results.rate}",
        "d": "{results.is_dry}",
        "e": "{results.name}",
        "t": "{results.count} rows",
        "k": [1, 2],
    }
    row = query(room, "SELECT @n + 1 AS n, @r AS r, @d AS d, @e AS e, @t AS t, @k AS k", parameters, results)
    assert row == {"n": 4, "r": 0.5, "d": True, "e": evil, "t": "3 rows", "k": [1, 2]}


def test_a_result_in_the_text_of_the_sql_must_look_like_a_name(room: Room) -> None:
    assert query(room, "SELECT 1 AS n_{results.part}", {}, {"part": "2024_03"}) == {"n_2024_03": 1}
    with pytest.raises(PermanentFailure, match="cannot be a part of an identifier"):
        query(room, "SELECT 1 AS n_{results.part}", {}, {"part": "x, (SELECT 2)"})
