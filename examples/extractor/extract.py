"""An extractor: gets the orders of a day from a web service and leaves them as one CSV file in the landing bucket.

It knows nothing of the workflow that waits for the file. It reads from its environment: SOURCE_URL, the address of the
service; SOURCE_TOKEN, its token; DAY, such as 2024-03-05; TARGET, the file to leave, as gs://bucket/object.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

import requests
from google.api_core.exceptions import PreconditionFailed
from google.cloud import storage

COLUMNS = ("order_id", "day", "shop", "amount")
SECONDS = 30


def authenticated(token: str) -> requests.Session:
    """A session that the service accepts."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    return session


def orders(session: requests.Session, url: str, day: str) -> Iterator[dict[str, Any]]:
    """Every order of the day, page after page; raises HTTPError when the service refuses."""
    page: int | None = 1
    while page is not None:
        answer = session.get(f"{url}/orders", params={"day": day, "page": page}, timeout=SECONDS)
        answer.raise_for_status()
        yield from answer.json()["orders"]
        page = answer.json().get("next_page")


def as_csv(rows: Iterator[dict[str, Any]]) -> str:
    """The columns that the table has, and no others."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def leave(content: str, target: str) -> bool:
    """Write the object unless it is there; whether it was written.

    It appears whole or not at all, and once, so that the job may be run again whenever it is not clear how it ended.
    """
    bucket, _, name = target.removeprefix("gs://").partition("/")
    try:
        storage.Client().bucket(bucket).blob(name).upload_from_string(
            content, content_type="text/csv", if_generation_match=0, timeout=SECONDS
        )
    except PreconditionFailed:
        return False
    return True


def main() -> None:
    """Extract one day."""
    day, target = os.environ["DAY"], os.environ["TARGET"]
    session = authenticated(os.environ["SOURCE_TOKEN"])
    content = as_csv(orders(session, os.environ["SOURCE_URL"], day))
    was_written = leave(content, target)
    sys.stdout.write(f"{target} {'is written' if was_written else 'was there already'}\n")


if __name__ == "__main__":
    main()
