"""A process has no more connections than it was given, however much is asked of it at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import text

from database.batches import task_state
from database.keys import TaskKey
from database.sessions import ATTEMPTS, Database, Transaction
from run.app import build_service
from run.settings import Settings

MOST = 3
END_ALL_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


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


def test_connections_that_a_restart_of_the_server_has_ended_keep_nobody_from_the_next_one(database_url: str) -> None:
    many = 2 * ATTEMPTS
    database, other = Database(database_url, pool_size=many), Database(database_url)
    together = Barrier(many, timeout=20)
    nobody = TaskKey(1, "2024-03", 1)

    def prepare(tx: Transaction) -> None:
        # On every connection: a statement that is yet to be prepared meets a lost connection in SQLAlchemy's hands.
        assert task_state(tx, nobody) is None
        together.wait()

    with ThreadPoolExecutor(many) as threads:
        list(threads.map(lambda _: database.transact(prepare), range(many)))
    ended = other.transact(lambda tx: tx.execute(text(END_ALL_OTHERS)).rowcount)
    assert ended == many
    assert database.transact(lambda tx: task_state(tx, nobody)) is None
    database.close()
    other.close()
