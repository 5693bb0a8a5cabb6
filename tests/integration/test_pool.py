"""A process has no more connections than it was given, however much is asked of it at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import text

from run.app import build_service
from run.settings import Settings

MOST = 3


def test_a_process_has_no_more_connections_than_its_pool(database_url: str) -> None:
    settings = Settings(
        database_url=database_url, project="local", landing_bucket="landing", threads=8, database_pool_size=MOST
    )
    service = build_service(settings)
    together = Barrier(MOST, timeout=20)

    def connection(_number: int) -> int:
        def ask(tx: object) -> int:
            together.wait()
            pid: int = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()  # type: ignore[attr-defined]
            return pid

        return service.database.transact(ask)

    with ThreadPoolExecutor(4 * MOST) as threads:
        pids = list(threads.map(connection, range(4 * MOST)))
    assert len(set(pids)) == MOST
    service.database.close()
