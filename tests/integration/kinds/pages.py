"""What the example of each kind's page needs, and what must have come of it: one function per kind, by its name."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from tests.integration.kinds.page_room import PageRoom


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
    )
}
