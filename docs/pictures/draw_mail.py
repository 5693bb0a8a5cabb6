# ruff: noqa: INP001
"""Draws the pictures of docs/notifications.md anew: `python -m docs.pictures.draw_mail`, where there is Chromium."""

from __future__ import annotations

import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from run.notifications.failure import FailedTask, FailureReport
from run.notifications.rendering import render

HERE = Path(__file__).parent
WIDTH, HEIGHT = 760, 1110
#: As Blink numbers them.
SCHEMES = {"dark": 0, "light": 1}

REPORT = FailureReport(
    title="Errors in 2 tasks of monthly_profit 2024-03: load_sales, check_rates",
    place="workflow monthly_profit, batch 2024-03",
    at=datetime(2024, 4, 1, 6, 30, 12, tzinfo=UTC),
    command="python -m run batch rerun monthly_profit 2024-03 --failed",
    failed=[
        FailedTask(
            name="load_sales",
            work="kind load_file",
            error="Error while reading data: line 48211: 'n/a' is no NUMERIC of column amount",
            arguments=[
                ("table", "'finance.monthly_sales'"),
                ("write", "'replace'"),
                ("columns", "{'day': 'DATE', 'shop': 'STRING', 'amount': 'NUMERIC'}"),
            ],
            not_executed=["calculate_profit", "refresh_report", "archive_sales"],
            arguments_are="Configured with",
        ),
        FailedTask(
            name="check_rates",
            work="kind rates_of_the_month",
            error="KeyError: 'EUR'",
            arguments=[
                ("url", "'https://rates.example.com/2024-03'"),
                ("headers", "{'X-Api-Key': <the secret RATES_KEY>}"),
                ("body", "{'month': '2024-03', 'token': [hidden]}"),
            ],
            not_executed=["calculate_profit", "refresh_report"],
            details=(
                "Traceback (most recent call last):\n"
                '  File "/app/run/engine/life.py", line 221, in _make_progress\n'
                "    progress = kind.start(config, work)\n"
                '  File "/app/run/kinds/rates_of_the_month.py", line 47, in start\n'
                "    return Finished({'rate': rates['EUR']})\n"
                "KeyError: 'EUR'"
            ),
            arguments_are="Configured with",
        ),
    ],
)


def draw(scheme: str) -> None:
    """Draw one picture beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "mail.html"
        page.write_text(render(REPORT).html)
        subprocess.run(  # noqa: S603
            [  # noqa: S607
                "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
                f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}",
                f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
                f"--screenshot={HERE / f'failure-{scheme}.png'}", page.as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


if __name__ == "__main__":
    for name in SCHEMES:
        draw(name)
