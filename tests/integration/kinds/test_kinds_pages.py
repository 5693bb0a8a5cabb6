"""The example of every kind's page is applied as it stands, and runs to its end with the outcome that it promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from database.sessions import Database
from run.kinds import KINDS
from tests.acceptance.service_room import Topic
from tests.integration.kinds.page_room import PageRoom
from tests.integration.kinds.pages import PAGES, load_file_of_many
from tests.integration.kinds.room import Room


@pytest.fixture
def page(
    request: pytest.FixtureRequest,
    database_url: str,
    database: Database,
    room: Room,
    servers: tuple[str, str],
    tmp_path: Path,
) -> Iterator[PageRoom]:
    kind: str = request.param
    with Topic() as topic:
        settings = {
            "DATABASE_URL": database_url,
            "GOOGLE_CLOUD_PROJECT": "local",
            "LANDING_BUCKET": f"landing-{kind.replace('_', '-')}",
            "ARCHIVE_BUCKET": f"archive-{kind.replace('_', '-')}",
            "LOOPBACK_URL": topic.url,
            "STORAGE_EMULATOR_HOST": servers[0],
            "BIGQUERY_EMULATOR_HOST": servers[1],
        }
        for bucket in (settings["LANDING_BUCKET"], settings["ARCHIVE_BUCKET"]):
            if room.storage.lookup_bucket(bucket, timeout=10) is None:
                room.storage.create_bucket(bucket, timeout=10)
        page = PageRoom(kind, room, database, topic, settings, tmp_path)
        yield page
        page.service.close()


@pytest.mark.parametrize("page", [kind.name for kind in KINDS], indirect=True)
def test_the_example_of_every_page_runs(page: PageRoom) -> None:
    assert page.kind in PAGES, (
        f"docs/kinds/{page.kind}.md has an example that nothing runs: add a function {page.kind} to "
        "tests/integration/kinds/pages.py that lands its files, waits for its batch, and says what has come of it"
    )
    PAGES[page.kind](page)
    attempts = page.engine.rows(
        "SELECT l.status FROM task_log l JOIN task_version v USING (task_id) WHERE v.kind = :k", k=page.kind
    )
    assert attempts == [("SUCCESS",)] * len(attempts) != [], "its tasks ran, each in one attempt"


@pytest.mark.parametrize("page", ["load_file"], indirect=True)
def test_the_example_of_many_files_runs(page: PageRoom) -> None:
    load_file_of_many(page)


def test_every_function_is_for_a_kind() -> None:
    assert set(PAGES) <= {kind.name for kind in KINDS}
