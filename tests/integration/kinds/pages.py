"""What the example of each kind's page needs, and what must have come of it: one function per kind, by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

from tests.integration.kinds.dataform_room import ACTIONS, LONG_AGO
from tests.integration.kinds.page_room import PageRoom
from tests.servers.cloud_run import JOB, CloudRun, Job
from tests.servers.dataform import DataformServer
from tests.servers.microsoft_login import SECRET, TENANT, MicrosoftLogin
from tests.servers.power_bi import DATASET, OTHER_DATASET, PowerBiServer
from tests.servers.rest_service import RestService


def load_file(page: PageRoom) -> None:
    page.dataset("finance")
    page.land("sales/2024-03.csv", b"shop;amount\nnord;10.50\nsud;\n")
    details = page.succeed("2024-03-01")
    assert details["load_sales"]["rows"] == 2
    rows = page.rows("SELECT shop, amount, batch_id, loaded_by FROM finance.monthly_sales ORDER BY shop")
    assert rows == [
        ("nord", Decimal("10.5"), "2024-03-01", "monthly_sales.load_sales"),
        ("sud", None, "2024-03-01", "monthly_sales.load_sales"),
    ]


def load_file_of_many(page: PageRoom) -> None:
    page.number = 1
    page.dataset("web")
    for name in ("part-1.csv", "part-2.csv", "_SUCCESS"):
        page.land(f"clicks/2024-03-01/{name}", b"" if name == "_SUCCESS" else b"page,clicks\nhome,3\n")
    page.succeed("2024-03-01")
    assert page.rows("SELECT page, SUM(clicks) FROM web.clicks GROUP BY page") == [("home", 6)]


def validate_file(page: PageRoom) -> None:
    page.land(
        "raw/daily_orders_20240301.csv",
        "order_id;ordered_on;sku;status;amount\n1;01.03.2024;ABC-1;open;10.50\n2;01.03.2024;ABC-2;paid;7\n".encode(
            "cp1252"
        ),
    )
    page.succeed("2024-03-01")


def convert_file(page: PageRoom) -> None:
    page.dataset("shop")
    page.land("raw/daily_orders_2024-03-01.json", b'[{"order_id": 1, "amount": 10.5}, {"order_id": 2, "amount": 7}]')
    page.succeed("2024-03-01")
    assert page.rows("SELECT order_id, CAST(amount AS FLOAT64) FROM shop.orders ORDER BY 1") == [(1, 10.5), (2, 7.0)]
    assert [name for name in page.objects("archive") if name.endswith("daily_orders_2024-03-01.json")]


def bigquery_query(page: PageRoom) -> None:
    page.dataset("finance")
    page.land("sales/2024-03.csv", b"shop,currency,amount\n1,EUR,10\n2,EUR,5\n2,USD,100\n9,EUR,1000\n")
    page.succeed("2024-03-01")
    assert page.rows("SELECT CAST(month AS STRING), profit FROM finance.profit_2024_03") == [("2024-03-01", 15)]


def bigquery_check(page: PageRoom) -> None:
    page.dataset("finance")
    page.land("sales/2024-03.csv", b"shop,amount\n1,10\n2,5\n7,1\n")
    details = page.succeed("2024-03-01")
    assert (details["no_negative_amounts"]["row_count"], details["enough_shops"]["rows"]) == (0, [{"enough": True}])
    assert details["known_shops"]["warning"].endswith("and at least 0.95 is expected")
    assert page.rows("SELECT shop, amount FROM finance.report_2024_03 ORDER BY shop") == [(1, 10), (2, 5), (7, 1)]


def archive_file(page: PageRoom) -> None:
    page.dataset("shop")
    page.land("orders/2024-03-01.json", b'{"id": 1}\n')
    page.succeed("2024-03-01")
    assert page.rows("SELECT id FROM shop.orders") == [(1,)]
    assert page.objects("landing") == {}
    assert page.objects("archive") == {"daily_orders/2024-03-01/2024-03-01.json": b'{"id": 1}\n'}


def external(page: PageRoom) -> None:
    page.dataset("finance")
    page.land("ledger/2024-03.csv", b"account,amount\n1,10\n")
    page.wait_for("2024-03", "sign_off", "PROCESSING")
    page.push(page.message())
    details = page.succeed("2024-03")
    assert details["sign_off"]["result"] == {"signed_by": "Maria"}
    assert page.rows("SELECT account, amount FROM finance.published") == [(1, 10)]


def dataform_run(page: PageRoom) -> None:
    with DataformServer() as dataform:
        dataform.age = LONG_AGO
        dataform.repository(actions=dict(ACTIONS))
        page.settings["DATAFORM_URL"] = dataform.url
        page.instead = {"    repository: sales\n": "    repository: sales\n    project: acme\n"}
        page.dataset("shop")
        page.land("sales/20240301.csv", b"product,amount\ntea,3\n")
        page.wait_until(lambda: bool(dataform.invocations))
        dataform.end()
        page.succeed("2024-03-01")
        [ran] = dataform.ran()
        assert set(ran) == {"daily_sales", "daily_sales_summary"}
        [compiled] = dataform.compilations.values()
        assert compiled["codeCompilationConfig"] == {"vars": {"day": "2024-03-01"}}


def power_bi_refresh(page: PageRoom) -> None:
    with MicrosoftLogin() as login, PowerBiServer(login) as power_bi:
        page.settings |= {"POWER_BI_URL": power_bi.url, "MICROSOFT_LOGIN_URL": login.url, "SECRET_POWER_BI": SECRET}
        page.instead = {"contoso.onmicrosoft.com": TENANT}
        page.dataset("finance")
        page.land("sales/2024-03.csv", b"shop,amount\n1,10\n")
        page.succeed("2024-03-01")
        [report], [month] = power_bi.ours(DATASET), power_bi.ours(OTHER_DATASET)
        assert (report["refreshType"], month["refreshType"]) == ("ViaApi", "ViaEnhancedApi")
        assert month["request"]["objects"] == [{"table": "Sales", "partition": "Sales-2024-03"}]


def http_request(page: PageRoom) -> None:
    with RestService() as prices, RestService() as books:
        prices.bearer = "the-token-of-prices"
        page.settings["SECRET_PRICES_TOKEN"] = prices.bearer
        page.instead = {
            "https://prices.example.com/v1/refresh/": f"{prices.url}/orders/",
            "https://books-abc123-ew.a.run.app/close": f"{books.url}/orders",
            # There is no identity of Google's here; tests/integration/kinds/test_http_identity.py has one.
            "    identity: google\n": "",
            "expected_status: [200, 202, 409]": "expected_status: [201]",
        }
        page.dataset("finance")
        page.land("ledger/2024-03.csv", b"account,amount\n1,10\n")
        page.wait_until(lambda: bool(books.orders))
        [asked] = books.requests("POST")
        assert asked.json == {"month": "2024-03", "batch": "2024-03", "attempt": "1"}
        page.push({**json.loads(asked.headers["cloud-accelerator-completion"]), "status": "SUCCESS"})
        page.succeed("2024-03")
        assert [one.path for one in prices.asked] == ["/orders/2024-03"]


def cloud_run_job(page: PageRoom) -> None:
    with CloudRun() as cloud_run:
        cloud_run.jobs = {JOB + "-orders": Job()}
        cloud_run.ends = "succeeded"
        page.settings["CLOUD_RUN_URL"] = cloud_run.url
        page.dataset("shop")
        page.start("2024-03-01")
        page.wait_for("2024-03-01", "extract", "SUCCESS")
        [execution] = cloud_run.executions.values()
        given = {one["name"]: one["value"] for one in execution["template"]["containers"][0]["env"]}
        target = f"gs://{page.settings['LANDING_BUCKET']}/orders/2024-03-01.csv"
        assert (given["DAY"], given["TARGET"]) == ("2024-03-01", target)
        page.land("orders/2024-03-01.csv", b"id,amount\n1,10\n")
        page.succeed("2024-03-01")
        assert page.rows("SELECT id, amount FROM shop.orders") == [(1, 10)]


def python_function(page: PageRoom) -> None:
    page.settings["FUNCTION_MODULES"] = "functions"
    page.start("saturday")
    details = page.succeed("saturday")
    assert details["bake"]["arguments"] == {"args[0]": "{'grams': 960, 'sweet': True}", "minutes": "45"}
    assert "INFO functions.cake: mixing 960 g" in details["mix"]["output"]
    [(result,)] = page.engine.rows("SELECT result FROM task_log JOIN task USING (task_id) WHERE name = 'frost'")
    assert result == "950 g of lemon cake"


#: A kind whose page needs more than files and tables starts its small server in its function, says where it is in
#: `page.settings`, and asserts what that server was asked for.
PAGES: dict[str, Callable[[PageRoom], None]] = {
    story.__name__: story
    for story in (
        load_file,
        bigquery_query,
        bigquery_check,
        archive_file,
        external,
        validate_file,
        convert_file,
        dataform_run,
        power_bi_refresh,
        http_request,
        cloud_run_job,
        python_function,
    )
}
